// What a commit compares a draft with: the tip of its ref, what the draft's memory was loaded from, and hints.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "store/dedupe.h"
#include "store/store_state.h"
#include "tenon/store.h"

namespace tenon {

// The tip that the new snapshot is compared with; null if there is none, or if it cannot be opened: what cannot be
// opened cannot be compared with; that is verify's to report, and no reason to lose a checkpoint.
std::shared_ptr<const SnapshotState> open_tip(const StoreState& store, const std::string& ref);

DedupeResult find_origins(const StoreState& store, const Draft& draft, const SnapshotState* parent,
                          const std::function<void(std::uint64_t bytes)>& add_progress);

// Counts bytes up to the draft's, and tells.
std::function<void(std::uint64_t bytes)> progress_counter(const Draft& draft,
                                                          const std::function<void(const Progress&)>& report);

}  // namespace tenon
