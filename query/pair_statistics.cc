#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "query/statistics.h"
#include "query/summary_kernels.h"
#include "query/value_pieces.h"
#include "store/paired_runs.h"
#include "store/parallel.h"
#include "store/value_kernels.h"
#include "store/value_statistics.h"
#include "tenon/error.h"

namespace tenon {

namespace {

constexpr std::uint64_t part_count = std::uint64_t{1} << 18;  // elements that one thread compares at a time
constexpr std::size_t expanded = 1024;                        // elements that are made doubles at a time
constexpr std::uint64_t work_max = std::uint64_t{1} << 36;    // elements
constexpr std::size_t parts_at_once = 64;                     // between two calls of the poll

// Parts of two tensors, of one shape, each with one scale or none.
struct Part {
  std::vector<std::int64_t> shape;
  std::array<std::vector<std::int64_t>, 2> strides;
  std::array<DType, 2> dtypes;
  std::array<const std::byte*, 2> data;
  std::array<std::optional<ValueScale>, 2> scales{};

  StridedTensor tensor(std::size_t i) const { return {dtypes[i], data[i], shape, strides[i]}; }
  std::uint64_t count() const {
    std::uint64_t count = 1;
    for (const std::int64_t size : shape) count *= static_cast<std::uint64_t>(size);
    return count;
  }
  // Indices `begin` to `end` of a dimension.
  Part narrowed(std::size_t dimension, std::int64_t begin, std::int64_t end) const {
    Part part = *this;
    part.shape[dimension] = end - begin;
    for (std::size_t i = 0; i < 2; ++i) {
      part.data[i] += begin * strides[i][dimension] * static_cast<std::int64_t>(item_bytes(dtypes[i]));
    }
    return part;
  }
};

bool is_complex(DType dtype) noexcept { return dtype_info(dtype).kind == DTypeClass::complex; }

struct PairTotals {
  std::uint64_t changed_count = 0;
  double max_abs = 0;
  CompensatedSum sum_squares{};
  CompensatedSum older_sum_squares{};
  ProductTotals products{};
};

double square(double value) { return value * value; }

void add(const PairTotals& part, PairTotals& all) {
  all.changed_count += part.changed_count;
  all.max_abs = std::max(all.max_abs, part.max_abs);
  all.sum_squares.add(part.sum_squares);
  all.older_sum_squares.add(part.older_sum_squares);
  all.products.dot.add(part.products.dot);
  all.products.squares_a.add(part.products.squares_a);
  all.products.squares_b.add(part.products.squares_b);
}

void expand_scaled(const Part& part, std::size_t i, const std::byte* bytes, std::span<double> values) {
  expand_values(part.dtypes[i], bytes, values.size(), values.data());
  if (!part.scales[i]) return;
  for (double& value : values) value = (value - part.scales[i]->zero_point) * part.scales[i]->scale;
}

const std::byte* as_bytes(const std::array<double, expanded>& values) {
  return reinterpret_cast<const std::byte*>(values.data());
}

// Of types that differ, or have a scale: as doubles.
void compare_expanded(const Part& part, const PairRequest& request, PairTotals& totals) {
  const StridedTensor a = part.tensor(0), b = part.tensor(1);
  DenseDifference difference;
  std::array<double, expanded> values_a, values_b;
  PairedRuns(a, b).visit([&](const std::byte* bytes_a, const std::byte* bytes_b, std::uint64_t count) {
    for (std::uint64_t at = 0; at < count; at += expanded) {
      const std::size_t some = std::min<std::uint64_t>(expanded, count - at);
      expand_scaled(part, 0, bytes_a + at * item_bytes(a.dtype), std::span(values_a).first(some));
      expand_scaled(part, 1, bytes_b + at * item_bytes(b.dtype), std::span(values_b).first(some));
      if (request.dot) add_products(DType::float64, as_bytes(values_a), as_bytes(values_b), some, totals.products);
      if (!request.difference) continue;
      add_dense_difference(DType::float64, as_bytes(values_a), as_bytes(values_b), some, difference);
      for (std::size_t i = 0; i < some; ++i) {
        const bool are_both_nan = std::isnan(values_a[i]) && std::isnan(values_b[i]);
        totals.changed_count += values_a[i] != values_b[i] && !are_both_nan ? 1 : 0;
      }
    }
    return true;
  });
  totals.max_abs = difference.max_abs;
  totals.sum_squares.add(difference.sum_squares);
  totals.older_sum_squares.add(difference.older_sum_squares);
}

void compare_stored(const Part& part, const PairRequest& request, PairTotals& totals) {
  const StridedTensor a = part.tensor(0), b = part.tensor(1);
  if (request.difference) {
    const Difference difference = *strided_difference(a, b);
    totals.changed_count = difference.changed_count;
    totals.max_abs = difference.max_abs;
    totals.sum_squares.add(square(difference.l2));
    totals.older_sum_squares.add(square(difference.older_norm));
  }
  if (!request.dot) return;
  PairedRuns(a, b).visit([&](const std::byte* bytes_a, const std::byte* bytes_b, std::uint64_t count) {
    add_products(a.dtype, bytes_a, bytes_b, count, totals.products);
    return true;
  });
}

PairTotals compare(const Part& part, const PairRequest& request) {
  PairTotals totals;
  const bool is_one_type = part.dtypes[0] == part.dtypes[1];
  const bool is_scaled = part.scales[0] || part.scales[1];
  const bool has_complex = is_complex(part.dtypes[0]) || is_complex(part.dtypes[1]);
  !is_scaled && (is_one_type || has_complex) ? compare_stored(part, request, totals)
                                             : compare_expanded(part, request, totals);
  return totals;
}

// Parts of a pair, made one after the other and compared side by side.
class PairReader {
 public:
  PairReader(const PairRequest& request, const ReadPoll& poll) : request_(request), poll_(poll) {}

