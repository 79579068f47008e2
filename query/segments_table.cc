// segments: the files that commits wrote.
#include <array>

#include "query/list_cursor.h"
#include "query/tables.h"
#include "store/du.h"

namespace tenon {

namespace {

enum SegmentColumn { segment_id, uuid, path, file_bytes, disk_bytes, is_sparse };

constexpr std::array<Column, 6> columns_of_table = {{
    {"segment_id", "INTEGER", "number of the mutation that wrote it; 0 in a bundle"},
    {"uuid", "TEXT", "32 hex digits"},
    {"path", "TEXT", "the file"},
    {"file_bytes", "INTEGER", "length of the file"},
    {"disk_bytes", "INTEGER", "what it takes on the disk, in blocks"},
    {"is_sparse", "BOOLEAN", "whether gc has taken parts of it"},
}};

class SegmentsCursor : public ListCursor<std::pair<std::uint64_t, SegmentRow>> {
 public:
  using ListCursor::ListCursor;
  Cell column(int index) override {
    const auto& [sequence, segment] = row();
    switch (index) {
      case segment_id:
        return cell_of(sequence);
      case uuid:
        return to_hex(segment.uuid);
      case path:
        return file().string();
      case file_bytes:
        return cell_of(segment.file_bytes);
      case disk_bytes:
        return cell_of(blocks_of(file()));
      default:
        return cell_of(segment.is_sparse);
    }
  }

 private:
  std::vector<std::pair<std::uint64_t, SegmentRow>> list(std::span<const Bound>) override {
    return session_.history().segments();
  }
  std::filesystem::path file() const {
    const StoreState& store = *StoreState::of(session_.store());
    return store.is_bundle() ? store.path() : store.paths().segment_directory().file_of(row().first);
  }
};

class SegmentsTable : public Table {
 public:
  std::string_view name() const override { return "segments"; }
  std::string_view about() const override { return "the files that commits wrote"; }
  std::span<const Column> columns() const override { return columns_of_table; }
  void estimate(Plan& plan, std::span<const Ordering>, SessionState& session) const override {
    plan.rows = session.snapshot_count();
    plan.cost = 20 + plan.rows;
  }
  std::unique_ptr<Cursor> open(SessionState& session) const override {
    return std::make_unique<SegmentsCursor>(session);
  }
};

}  // namespace

const Table& segments_table() {
  static const SegmentsTable table;
  return table;
}

}  // namespace tenon
