// A catalog made anew from what segments and journal tell; repair's second step.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "store/store_state.h"

namespace tenon {

// A snapshot that can be opened, and the segment that holds it.
struct WholeSnapshot {
  format::SegmentReference holder;
  std::vector<SnapshotId> parents;
};

struct CatalogContents {
  std::vector<format::SegmentReference> segments;
  std::map<SnapshotId, WholeSnapshot> snapshots;
  std::map<SnapshotId, std::pair<std::uint64_t, SnapshotId>> forgotten;  // sequence, first parent
  CatalogRoot root;                                                      // snapshot_count is counted
};

// Fills an empty catalog, some megabytes of rows to a transaction, so that a long history does not have to fit in
// memory. Returns what is missing, one line each. Throws io, full.
std::vector<std::string> rebuild_catalog(Catalog& catalog, const StorePaths& paths, const CatalogContents& contents);

}  // namespace tenon
