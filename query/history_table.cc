// history(ref[, path or glob]): tensors along the first-parent chain, oldest first.
#include <map>

#include "query/row_filter.h"
#include "query/snapshot_walk.h"
#include "query/tables.h"
#include "query/tensor_columns.h"
#include "query/tensor_handle.h"
#include "query/value.h"

namespace tenon {

namespace {

constexpr int delta_norm_column = static_cast<int>(tensor_column_count);
constexpr int ref_column = delta_norm_column + 1;
constexpr int path_column = delta_norm_column + 2;

const std::array<Column, tensor_column_count + 3>& columns_of_table() {
  static const auto columns = [] {
    std::array<Column, tensor_column_count + 3> all{};
    std::copy(tensor_columns().begin(), tensor_columns().end(), all.begin());
    all[delta_norm_column] = {"delta_norm", "REAL",
                              "2-norm of what changed since the row before of that name; NULL in the first, and where "
                              "the shape changed"};
    all[ref_column] = {"ref", "TEXT", "where the history begins; main unless told", ColumnRole::argument};
    all[path_column] = {"path", "TEXT", "a name, or a pattern as of GLOB; all tensors unless told",
                        ColumnRole::argument};
    return all;
  }();
  return columns;
}

class HistoryCursor : public Cursor {
 public:
  explicit HistoryCursor(SessionState& session) : session_(session) {}

  void begin(std::span<const Bound> bounds, RowOrder) override {
    filter_ = {};
    ref_ = "main";
    path_.clear();
    previous_.reset();
    set_.reset();
    for (const Bound& bound : bounds) add(bound);
    const RevPath split = split_rev(ref_);
    filter_.set_prefix(split.path);
    filter_.set_path(path_);
    ids_ = session_.history().chain(session_.resolve(split.rev));
    has_rows_ = false;
    walk_ = SnapshotWalk(session_, ids_, true);
    enter();
    if (!has_rows_ && !path_.empty() && !is_glob(path_)) require_tensor();
  }
  bool at_end() const override { return walk_.at_end(); }
  void next() override {
    if (++at_ < rows_.size()) return reader_.move_to(session_, set_, rows_[at_]);
    walk_.next();
    enter();
  }
  Cell column(int index) override {
    if (index == ref_column) return std::string_view(ref_);
    if (index == path_column) return path_.empty() ? Cell() : Cell(std::string_view(path_));
    return index == delta_norm_column ? delta_norm() : reader_.column(static_cast<TensorColumn>(index));
  }
  RowKey key() const override { return {walk_.snapshot()->info().id, reader_.row()}; }

 private:
  void add(const Bound& bound) {
    if (bound.column == ref_column) {
      ref_ = require_text(bound.value, "history: ref");
    } else if (bound.column == path_column) {
      path_ = require_text(bound.value, "history: path");
    } else if (bound.column == index_of(TensorColumn::name)) {
      filter_.add_name(bound);
    }
  }

  void enter() {
    for (; !walk_.at_end(); walk_.next()) {
      previous_ = std::move(set_);
      set_ = std::make_shared<SnapshotTensors>(session_, walk_.snapshot());
      rows_ = filter_.rows_of(*set_, RowOrder::any);
      at_ = 0;
      if (rows_.empty()) continue;
      has_rows_ = true;
      return reader_.move_to(session_, set_, rows_[0]);
    }
  }

  // A name that is nowhere in the history is a mistake, and the newest snapshot knows names near it.
  void require_tensor() const {
    if (!ids_->empty()) find_row(*tensors_of(session_, ids_->front()), path_);
  }

  Cell delta_norm() {
    if (!previous_ || reader_.tensor().slot == no_slot) return {};
    const auto row = previous_->find(reader_.tensor().name);
    if (!row) return {};
    if (is_same(*previous_, *row)) return 0.0;
    const auto pair = session_.summaries().pair(previous_->opened(), *row, set_->opened(), reader_.row(),
                                                {.difference = true}, session_.poller());
    return pair ? Cell(pair->difference.l2) : Cell();
  }

  // Equal bytes seen in the same way, told by the catalog alone.
  bool is_same(SnapshotTensors& before, std::uint32_t row) {
    const TensorRow a = before.row(row), b = reader_.tensor();
    const bool is_alike = a.slot != no_slot && a.dtype == b.dtype && a.storage_offset_bytes == b.storage_offset_bytes &&
                          a.is_conj == b.is_conj && a.is_neg == b.is_neg && a.quantizer == b.quantizer &&
                          std::ranges::equal(a.shape, b.shape) && std::ranges::equal(a.stride, b.stride);
    return is_alike && before.slot(a.slot).key == set_->slot(b.slot).key &&
           before.slot(a.slot).nbytes == set_->slot(b.slot).nbytes;
  }

  SessionState& session_;
  RowFilter filter_;
  std::string ref_;
  std::string path_;
  CatalogSnapshots::Ids ids_;
  SnapshotWalk walk_;
  std::shared_ptr<SnapshotTensors> previous_;
  std::shared_ptr<SnapshotTensors> set_;
  bool has_rows_ = false;
  std::span<const std::uint32_t> rows_;
  std::size_t at_ = 0;
  TensorRowReader reader_;
};

class HistoryTable : public Table {
 public:
  std::string_view name() const override { return "history"; }
  std::string_view about() const override { return "tensors along the history of a ref, oldest first"; }
  std::span<const Column> columns() const override { return columns_of_table(); }
  void estimate(Plan& plan, std::span<const Ordering>, SessionState& session) const override {
    const bool is_narrow = plan.uses(path_column, Op::equal) || plan.uses(index_of(TensorColumn::name), Op::equal);
    const double snapshots = session.snapshot_count();
    plan.rows = snapshots * (is_narrow ? 1 : session.tensor_count());
    plan.cost = 20 + snapshots * 2 + plan.rows;
  }
  std::unique_ptr<Cursor> open(SessionState& session) const override {
    return std::make_unique<HistoryCursor>(session);
  }
};

}  // namespace

const Table& history_table() {
  static const HistoryTable table;
  return table;
}

}  // namespace tenon
