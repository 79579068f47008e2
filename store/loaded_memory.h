// What of a draft's memory this process loaded from a store, and has not written to since, so that a commit needs
// neither compare nor digest it.
//
// A slot of the draft is recognised by its address: it is a slot of an open snapshot, whole. Shared memory is
// read-only. Of private memory the kernel tells which pages were written (mmap/page_state.h). In a forked child
// mappings may be absent, and other memory in their place: there private ones are looked at first, and shared ones are
// not believed.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "store/snapshot_state.h"
#include "tenon/draft.h"

namespace tenon {

struct LoadedSlot {
  std::shared_ptr<const SnapshotState> snapshot;  // open privately or shared
  std::uint32_t slot = 0;
  std::vector<std::uint8_t> is_untouched;  // for each leaf
};

// From now on memory of this snapshot, private or shared, is recognised. Holds it not alive. Threads: any, also beside
// a fork.
void remember_loaded(const std::shared_ptr<const SnapshotState>& snapshot);

// For each slot of the draft; nullopt where it is other memory, or nothing is known.
std::vector<std::optional<LoadedSlot>> find_loaded_slots(const Draft& draft);

}  // namespace tenon
