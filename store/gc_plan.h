// What gc is to take: of each candidate segment all or parts, and files that the catalog does not know.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "store/marks.h"
#include "store/mutation.h"
#include "store/sparse_copy.h"

namespace tenon {

// What a candidate is worth, and which parts of it must stay.
struct SegmentPlan {
  std::uint64_t sequence = 0;
  format::SegmentReference reference{};
  KeptParts kept{};
  std::uint64_t gain = 0;              // bytes of disk
  std::vector<std::uint64_t> dead{};   // places in the storages table; of a segment that goes whole, none
  std::unique_ptr<SparseCopy> copy{};  // of one that stays in part, once it is written
};

// For the candidates that are there and worth taking.
std::vector<SegmentPlan> plan_segments(const StoreState& store, const Marks& marks,
                                       std::span<const std::uint64_t> candidates);

struct StraySegment {
  std::filesystem::path path;
  std::uint64_t size_bytes = 0;  // of disk
};

// Segments that the catalog does not know, and that are not a lost index's fault: gc took their rows, and was killed.
std::vector<StraySegment> find_strays(const StoreState& store, Mutation& mutation);

}  // namespace tenon