  void add(const Part& part) {
    const std::uint64_t count = part.count();
    if (count == 0) return;
    if (count <= part_count) {
      waiting_.push_back(part);
      waiting_count_ += count;
      if (waiting_.size() >= parts_at_once) flush();
      return;
    }
    std::size_t dimension = 0;
    while (part.shape[dimension] == 1) ++dimension;
    const std::int64_t size = part.shape[dimension];
    const std::uint64_t inner = count / static_cast<std::uint64_t>(size);
    const auto step = static_cast<std::int64_t>(std::max<std::uint64_t>(1, part_count / inner));
    for (std::int64_t begin = 0; begin < size; begin += step) {
      add(part.narrowed(dimension, begin, std::min(begin + step, size)));
    }
  }
  PairTotals finish() {
    flush();
    return totals_;
  }

 private:
  void flush() {
    std::vector<PairTotals> found(waiting_.size());
    const std::size_t item = item_bytes(waiting_.empty() ? DType::uint8 : waiting_.front().dtypes[0]);
    parallel_for(waiting_.size(), threads_for_bytes(waiting_count_ * item),
                 [&](std::size_t i) { found[i] = compare(waiting_[i], request_); });
    for (const PairTotals& part : found) tenon::add(part, totals_);
    waiting_.clear();
    waiting_count_ = 0;
    if (poll_) poll_();
  }

  const PairRequest& request_;
  const ReadPoll& poll_;
  std::vector<Part> waiting_;
  std::uint64_t waiting_count_ = 0;
  PairTotals totals_;
};

bool has_channels(const Values& values) noexcept { return values.scales.size() > 1; }

// A dimension that is expanded in both shrinks to 1, and `weight` grows instead.
Part whole_pair(const Values& a, const Values& b, std::uint64_t& weight) {
  Part part{.dtypes = {a.tensor.dtype, b.tensor.dtype}, .data = {a.tensor.data, b.tensor.data}};
  for (std::size_t d = 0; d < a.tensor.shape.size(); ++d) {
    const std::int64_t size = a.tensor.shape[d];
    const bool is_axis = (has_channels(a) && a.axis == d) || (has_channels(b) && b.axis == d);
    const bool is_expanded = a.tensor.stride[d] == 0 && b.tensor.stride[d] == 0 && size > 1 && !is_axis;
    if (is_expanded) weight *= static_cast<std::uint64_t>(size);
    part.shape.push_back(is_expanded ? 1 : size);
    part.strides[0].push_back(a.tensor.stride[d]);
    part.strides[1].push_back(b.tensor.stride[d]);
  }
  if (!a.scales.empty()) part.scales[0] = a.scales.front();
  if (!b.scales.empty()) part.scales[1] = b.scales.front();
  return part;
}

// Calls use(part) with parts that have one scale each: one for every index along the axes of channels.
template <typename Use>
void for_each_channel(const Part& part, std::array<const Values*, 2> values, const Use& use) {
  const std::size_t which = has_channels(*values[0]) ? 0 : 1;
  if (!has_channels(*values[which])) return use(part);
  const std::uint32_t axis = values[which]->axis;
  const bool is_shared = which == 0 && has_channels(*values[1]) && values[1]->axis == axis;
  for (std::size_t i = 0; i < values[which]->scales.size(); ++i) {
    Part one = part.narrowed(axis, static_cast<std::int64_t>(i), static_cast<std::int64_t>(i) + 1);
    one.scales[which] = values[which]->scales[i];
    if (is_shared) one.scales[1] = values[1]->scales[i];
    static const Values plain;  // its scale is set
    if (which == 0 && !is_shared && has_channels(*values[1])) {
      for_each_channel(one, {&plain, values[1]}, use);
    } else {
      use(one);
    }
  }
}

PairSummary in_summary(const PairTotals& totals, std::uint64_t count, std::uint64_t weight) {
  const auto times = static_cast<double>(weight);
  PairSummary summary;
  summary.difference = {.count = count * weight,
                        .changed_count = totals.changed_count * weight,
                        .l2 = std::sqrt(totals.sum_squares.value() * times),
                        .max_abs = totals.max_abs,
                        .older_norm = std::sqrt(totals.older_sum_squares.value() * times)};
  summary.dot = totals.products.dot.value() * times;
  summary.norm_a = std::sqrt(totals.products.squares_a.value() * times);
  summary.norm_b = std::sqrt(totals.products.squares_b.value() * times);
  return summary;
}

}  // namespace

std::optional<PairSummary> summarize_pair(const Values& a, const Values& b, const PairRequest& request,
                                          const ReadPoll& poll) {
  if (!std::ranges::equal(a.tensor.shape, b.tensor.shape)) return std::nullopt;
  const bool has_complex = is_complex(a.tensor.dtype) || is_complex(b.tensor.dtype);
  if (request.dot && has_complex && a.tensor.dtype != b.tensor.dtype) return std::nullopt;
  std::uint64_t weight = 1;
  const Part pair = whole_pair(a, b, weight);
  if (strided_work(pair.shape, std::vector<std::int64_t>(pair.shape.size(), 1)) > work_max) {
    throw Error(ErrorKind::limit,
                {.what = "too many elements to compare", .wanted = "at most " + std::to_string(work_max)});
  }
  PairReader reader(request, poll);
  for_each_channel(pair, {&a, &b}, [&](const Part& part) { reader.add(part); });
  return in_summary(reader.finish(), pair.count(), weight);
}

}  // namespace tenon
