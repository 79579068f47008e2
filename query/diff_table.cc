// diff(a, b): what differs between two snapshots, and by how much.
#include <array>
#include <optional>

#include "query/session_state.h"
#include "query/tables.h"
#include "query/tensor_columns.h"
#include "query/tensor_handle.h"
#include "query/value.h"

namespace tenon {

namespace {

enum DiffColumn {
  name,
  change,
  old_name,
  param,
  layer,
  dtype,
  old_dtype,
  shape,
  old_shape,
  numel,
  nbytes,
  max_abs_diff,
  rel_change,
  delta_norm,
  old_norm,
  changed_count,
  changed_share,
  nan_count,
  old_nan_count,
  tensor,
  old_tensor,
  older,
  newer,
};

constexpr std::array<Column, 23> columns_of_table = {{
    {"name", "TEXT", "in the newer snapshot; of a removed tensor, in the older one"},
    {"change", "TEXT", "same, changed, added, removed, renamed, retyped or reshaped"},
    {"old_name", "TEXT", "in the older snapshot; NULL if it was added"},
    {"param", "TEXT", "the parameter it is or belongs to, as in tensors"},
    {"layer", "INTEGER", "the first whole number among the name's components"},
    {"dtype", "TEXT", "element type, in the newer snapshot; NULL if it was removed"},
    {"old_dtype", "TEXT", "in the older one; NULL if it was added"},
    {"shape", "JSON", "extents, in the newer snapshot; NULL if it was removed"},
    {"old_shape", "JSON", "in the older one; NULL if it was added"},
    {"numel", "INTEGER", "elements, in the newer snapshot; of a removed tensor, in the older one"},
    {"nbytes", "INTEGER", "bytes of these"},
    {"max_abs_diff", "REAL",
     "largest difference of two elements; 0 for what is the same, NULL where there is no other side"},
    {"rel_change", "REAL", "2-norm of the difference over that of the older; infinite where only the latter is 0"},
    {"delta_norm", "REAL", "2-norm of the difference"},
    {"old_norm", "REAL", "2-norm of the older"},
    {"changed_count", "INTEGER", "elements that differ, NaNs that came or went among them"},
    {"changed_share", "REAL", "of the elements: 0 to 1"},
    {"nan_count", "INTEGER", "elements that are NaN, in the newer snapshot"},
    {"old_nan_count", "INTEGER", "in the older one"},
    {"tensor", "TEXT", "handle of the newer, for functions"},
    {"old_tensor", "TEXT", "handle of the older"},
    {"a", "TEXT", "REV or REV:PATH of the older snapshot", ColumnRole::required_argument},
    {"b", "TEXT", "of the newer one; main unless told", ColumnRole::argument},
}};

class DiffCursor : public Cursor {
 public:
  explicit DiffCursor(SessionState& session) : session_(session) {}

  void begin(std::span<const Bound> bounds, RowOrder) override {
    older_rev_.clear();
    newer_rev_ = "main";
    for (const Bound& bound : bounds) {
      if (bound.column == older) older_rev_ = require_text(bound.value, "diff: a");
      if (bound.column == newer) newer_rev_ = require_text(bound.value, "diff: b");
    }
    if (older_rev_.empty()) {
      throw Error(ErrorKind::invalid_argument,
                  {.what = "diff needs the older snapshot", .file = std::string(sql_source), .wanted = "diff(a, b)"});
    }
    const RevPath a = split_rev(older_rev_), b = split_rev(newer_rev_);
    if (!a.path.empty() && !b.path.empty() && a.path != b.path) {
      throw Error(ErrorKind::invalid_argument, {.what = "diff compares one subtree of two snapshots",
                                                .file = std::string(sql_source),
                                                .got = "'" + a.path + "' and '" + b.path + "'"});
    }
    older_ = tensors_of(session_, session_.resolve(a.rev));
    newer_ = tensors_of(session_, session_.resolve(b.rev));
    rows_ = diff(older_->opened(), newer_->opened(), {.numeric = false, .prefix = b.path.empty() ? a.path : b.path});
    at_ = 0;
    enter();
  }
  bool at_end() const override { return at_ >= rows_.size(); }
  void next() override {
    ++at_;
    enter();
  }

