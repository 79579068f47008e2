// History as the catalog has it: from a snapshot to its first parents, forgotten ones jumped over.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "store/catalog.h"
#include "store/record.h"
#include "store/store_state.h"

namespace tenon {

// `id`, or where its history goes on if it was forgotten; nullopt if it ends there.
std::optional<SnapshotId> remaining_from(const CatalogReader& catalog, SnapshotId id);
// Throws not_found if the snapshot was forgotten.
void require_not_forgotten(const CatalogReader& catalog, const SnapshotId& id, const std::string& store);

// Visits `from` and its first parents, newest first, until `visit` returns false or history ends (with the first
// snapshot, or with one that was lost, which is returned). Throws corrupt if a snapshot is referred to that is not
// there. What `visit` gets is valid during the call.
using VisitRecord = std::function<bool(const SnapshotRow& row, const Record& record)>;
std::optional<SnapshotId> walk_history(const CatalogReader& catalog, const SnapshotId& from, const std::string& file,
                                       const VisitRecord& visit);

}  // namespace tenon
