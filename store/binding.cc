#include "store/binding.h"

#include <cassert>
#include <cstring>

#include "store/codec.h"
#include "tenon/error.h"

namespace tenon {

namespace {

using format::BindingHeader;
using format::Extent;
using format::SegmentReference;

constexpr unsigned stitched_count_shift = 32;
constexpr std::uint64_t stitched_count_max = (std::uint64_t{1} << 31) - 1;

// An offset past what a placement holds would otherwise name another segment.
std::uint64_t pack_single(const Extent& extent) {
  assert(extent.offset % format::alignment_small == 0);
  if (extent.offset / format::alignment_small >> format::placement_offset_bits != 0) {
    throw Error(ErrorKind::limit, {.what = "a storage lies too far within its segment",
                                   .got = "offset " + std::to_string(extent.offset),
                                   .wanted = "less than 64 TiB"});
  }
  return (std::uint64_t{extent.segment} << format::placement_offset_bits) | (extent.offset / format::alignment_small);
}

std::uint32_t stitched_first(std::uint64_t placement) { return static_cast<std::uint32_t>(placement); }
std::uint32_t stitched_count(std::uint64_t placement) {
  return static_cast<std::uint32_t>((placement >> stitched_count_shift) & stitched_count_max);
}

}  // namespace

Binding Binding::open(std::span<const std::byte> bytes, const std::string& file, std::uint64_t base_offset) {
  const auto fail = [&](std::string what, std::uint64_t offset) {
    throw Error(ErrorKind::corrupt, {.what = "binding " + what, .file = file, .offset = base_offset + offset});
  };
  if (bytes.size() < sizeof(BindingHeader)) fail("is shorter than its header", 0);
  Binding b;
  b.header_ = reinterpret_cast<const BindingHeader*>(bytes.data());
  const BindingHeader& h = *b.header_;
  const std::uint64_t segments_at = sizeof(BindingHeader);
  const std::uint64_t placements_at = segments_at + std::uint64_t{h.segment_count} * sizeof(SegmentReference);
  const std::uint64_t extents_at = placements_at + std::uint64_t{h.slot_count} * sizeof(std::uint64_t);
  if (extents_at + std::uint64_t{h.extent_count} * sizeof(Extent) != bytes.size())
    fail("size does not follow from its counts", 0);
  if (h.segment_count == 0 || h.layout_segment >= h.segment_count || h.structure_segment >= h.segment_count) {
    fail("names a segment that is not in its table", 0);
  }
  b.segments_ = reinterpret_cast<const SegmentReference*>(bytes.data() + segments_at);
  b.placements_ = reinterpret_cast<const std::uint64_t*>(bytes.data() + placements_at);
  b.extents_ = reinterpret_cast<const Extent*>(bytes.data() + extents_at);
  for (std::uint32_t e = 0; e < h.extent_count; ++e) {
    if (b.extents_[e].segment >= h.segment_count) fail("has an extent in no segment", extents_at + e * sizeof(Extent));
  }
  for (std::uint32_t slot = 0; slot < h.slot_count; ++slot) {
    const std::uint64_t placement = b.placements_[slot];
    const bool is_good = b.is_stitched(slot)
                             ? std::uint64_t{stitched_first(placement)} + stitched_count(placement) <= h.extent_count
                             : b.segment(slot) < h.segment_count;
    if (!is_good)
      fail("places slot " + std::to_string(slot) + " outside its tables", placements_at + slot * sizeof(std::uint64_t));
  }
  return b;
}

std::span<const Extent> Binding::extents(std::uint32_t slot) const noexcept {
  assert(is_stitched(slot));
  return {extents_ + stitched_first(placements_[slot]), stitched_count(placements_[slot])};
}

std::uint32_t BindingDraft::segment_index(const SegmentReference& reference) {
  const auto [found, is_new] = added.try_emplace(reference.uuid, static_cast<std::uint32_t>(segments.size()));
  if (is_new) segments.push_back(reference);
  return found->second;
}

std::vector<std::byte> encode_binding(const BindingDraft& draft) {
  assert(!draft.segments.empty());
  if (draft.segments.size() > format::placement_segments_max) {
    throw Error(ErrorKind::limit,
                {.what = "snapshot draws on too many segments", .got = std::to_string(draft.segments.size())});
  }
  std::vector<std::uint64_t> placements;
  std::vector<Extent> extents;
  for (const Placement& placement : draft.slots) {
    if (placement.empty()) {
      placements.push_back(0);
    } else if (placement.size() == 1) {
      placements.push_back(pack_single(placement.front()));
    } else {
      if (placement.size() > stitched_count_max || extents.size() + placement.size() > UINT32_MAX)
        throw Error(ErrorKind::limit, {.what = "a snapshot has too many pieces"});
      placements.push_back(format::placement_stitched | (std::uint64_t{placement.size()} << stitched_count_shift) |
                           extents.size());
      extents.insert(extents.end(), placement.begin(), placement.end());
    }
  }
  BindingHeader header{};
  header.slot_count = static_cast<std::uint32_t>(draft.slots.size());
  header.segment_count = static_cast<std::uint32_t>(draft.segments.size());
  header.extent_count = static_cast<std::uint32_t>(extents.size());
  header.layout_segment = draft.layout_segment;
  header.structure_segment = draft.structure_segment;
  ByteWriter out;
  out.put(header);
  out.put_bytes(std::as_bytes(std::span(draft.segments)));
  out.put_bytes(std::as_bytes(std::span(placements)));
  out.put_bytes(std::as_bytes(std::span(extents)));
  return out.take();
}

}  // namespace tenon
