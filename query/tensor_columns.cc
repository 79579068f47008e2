#include "query/tensor_columns.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>

namespace tenon {

namespace {

std::string_view kind_name(TensorKind kind) {
  switch (kind) {
    case TensorKind::parameter:
      return "parameter";
    case TensorKind::buffer:
      return "buffer";
    case TensorKind::plain:
      break;
  }
  return "plain";
}

std::optional<std::uint64_t> element_count(std::span<const std::int64_t> shape) noexcept {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  std::uint64_t count = 1;
  for (const std::int64_t extent : shape) {
    if (__builtin_mul_overflow(count, static_cast<std::uint64_t>(extent), &count)) return std::nullopt;
  }
  return count;
}

bool is_contiguous(const TensorRow& row) noexcept {
  if (std::find(row.shape.begin(), row.shape.end(), 0) != row.shape.end()) return true;
  std::int64_t expected = 1;
  for (std::size_t d = row.shape.size(); d-- > 0;) {
    if (row.shape[d] != 1 && row.stride[d] != expected) return false;
    if (__builtin_mul_overflow(expected, row.shape[d], &expected)) return false;
  }
  return true;
}

// norm_of(), quicker where squares neither overflow nor vanish.
double quick_norm_of(const Statistics& statistics, std::uint64_t count) noexcept {
  const double of_mean = statistics.sum / std::sqrt(static_cast<double>(count - statistics.nan_count));
  const double squares = of_mean * of_mean + statistics.squared_deviations;
  return squares > 1e-280 && squares < 1e280 ? std::sqrt(squares) : norm_of(statistics, count);
}

Cell text_or_null(std::string_view text) { return text.empty() ? Cell() : Cell(text); }

}  // namespace

const std::array<Column, tensor_column_count>& tensor_columns() {
  static constexpr std::array<Column, tensor_column_count> columns = {{
      {"snapshot_id", "TEXT", "the snapshot, 32 hex digits; NULL in a file", ColumnRole::plain, push_equal},
      {"step", "INTEGER", "training step of the snapshot"},
      {"created_at", "TIMESTAMP", "when the snapshot was made, UTC"},
      {"name", "TEXT", "the tensor's path as a name, unique in its snapshot", ColumnRole::plain,
       push_equal | push_patterns},
      {"param", "TEXT", "the parameter it is or belongs to: wrappers left out, optimizer state by its weight"},
      {"layer", "INTEGER", "the first whole number among the name's components"},
      {"dtype", "TEXT", "element type, as torch calls it"},
      {"shape", "JSON", "extents"},
      {"ndim", "INTEGER", "number of dimensions"},
      {"numel", "INTEGER", "elements"},
      {"nbytes", "INTEGER", "bytes of its elements, side by side"},
      {"kind", "TEXT", "parameter, buffer or plain"},
      {"requires_grad", "BOOLEAN", "whether it was trained"},
      {"location", "TEXT", "device it was on: cpu, cuda:0"},
      {"slot_id", "INTEGER", "slot of its snapshot: equal for tensors that share memory; NULL without data"},
      {"storage_id", "TEXT", "digest of the slot's bytes, 32 hex digits: equal for equal content", ColumnRole::plain,
       push_equal},
      {"storage_offset_bytes", "INTEGER", "where in the slot it begins"},
      {"stride", "JSON", "elements from one index to the next, per dimension"},
      {"is_view", "BOOLEAN", "whether it is less, or in another order, than the whole of its slot"},
      {"is_contiguous", "BOOLEAN", "whether its elements lie side by side, in row-major order"},
      {"is_conj", "BOOLEAN", "whether its values are the conjugates of the stored ones"},
      {"is_neg", "BOOLEAN", "whether its values are the negatives of the stored ones"},
      {"object_id", "INTEGER", "equal for names of the very same tensor object of one snapshot"},
      {"wrapper", "TEXT", "wrapper subclass, if any"},
      {"quantizer", "TEXT", "scale and zero point of a quantized tensor"},
      {"global_shape", "JSON", "shape of the tensor that it is a shard of"},
      {"global_offset", "JSON", "where in that it lies"},
      {"nan_count", "INTEGER", "elements that are NaN"},
      {"inf_count", "INTEGER", "elements that are infinite"},
      {"zero_count", "INTEGER", "elements that are 0"},
      {"min", "REAL", "least element, NaNs left out"},
      {"max", "REAL", "greatest element, NaNs left out"},
      {"mean", "REAL", "mean of the elements, NaNs left out"},
      {"std", "REAL", "standard deviation of the population, NaNs left out; NULL where an element is infinite"},
      {"norm", "REAL", "2-norm, NaNs left out"},
      {"tensor", "TEXT", "handle for functions: at(tensor, 0), quantile(tensor, 0.5)"},
      {"l1", "REAL", "1-norm, NaNs left out; read from the data, so not part of *", ColumnRole::on_request},
      {"median", "REAL", "median of the elements, NaNs left out; read from the data, so not part of *",
       ColumnRole::on_request},
  }};
  return columns;
}

std::string json_of(std::span<const std::int64_t> numbers) {
  std::string text = "[";
  for (const std::int64_t number : numbers) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(number);
  }
  return text + "]";
}

