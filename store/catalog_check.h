// The catalog held against what segments, heads and journal say.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "store/journal.h"
#include "store/store_state.h"

namespace tenon {

// A snapshot whose segment is whole.
struct KnownSnapshot {
  format::SegmentReference holder;
  Digest keys;
  Digest binding;
  std::set<std::pair<std::uint64_t, std::uint64_t>> extents;  // storages it needs: (segment sequence, offset)
};

struct KnownTruth {
  std::map<SnapshotId, KnownSnapshot> snapshots;
  std::map<std::string, Head> heads;                                     // by ref
  std::map<SnapshotId, std::pair<std::uint64_t, SnapshotId>> forgotten;  // by the journal
  JournalContents journal;
  std::uint64_t journal_bytes = 0;
};

// One finding each; empty for a catalog that is in order. LMDB may crash on a damaged file, so a child process looks; a
// crash there is a finding. REQUIRES: writers are held off. Throws io.
std::vector<std::string> check_catalog(const StorePaths& paths, const Digest& store_id, const KnownTruth& truth);

}  // namespace tenon
