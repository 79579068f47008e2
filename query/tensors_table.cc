// tensors, tensors(rev): the tensors of every snapshot, or of one.
#include <optional>

#include "query/row_filter.h"
#include "query/snapshot_choice.h"
#include "query/snapshot_walk.h"
#include "query/tables.h"
#include "query/tensor_columns.h"
#include "query/value.h"

namespace tenon {

namespace {

constexpr int rev_column = static_cast<int>(tensor_column_count);

const std::array<Column, tensor_column_count + 1>& columns_of_table() {
  static const auto columns = [] {
    std::array<Column, tensor_column_count + 1> all{};
    std::copy(tensor_columns().begin(), tensor_columns().end(), all.begin());
    all.back() = {"rev", "TEXT", "REV or REV:PATH; without it, all snapshots", ColumnRole::argument};
    return all;
  }();
  return columns;
}

class TensorsCursor : public Cursor {
 public:
  explicit TensorsCursor(SessionState& session) : session_(session) {}

  void begin(std::span<const Bound> bounds, RowOrder order) override {
    choice_ = {};
    filter_ = {};
    storage_.reset();
    has_storage_ = false;
    order_ = order;
    for (const Bound& bound : bounds) add(bound);
    filter_.set_prefix(choice_.path());
    walk_ = SnapshotWalk(session_, choice_.ids(session_));
    enter();
  }
  bool at_end() const override { return walk_.at_end(); }
  void next() override {
    ++at_;
    settle();
  }
  Cell column(int index) override {
    if (index == rev_column) return choice_.rev().empty() ? Cell() : Cell(std::string_view(choice_.rev()));
    return reader_.column(static_cast<TensorColumn>(index));
  }
  RowKey key() const override { return {walk_.snapshot()->info().id, reader_.row()}; }

 private:
  void add(const Bound& bound) {
    if (bound.column == rev_column) return choice_.add_rev(session_, bound);
    if (bound.column == index_of(TensorColumn::snapshot_id)) return choice_.add_id(session_, bound);
    if (bound.column == index_of(TensorColumn::name)) return filter_.add_name(bound);
    Digest key;  // of column storage_id; what is no digest is that of nothing
    const auto text = text_of(bound.value);
    storage_ = text && from_hex(*text, key) && to_hex(key) == *text ? std::optional(key) : std::nullopt;
    has_storage_ = true;
  }

  // The snapshots' keys tell which of them have a storage, before anything else of them is looked at.
  bool may_have_rows() const {
    if (!has_storage_) return true;
    const auto& keys = walk_.snapshot()->keys;
    return storage_ && std::find(keys.begin(), keys.end(), *storage_) != keys.end();
  }

  void enter() {
    for (; !walk_.at_end(); walk_.next()) {
      if (!may_have_rows()) continue;
      set_ = std::make_shared<SnapshotTensors>(session_, walk_.snapshot());
      rows_ = filter_.rows_of(*set_, order_);
      at_ = 0;
      if (skip_to_row()) return;
    }
  }

  // Whether there is a row left in this snapshot.
  bool skip_to_row() {
    for (; at_ < rows_.size(); ++at_) {
      if (has_storage_ && !is_of_storage(rows_[at_])) continue;
      reader_.move_to(session_, set_, rows_[at_]);
      return true;
    }
    return false;
  }

  bool is_of_storage(std::uint32_t row) const {
    const std::uint32_t slot = set_->row(row).slot;
    return slot != no_slot && set_->slot(slot).key == *storage_;
  }

  void settle() {
    if (skip_to_row()) return;
    walk_.next();
    enter();
  }

  SessionState& session_;
  SnapshotChoice choice_;
  RowFilter filter_;
  bool has_storage_ = false;
  std::optional<Digest> storage_;
  RowOrder order_ = RowOrder::any;
  SnapshotWalk walk_;
  std::shared_ptr<TensorSet> set_;
  std::span<const std::uint32_t> rows_;
  std::size_t at_ = 0;
  TensorRowReader reader_;
};

class TensorsTable : public Table {
 public:
  std::string_view name() const override { return "tensors"; }
  std::string_view about() const override { return "tensors of all snapshots, or of one"; }
  std::span<const Column> columns() const override { return columns_of_table(); }

  void estimate(Plan& plan, std::span<const Ordering> order, SessionState& session) const override {
    const bool is_single =
        plan.uses(rev_column, Op::equal) || plan.uses(index_of(TensorColumn::snapshot_id), Op::equal);
    const bool is_named = plan.uses(index_of(TensorColumn::name), Op::equal);
    const double snapshots = is_single ? 1 : session.snapshot_count();
    double rows = is_named ? 1 : session.tensor_count();
    for (const Condition& one : plan.used) {
      if (one.op == Op::glob || one.op == Op::like) rows *= 0.2;
      if (one.column == index_of(TensorColumn::storage_id)) rows = std::min(rows, 1.0);
    }
    plan.rows = std::max(1.0, snapshots * rows);
    plan.cost = snapshots * (is_single ? 40 : 4) + plan.rows;
    plan.is_unique = is_single && is_named;
    const bool is_by_name = order.size() == 1 && order[0].column == index_of(TensorColumn::name);
    if (is_single && is_by_name) plan.order = order[0].is_descending ? RowOrder::descending : RowOrder::ascending;
  }
  std::unique_ptr<Cursor> open(SessionState& session) const override {
    return std::make_unique<TensorsCursor>(session);
  }
};

}  // namespace

const Table& tensors_table() {
  static const TensorsTable table;
  return table;
}

}  // namespace tenon