std::string utc_time(std::int64_t since_1970_ns) {
  constexpr std::int64_t second = 1'000'000'000;
  std::time_t seconds = since_1970_ns / second - (since_1970_ns % second < 0 ? 1 : 0);
  std::tm parts{};
  if (::gmtime_r(&seconds, &parts) == nullptr) return {};
  const std::int64_t rest = (since_1970_ns % second + second) % second;
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, rest / 1000);
}

void TensorRowReader::move_to(SessionState& session, const std::shared_ptr<TensorSet>& set, std::uint32_t row) {
  session_ = &session;
  if (set_ != set) set_ = set;
  row_ = row;
  has_tensor_ = false;
  has_numel_ = false;
  has_statistics_ = false;
}

const TensorRow& TensorRowReader::tensor() const noexcept {
  if (!has_tensor_) tensor_ = set_->row(row_);
  has_tensor_ = true;
  return tensor_;
}

std::optional<std::uint64_t> TensorRowReader::numel() const noexcept {
  if (!has_numel_) numel_ = element_count(tensor().shape);
  has_numel_ = true;
  return numel_;
}

std::optional<std::uint64_t> TensorRowReader::nbytes() const noexcept {
  const auto count = numel();
  std::uint64_t bits = 0;
  if (!count || __builtin_mul_overflow(*count, std::uint64_t{dtype_info(tensor().dtype).bits}, &bits))
    return std::nullopt;
  return bits / 8 + (bits % 8 != 0 ? 1 : 0);
}

Cell TensorRowReader::column(TensorColumn column) {
  if (column <= TensorColumn::layer || column == TensorColumn::tensor) return identity_column(column);
  return column < TensorColumn::nan_count ? geometry_column(column) : value_column(column);
}

Cell TensorRowReader::identity_column(TensorColumn column) {
  const SnapshotInfo* const info = set_->info();
  switch (column) {
    case TensorColumn::snapshot_id:
      return info == nullptr ? Cell() : Cell(to_hex(info->id));
    case TensorColumn::step:
      return info == nullptr ? Cell() : cell_of(info->step);
    case TensorColumn::created_at:
      return info == nullptr ? Cell() : Cell(utc_time(info->created_at_ns));
    case TensorColumn::name:
      return set_->name(row_);
    case TensorColumn::param:
      return std::string_view(session_->params_of(*set_)[row_]);
    case TensorColumn::layer:
      return cell_of(session_->layers_of(*set_)[row_]);
    default:
      return set_->handle(row_);
  }
}

