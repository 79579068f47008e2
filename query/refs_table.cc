// refs: names of snapshots.
#include <array>

#include "query/list_cursor.h"
#include "query/tables.h"

namespace tenon {

namespace {

constexpr std::array<Column, 4> columns_of_table = {{
    {"name", "TEXT", "the ref or tag"},
    {"snapshot_id", "TEXT", "the snapshot that it leads to, 32 hex digits"},
    {"is_tag", "BOOLEAN", "whether it stays where it is"},
    {"sequence", "INTEGER", "number of the mutation that set it"},
}};

class RefsCursor : public ListCursor<RefInfo> {
 public:
  using ListCursor::ListCursor;
  Cell column(int index) override {
    switch (index) {
      case 0:
        return std::string_view(row().name);
      case 1:
        return to_hex(row().id);
      case 2:
        return cell_of(row().is_tag);
      default:
        return cell_of(row().sequence);
    }
  }

 private:
  std::vector<RefInfo> list(std::span<const Bound>) override { return session_.store().refs(); }
};

class RefsTable : public Table {
 public:
  std::string_view name() const override { return "refs"; }
  std::string_view about() const override { return "refs and tags"; }
  std::span<const Column> columns() const override { return columns_of_table; }
  void estimate(Plan& plan, std::span<const Ordering>, SessionState&) const override { plan.rows = plan.cost = 20; }
  std::unique_ptr<Cursor> open(SessionState& session) const override { return std::make_unique<RefsCursor>(session); }
};

}  // namespace

const Table& refs_table() {
  static const RefsTable table;
  return table;
}

}  // namespace tenon