  Cell column(int index) override {
    const DiffRow& row = rows_[at_];
    switch (index) {
      case name:
        return std::string_view(row.name);
      case change:
        return std::string_view(change_name(row.change));
      case old_name:
        return row.old_row ? Cell(std::string_view(row.old_name)) : Cell();
      case param:
      case layer:
      case numel:
      case nbytes:
        return (row.new_row ? new_side_ : old_side_).column(shared_column(index));
      case dtype:
      case shape:
      case nan_count:
      case tensor:
        return row.new_row ? new_side_.column(shared_column(index)) : Cell();
      case old_dtype:
      case old_shape:
      case old_nan_count:
      case old_tensor:
        return row.old_row ? old_side_.column(shared_column(index)) : Cell();
      case older:
        return std::string_view(older_rev_);
      case newer:
        return std::string_view(newer_rev_);
      default:
        return difference_column(index);
    }
  }
  RowKey key() const override { return {.number = at_}; }

 private:
  static TensorColumn shared_column(int index) {
    switch (index) {
      case param:
        return TensorColumn::param;
      case layer:
        return TensorColumn::layer;
      case numel:
        return TensorColumn::numel;
      case nbytes:
        return TensorColumn::nbytes;
      case dtype:
      case old_dtype:
        return TensorColumn::dtype;
      case shape:
      case old_shape:
        return TensorColumn::shape;
      case nan_count:
      case old_nan_count:
        return TensorColumn::nan_count;
      default:
        return TensorColumn::tensor;
    }
  }

  void enter() {
    if (at_end()) return;
    session_.poll();
    const DiffRow& row = rows_[at_];
    if (row.old_row) old_side_.move_to(session_, older_, *row.old_row);
    if (row.new_row) new_side_.move_to(session_, newer_, *row.new_row);
    difference_.reset();
    is_measured_ = false;
  }

  // Only where it is asked for, and nothing is read of what is the same.
  const std::optional<Difference>& measured() {
    if (is_measured_) return difference_;
    is_measured_ = true;
    const DiffRow& row = rows_[at_];
    if (row.change == Change::same || row.change == Change::renamed) {
      difference_ = Difference{.count = new_side_.numel().value_or(0)};
    } else if (row.old_row && row.new_row) {
      const auto pair = session_.summaries().pair(older_->opened(), *row.old_row, newer_->opened(), *row.new_row,
                                                  {.difference = true}, session_.poller());
      if (pair) difference_ = pair->difference;
    }
    return difference_;
  }

  Cell difference_column(int index) {
    if (index == old_norm) return rows_[at_].old_row ? old_side_.column(TensorColumn::norm) : Cell();
    const auto& found = measured();
    if (!found) return {};
    switch (index) {
      case max_abs_diff:
        return found->max_abs;
      case rel_change:
        return found->relative_change();
      case delta_norm:
        return found->l2;
      case changed_count:
        return cell_of(found->changed_count);
      default:
        return found->count == 0 ? 0.0 : static_cast<double>(found->changed_count) / static_cast<double>(found->count);
    }
  }

  SessionState& session_;
  std::string older_rev_;
  std::string newer_rev_;
  std::shared_ptr<SnapshotTensors> older_;
  std::shared_ptr<SnapshotTensors> newer_;
  std::vector<DiffRow> rows_;
  std::size_t at_ = 0;
  TensorRowReader old_side_;
  TensorRowReader new_side_;
  bool is_measured_ = false;
  std::optional<Difference> difference_;
};

class DiffTable : public Table {
 public:
  std::string_view name() const override { return "diff"; }
  std::string_view about() const override { return "what differs between two snapshots, and by how much"; }
  std::span<const Column> columns() const override { return columns_of_table; }
  void estimate(Plan& plan, std::span<const Ordering>, SessionState& session) const override {
    plan.rows = session.tensor_count();
    plan.cost = 1000 + plan.rows * 10;
  }
  std::unique_ptr<Cursor> open(SessionState& session) const override { return std::make_unique<DiffCursor>(session); }
};

}  // namespace

const Table& diff_table() {
  static const DiffTable table;
  return table;
}

}  // namespace tenon
