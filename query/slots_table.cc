// slots, slots(rev): storage objects of the saved program, and where their bytes are.
#include <array>
#include <optional>

#include "query/snapshot_choice.h"
#include "query/snapshot_walk.h"
#include "query/tables.h"
#include "query/value.h"

namespace tenon {

namespace {

enum SlotColumn {
  snapshot_id,
  step,
  slot_id,
  nbytes,
  storage_dtype,
  location,
  storage_id,
  segment_id,
  segment_offset_bytes,
  piece_count,
  tensor_count,
  rev,
};

constexpr std::array<Column, 12> columns_of_table = {{
    {"snapshot_id", "TEXT", "the snapshot, 32 hex digits", ColumnRole::plain, push_equal},
    {"step", "INTEGER", "training step of the snapshot"},
    {"slot_id", "INTEGER", "the slot's number in its snapshot"},
    {"nbytes", "INTEGER", "bytes"},
    {"storage_dtype", "TEXT", "element type of a typed storage; NULL for an untyped one"},
    {"location", "TEXT", "device it was on"},
    {"storage_id", "TEXT", "digest of its bytes, 32 hex digits", ColumnRole::plain, push_equal},
    {"segment_id", "INTEGER", "the segment that its bytes, or the first of its pieces, lie in; NULL for none"},
    {"segment_offset_bytes", "INTEGER", "where in that"},
    {"piece_count", "INTEGER", "pieces that it is stitched of: 1 unless only a part changed, 0 of no bytes"},
    {"tensor_count", "INTEGER", "tensors over it, views and ties"},
    {"rev", "TEXT", "the snapshot; without it, all", ColumnRole::argument},
}};

class SlotsCursor : public Cursor {
 public:
  explicit SlotsCursor(SessionState& session) : session_(session) {}

  void begin(std::span<const Bound> bounds, RowOrder) override {
    choice_ = {};
    has_storage_ = false;
    storage_.reset();
    for (const Bound& bound : bounds) {
      if (bound.column == rev) choice_.add_whole_rev(session_, bound);
      if (bound.column == snapshot_id) choice_.add_id(session_, bound);
      if (bound.column == storage_id) set_storage(bound.value);
    }
    walk_ = SnapshotWalk(session_, choice_.ids(session_));
    enter();
  }
  bool at_end() const override { return walk_.at_end(); }
  void next() override {
    ++slot_;
    if (skip()) return;
    walk_.next();
    enter();
  }
  Cell column(int index) override {
    const CatalogSnapshot& snapshot = *walk_.snapshot();
    switch (index) {
      case snapshot_id:
        return to_hex(snapshot.info().id);
      case step:
        return cell_of(snapshot.info().step);
      case slot_id:
        return std::int64_t{slot_};
      case storage_id:
        return to_hex(snapshot.keys[slot_]);
      case tensor_count:
        return tensors_over();
      case rev:
        return choice_.rev().empty() ? Cell() : Cell(std::string_view(choice_.rev()));
      case segment_id:
      case segment_offset_bytes:
      case piece_count:
        return placement_column(index);
      default:
        return layout_column(index);
    }
  }
  RowKey key() const override { return {walk_.snapshot()->info().id, slot_}; }

 private:
  void set_storage(const SqlValue& value) {
    Digest key;
    const auto text = text_of(value);
    has_storage_ = true;
    if (text && from_hex(*text, key) && to_hex(key) == *text) storage_ = key;
  }

  void enter() {
    for (; !walk_.at_end(); walk_.next()) {
      slot_ = 0;
      layout_ = nullptr;
      counts_.clear();
      if (skip()) return;
    }
  }

  bool skip() {
    const auto& keys = walk_.snapshot()->keys;
    while (has_storage_ && slot_ < keys.size() && storage_ != keys[slot_]) ++slot_;
    return slot_ < keys.size();
  }

  const Layout& layout() {
    if (!layout_) layout_ = session_.history().layout(*walk_.snapshot());
    return layout_->layout;
  }

  Cell layout_column(int index) {
    if (index == nbytes) return cell_of(layout().slot_bytes(slot_));
    if (index == location) return layout().slot_location(slot_);
    const DType dtype = layout().slot_dtype(slot_);
    return dtype == DType::invalid ? Cell() : Cell(dtype_info(dtype).name);
  }

  Cell placement_column(int index) {
    const CatalogSnapshot& snapshot = *walk_.snapshot();
    if (layout().slot_bytes(slot_) == 0) return index == piece_count ? Cell(std::int64_t{0}) : Cell();
    const Binding& binding = snapshot.binding;
    if (!binding.is_stitched(slot_)) {
      if (index == piece_count) return std::int64_t{1};
      return cell_of(index == segment_id ? snapshot.segment(binding.segment(slot_)).sequence : binding.offset(slot_));
    }
    const auto extents = binding.extents(slot_);
    if (index == piece_count || extents.empty()) return static_cast<std::int64_t>(extents.size());
    return cell_of(index == segment_id ? snapshot.segment(extents[0].segment).sequence : extents[0].offset);
  }

  Cell tensors_over() {
    if (counts_.empty()) {
      counts_.resize(walk_.snapshot()->keys.size());
      for (std::uint32_t row = 0; row < layout().tensor_count(); ++row) {
        if (layout().slot(row) != no_slot) ++counts_[layout().slot(row)];
      }
    }
    return counts_[slot_];
  }

  SessionState& session_;
  SnapshotChoice choice_;
  SnapshotWalk walk_;
  bool has_storage_ = false;
  std::optional<Digest> storage_;
  std::uint32_t slot_ = 0;
  std::shared_ptr<const SharedLayout> layout_;
  std::vector<std::int64_t> counts_;  // tensors of each slot
};

class SlotsTable : public Table {
 public:
  std::string_view name() const override { return "slots"; }
  std::string_view about() const override { return "slots of all snapshots, or of one: the unit of sharing memory"; }
  std::span<const Column> columns() const override { return columns_of_table; }
  void estimate(Plan& plan, std::span<const Ordering>, SessionState& session) const override {
    const bool is_single = plan.uses(rev, Op::equal) || plan.uses(snapshot_id, Op::equal);
    const double snapshots = is_single ? 1 : session.snapshot_count();
    plan.rows = snapshots * (plan.uses(storage_id, Op::equal) ? 1 : session.tensor_count());
    plan.cost = snapshots * (is_single ? 40 : 4) + plan.rows;
  }
  std::unique_ptr<Cursor> open(SessionState& session) const override { return std::make_unique<SlotsCursor>(session); }
};

}  // namespace

const Table& slots_table() {
  static const SlotsTable table;
  return table;
}

}  // namespace tenon