Cell TensorRowReader::geometry_column(TensorColumn column) const {
  const bool has_slot = tensor().slot != no_slot;
  const auto count_or_null = [](std::optional<std::uint64_t> count) { return count ? cell_of(*count) : Cell(); };
  switch (column) {
    case TensorColumn::dtype:
      return dtype_info(tensor().dtype).name;
    case TensorColumn::shape:
      return json_of(tensor().shape);
    case TensorColumn::ndim:
      return static_cast<std::int64_t>(tensor().shape.size());
    case TensorColumn::numel:
      return count_or_null(numel());
    case TensorColumn::nbytes:
      return count_or_null(nbytes());
    case TensorColumn::kind:
      return kind_name(tensor().kind);
    case TensorColumn::requires_grad:
      return cell_of(tensor().requires_grad);
    case TensorColumn::location:
      return has_slot ? Cell(set_->slot(tensor().slot).location) : Cell();
    case TensorColumn::slot_id:
      return has_slot ? Cell(std::int64_t{tensor().slot}) : Cell();
    case TensorColumn::storage_id:
      return has_slot && set_->has_storage_ids() ? Cell(to_hex(set_->slot(tensor().slot).key)) : Cell();
    case TensorColumn::storage_offset_bytes:
      return cell_of(tensor().storage_offset_bytes);
    case TensorColumn::stride:
      return json_of(tensor().stride);
    case TensorColumn::is_view:
      return has_slot ? cell_of(tensor().storage_offset_bytes != 0 || !is_contiguous(tensor()) ||
                                nbytes() != set_->slot(tensor().slot).nbytes)
                      : Cell();
    case TensorColumn::is_contiguous:
      return cell_of(is_contiguous(tensor()));
    case TensorColumn::is_conj:
      return cell_of(tensor().is_conj);
    case TensorColumn::is_neg:
      return cell_of(tensor().is_neg);
    case TensorColumn::object_id:
      return std::int64_t{tensor().object};
    case TensorColumn::wrapper:
      return text_or_null(tensor().wrapper);
    case TensorColumn::quantizer:
      return text_or_null(tensor().quantizer);
    case TensorColumn::global_shape:
      return tensor().global_shape.empty() ? Cell() : Cell(json_of(tensor().global_shape));
    default:
      return tensor().global_shape.empty() ? Cell() : Cell(json_of(tensor().global_offset));
  }
}

// From the commit; what it did not learn, from the data.
const std::optional<Statistics>& TensorRowReader::statistics() {
  if (has_statistics_) return statistics_;
  has_statistics_ = true;
  statistics_ = set_->stored_statistics(row_);
  if (statistics_ || tensor().slot == no_slot) return statistics_;
  const auto summary = set_->summarize(row_, {.statistics = true});
  if (summary) statistics_ = summary->statistics;
  return statistics_;
}

Cell TensorRowReader::value_column(TensorColumn column) {
  if (column >= TensorColumn::l1) {
    if (tensor().slot == no_slot) return {};
    const auto request = column == TensorColumn::l1 ? SummaryRequest{.l1 = true} : SummaryRequest{.quantiles = {0.5}};
    const auto summary = set_->summarize(row_, request);
    if (!summary) return {};
    return column == TensorColumn::l1 ? cell_of(summary->l1) : Cell(summary->quantiles.front());
  }
  const auto& found = statistics();
  const auto count = numel();
  if (!found || !count) return {};
  const bool has_values = *count > found->nan_count;
  switch (column) {
    case TensorColumn::nan_count:
      return cell_of(found->nan_count);
    case TensorColumn::inf_count:
      return cell_of(found->inf_count);
    case TensorColumn::zero_count:
      return cell_of(found->zero_count);
    case TensorColumn::min:
      return has_values ? Cell(found->min) : Cell();
    case TensorColumn::max:
      return has_values ? Cell(found->max) : Cell();
    case TensorColumn::mean:
      return has_values ? Cell(mean_of(*found, *count)) : Cell();
    case TensorColumn::std:
      return has_values ? Cell(std_of(*found, *count)) : Cell();
    default:
      return Cell(quick_norm_of(*found, *count));
  }
}

}  // namespace tenon
