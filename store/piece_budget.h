// What a new snapshot may be stitched from: so many mappings, so many segments (store/stitching.h has the numbers).
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <span>

#include "store/dedupe.h"

namespace tenon {

// Has slots written again, whole or in part, until the budgets hold; `make_fresh` makes a slot one that is written
// whole. Returns the segments that are drawn on.
std::set<Digest> keep_within_budgets(std::span<SlotOrigin> slots,
                                     const std::function<void(std::uint32_t slot)>& make_fresh);

}  // namespace tenon
