// The binding: per slot the storage's key (its own section) and its placement, with the table of segments that
// placements point into. Placements are outside the snapshot id, so that repacking changes no id.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "store/format.h"

namespace tenon {

// Used straight from the mapping; borrows it.
class Binding {
 public:
  Binding() = default;
  // Checks every index and size, not yet the extents' bounds within segments (their sizes are known when they are
  // open). Throws corrupt naming file and offset.
  static Binding open(std::span<const std::byte> bytes, const std::string& file, std::uint64_t base_offset);

  std::uint32_t slot_count() const noexcept { return header_->slot_count; }
  std::uint32_t layout_segment() const noexcept { return header_->layout_segment; }
  std::uint32_t structure_segment() const noexcept { return header_->structure_segment; }
  std::span<const format::SegmentReference> segments() const noexcept { return {segments_, header_->segment_count}; }
  bool is_stitched(std::uint32_t slot) const noexcept { return (placements_[slot] & format::placement_stitched) != 0; }
  // REQUIRES: !is_stitched(slot). The size is the slot's.
  std::uint32_t segment(std::uint32_t slot) const noexcept {
    return static_cast<std::uint32_t>(placements_[slot] >> format::placement_offset_bits);
  }
  std::uint64_t offset(std::uint32_t slot) const noexcept {
    return (placements_[slot] & ((std::uint64_t{1} << format::placement_offset_bits) - 1)) * format::alignment_small;
  }
  // REQUIRES: is_stitched(slot).
  std::span<const format::Extent> extents(std::uint32_t slot) const noexcept;

 private:
  const format::BindingHeader* header_ = nullptr;
  const format::SegmentReference* segments_ = nullptr;
  const std::uint64_t* placements_ = nullptr;
  const format::Extent* extents_ = nullptr;
};

// Where one storage is, while a binding is being made: a segment-table index and one or several extents.
using Placement = std::vector<format::Extent>;

struct BindingDraft {
  std::vector<format::SegmentReference> segments;  // entry 0: the segment being written
  std::vector<Placement> slots;                    // empty for a storage of no bytes
  std::uint32_t layout_segment = 0;
  std::uint32_t structure_segment = 0;

  // Index of a segment in the table, added if it is new.
  std::uint32_t segment_index(const format::SegmentReference& reference);
  std::map<Digest, std::uint32_t> added;  // by segment_index
};

// Throws limit if the table or the extents are too many.
std::vector<std::byte> encode_binding(const BindingDraft& draft);

}  // namespace tenon
