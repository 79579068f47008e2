// storages: contents, each once, and how often they are used.
#include <array>
#include <map>
#include <set>

#include "query/list_cursor.h"
#include "query/snapshot_walk.h"
#include "query/tables.h"
#include "query/value.h"

namespace tenon {

namespace {

enum StorageColumn { storage_id, nbytes, snapshot_count, slot_count, first_snapshot_id, last_snapshot_id, segment_id };

constexpr std::array<Column, 7> columns_of_table = {{
    {"storage_id", "TEXT", "digest of the bytes, 32 hex digits", ColumnRole::plain, push_equal},
    {"nbytes", "INTEGER", "bytes"},
    {"snapshot_count", "INTEGER", "snapshots that have it"},
    {"slot_count", "INTEGER", "slots that have it, of all snapshots"},
    {"first_snapshot_id", "TEXT", "the first snapshot that had it, 32 hex digits"},
    {"last_snapshot_id", "TEXT", "the newest snapshot that has it, 32 hex digits"},
    {"segment_id", "INTEGER", "the segment that it, or the first of its pieces, lies in; NULL for no bytes"},
}};

struct StorageRow {
  Digest key;
  std::uint64_t nbytes = 0;
  std::int64_t snapshots = 0;
  std::int64_t slots = 0;
  SnapshotId first;
  SnapshotId last;
  std::optional<std::uint64_t> segment;
};

std::optional<std::uint64_t> segment_of(const CatalogSnapshot& snapshot, std::uint32_t slot, std::uint64_t slot_bytes) {
  if (slot_bytes == 0) return std::nullopt;
  const Binding& binding = snapshot.binding;
  if (!binding.is_stitched(slot)) return snapshot.segment(binding.segment(slot)).sequence;
  const auto extents = binding.extents(slot);
  return extents.empty() ? std::nullopt : std::optional(snapshot.segment(extents[0].segment).sequence);
}

class StoragesCursor : public ListCursor<StorageRow> {
 public:
  using ListCursor::ListCursor;
  Cell column(int index) override {
    switch (index) {
      case storage_id:
        return to_hex(row().key);
      case nbytes:
        return cell_of(row().nbytes);
      case snapshot_count:
        return row().snapshots;
      case slot_count:
        return row().slots;
      case first_snapshot_id:
        return to_hex(row().first);
      case last_snapshot_id:
        return to_hex(row().last);
      default:
        return row().segment ? cell_of(*row().segment) : Cell();
    }
  }
  RowKey key() const override { return {row().key, row().nbytes}; }

 private:
  using Found = std::map<std::pair<Digest, std::uint64_t>, StorageRow>;

  std::vector<StorageRow> list(std::span<const Bound> bounds) override {
    std::optional<Digest> wanted;
    for (const Bound& bound : bounds) {
      Digest key;
      const auto text = text_of(bound.value);
      if (!text || !from_hex(*text, key)) return {};
      wanted = key;
    }
    Found found;
    for (SnapshotWalk walk(session_, session_.history().all()); !walk.at_end(); walk.next())
      add(*walk.snapshot(), wanted, found);
    std::vector<StorageRow> rows;
    for (const auto& [key, row] : found) rows.push_back(row);
    return rows;
  }

  void add(const CatalogSnapshot& snapshot, const std::optional<Digest>& wanted, Found& found) {
    const auto layout = session_.history().layout(snapshot);
    for (std::uint32_t slot = 0; slot < snapshot.keys.size(); ++slot) {
      const Digest& key = snapshot.keys[slot];
      if (wanted && key != *wanted) continue;
      const std::uint64_t slot_bytes = layout->layout.slot_bytes(slot);
      const auto [place, is_new] = found.try_emplace({key, slot_bytes});
      StorageRow& row = place->second;
      if (is_new) {
        session_.charge(sizeof(Found::value_type) + 48);
        row = {.key = key,
               .nbytes = slot_bytes,
               .first = snapshot.info().id,
               .segment = segment_of(snapshot, slot, slot_bytes)};
      }
      if (is_new || row.last != snapshot.info().id) ++row.snapshots;
      row.last = snapshot.info().id;
      ++row.slots;
    }
  }
};

class StoragesTable : public Table {
 public:
  std::string_view name() const override { return "storages"; }
  std::string_view about() const override { return "contents, each once, and how often they are used"; }
  std::span<const Column> columns() const override { return columns_of_table; }
  void estimate(Plan& plan, std::span<const Ordering>, SessionState& session) const override {
    plan.is_unique = false;
    plan.rows = plan.uses(storage_id, Op::equal) ? 1 : session.tensor_count() * 2;
    plan.cost = session.snapshot_count() * session.tensor_count();
  }
  std::unique_ptr<Cursor> open(SessionState& session) const override {
    return std::make_unique<StoragesCursor>(session);
  }
};

}  // namespace

const Table& storages_table() {
  static const StoragesTable table;
  return table;
}

}  // namespace tenon
