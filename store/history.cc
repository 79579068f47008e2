#include "store/history.h"

namespace tenon {

std::optional<SnapshotId> remaining_from(const CatalogReader& catalog, SnapshotId id) {
  while (const auto forgotten = catalog.forgotten(id)) {
    if (forgotten->next == SnapshotId{}) return std::nullopt;
    id = forgotten->next;
  }
  return id;
}

void require_not_forgotten(const CatalogReader& catalog, const SnapshotId& id, const std::string& store) {
  if (!catalog.forgotten(id)) return;
  const bool is_gone = !catalog.has_snapshot(id);
  throw Error(ErrorKind::not_found, {.what = "snapshot " + to_hex(id) + " was forgotten",
                                     .file = store,
                                     .hint = is_gone ? "gc has taken it" : "`tenon undo` brings it back, until gc"});
}

std::optional<SnapshotId> walk_history(const CatalogReader& catalog, const SnapshotId& from, const std::string& file,
                                       const VisitRecord& visit) {
  for (std::optional<SnapshotId> id = remaining_from(catalog, from); id;) {
    const auto bytes = catalog.snapshot(*id);
    if (!bytes) {
      throw Error(ErrorKind::corrupt, {.what = "a snapshot that is referred to is not in the catalog",
                                       .file = file,
                                       .got = to_hex(*id),
                                       .hint = "run `tenon repair`"});
    }
    const SnapshotRow row = decode_snapshot_row(*bytes, file);
    if (row.record.empty()) return id;  // lost, and known to be
    const Record record = decode_record(row.record, file, 0);
    if (!visit(row, record) || record.info.parents.empty()) break;
    id = remaining_from(catalog, record.info.parents.front());
  }
  return std::nullopt;
}

}  // namespace tenon
