// snapshots, log(rev): checkpoints, in the order of their commits, and along one history.
#include <array>
#include <map>
#include <optional>

#include "query/snapshot_choice.h"
#include "query/snapshot_walk.h"
#include "query/tables.h"
#include "query/tensor_columns.h"
#include "query/value.h"

namespace tenon {

namespace {

enum SnapshotColumn {
  snapshot_id,
  step,
  created_at,
  message,
  meta,
  created_by,
  parent_id,
  parents,
  tensor_count,
  slot_count,
  nbytes,
  segment_id,
  freed_bytes,
  last_column,  // depth of log; snapshots end before it
  rev,
};

constexpr std::array<Column, 15> columns_of_log = {{
    {"snapshot_id", "TEXT", "32 hex digits", ColumnRole::plain, push_equal},
    {"step", "INTEGER", "training step"},
    {"created_at", "TIMESTAMP", "UTC"},
    {"message", "TEXT", "what was said of it"},
    {"meta", "JSON", "metadata: meta->>'val_loss'"},
    {"created_by", "TEXT", "program and version"},
    {"parent_id", "TEXT", "first parent, 32 hex digits; NULL for the first of a history"},
    {"parents", "JSON", "ids of all parents"},
    {"tensor_count", "INTEGER", "tensors"},
    {"slot_count", "INTEGER", "slots"},
    {"nbytes", "INTEGER", "bytes of all slots"},
    {"segment_id", "INTEGER", "the segment that its commit wrote"},
    {"freed_bytes", "INTEGER",
     "what gc would give back if it alone were forgotten; takes a look at every segment, so not part of *",
     ColumnRole::on_request},
    {"depth", "INTEGER", "first parents between it and the newest: 0 for that"},
    {"rev", "TEXT", "where the history begins; main unless told", ColumnRole::argument},
}};

std::string parents_of(const SnapshotInfo& info) {
  std::string text = "[";
  for (const SnapshotId& parent : info.parents) {
    if (text.size() > 1) text += ", ";
    text += '"' + to_hex(parent) + '"';
  }
  return text + "]";
}

Cell snapshot_column(const CatalogSnapshot& snapshot, int column) {
  const SnapshotInfo& info = snapshot.info();
  switch (column) {
    case snapshot_id:
      return to_hex(info.id);
    case step:
      return cell_of(info.step);
    case created_at:
      return utc_time(info.created_at_ns);
    case message:
      return std::string_view(info.message);
    case meta:
      return std::string_view(info.meta);
    case created_by:
      return std::string_view(info.created_by);
    case parent_id:
      return info.parents.empty() ? Cell() : Cell(to_hex(info.parents.front()));
    case parents:
      return parents_of(info);
    case tensor_count:
      return cell_of(info.tensor_count);
    case slot_count:
      return cell_of(info.slot_count);
    case nbytes:
      return cell_of(info.nbytes);
    default:
      return cell_of(snapshot.holder.sequence);
  }
}

class SnapshotsCursor : public Cursor {
 public:
  SnapshotsCursor(SessionState& session, bool is_log) : session_(session), is_log_(is_log) {}

  void begin(std::span<const Bound> bounds, RowOrder) override {
    SnapshotChoice choice;
    rev_ = "main";
    freed_.reset();
    for (const Bound& bound : bounds) {
      if (bound.column == rev) rev_ = require_text(bound.value, "log: rev");
      if (bound.column == snapshot_id && !is_log_) choice.add_id(session_, bound);
    }
    const auto ids = is_log_ ? session_.history().chain(session_.resolve(require_no_path(rev_))) : choice.ids(session_);
    walk_ = SnapshotWalk(session_, ids);
  }
  bool at_end() const override { return walk_.at_end(); }
  void next() override { walk_.next(); }
  Cell column(int index) override {
    if (index == last_column) return static_cast<std::int64_t>(walk_.position());
    if (index == rev) return std::string_view(rev_);
    return index == freed_bytes ? freed() : snapshot_column(*walk_.snapshot(), index);
  }
  RowKey key() const override { return {walk_.snapshot()->info().id}; }

 private:
  // One look at the store for all rows.
  Cell freed() {
    if (session_.store().is_bundle()) return {};
    if (!freed_) {
      freed_.emplace();
      for (const SnapshotUsage& one : session_.store().du().snapshots) freed_->emplace(one.info.id, one.freed_bytes);
    }
    const auto found = freed_->find(walk_.snapshot()->info().id);
    return found == freed_->end() ? Cell() : cell_of(found->second);
  }

  SessionState& session_;
  bool is_log_;
  std::string rev_;
  SnapshotWalk walk_;
  std::optional<std::map<SnapshotId, std::uint64_t>> freed_;
};

class SnapshotsTable : public Table {
 public:
  explicit SnapshotsTable(bool is_log) : is_log_(is_log) {}
  std::string_view name() const override { return is_log_ ? "log" : "snapshots"; }
  std::string_view about() const override {
    return is_log_ ? "a snapshot and its first parents, newest first" : "every snapshot, in the order of their commits";
  }
  std::span<const Column> columns() const override {
    return std::span<const Column>(columns_of_log).first(is_log_ ? columns_of_log.size() : std::size_t{last_column});
  }
  void estimate(Plan& plan, std::span<const Ordering>, SessionState& session) const override {
    plan.is_unique = !is_log_ && plan.uses(snapshot_id, Op::equal);
    plan.rows = plan.is_unique ? 1 : session.snapshot_count();
    plan.cost = 20 + plan.rows * 2;
  }
  std::unique_ptr<Cursor> open(SessionState& session) const override {
    return std::make_unique<SnapshotsCursor>(session, is_log_);
  }

 private:
  bool is_log_;
};

}  // namespace

const Table& snapshots_table() {
  static const SnapshotsTable table(false);
  return table;
}

const Table& log_table() {
  static const SnapshotsTable table(true);
  return table;
}

}  // namespace tenon
