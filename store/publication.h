// Steps 2 to 5 of a commit: a segment that lacks only its record and footer becomes the newest snapshot of a ref.
#pragma once

#include <optional>

#include "store/ingest.h"
#include "store/store_state.h"
#include "tenon/store.h"

namespace tenon {

// A segment to be published on the ref of `options`, in a store that can be written to; what killed writers left is
// swept first. Throws what StoreState::require_writable and check_ref_name throw.
SegmentWriter begin_segment(StoreState& store, const CommitOptions& options);

// Under the commit lock. Throws conflict where the ref is not as `options` expect. nullopt: a segment that was to be
// reused has gone meanwhile, and nothing was changed.
std::optional<CommitResult> publish_snapshot(StoreState& store, const CommitOptions& options, SegmentWriter& writer,
                                             Ingested& ingested);

}  // namespace tenon
