// What two snapshots of one store have at the same places. A finished segment never changes, so that is what has the
// same bytes, told from the columns alone.
//
// Borrows both snapshots. Threads: any.
#pragma once

#include <cstdint>
#include <vector>

namespace tenon {

class SnapshotState;

class SamePlaces {
 public:
  static constexpr std::uint32_t none = UINT32_MAX;

  // REQUIRES: both have their holder and binding.
  SamePlaces(const SnapshotState& newer, const SnapshotState& older);

  // The entry of older's segment table that names the same segment as entry `segment` of newer's; `none`.
  std::uint32_t older_segment(std::uint32_t segment) const noexcept { return older_segments_[segment]; }
  // True if the slots have one length, and lie at the same places of the same segments.
  bool contains(std::uint32_t slot, std::uint32_t older_slot) const noexcept;

 private:
  const SnapshotState& newer_;
  const SnapshotState& older_;
  std::vector<std::uint32_t> older_segments_;
};

}  // namespace tenon
