#include "store/same_places.h"

#include <algorithm>

#include "store/snapshot_state.h"

namespace tenon {

namespace {

struct Entry {
  Digest uuid;
  std::uint32_t index;
};

std::vector<Entry> by_uuid(const SnapshotState& snapshot) {
  std::vector<Entry> entries;
  const auto count = static_cast<std::uint32_t>(snapshot.binding().segments().size());
  entries.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) entries.push_back({snapshot.reference(i).uuid, i});
  std::ranges::sort(entries, {}, &Entry::uuid);
  return entries;
}

}  // namespace

SamePlaces::SamePlaces(const SnapshotState& newer, const SnapshotState& older)
    : newer_(newer), older_(older), older_segments_(newer.binding().segments().size(), none) {
  const std::vector<Entry> entries = by_uuid(older);
  for (std::uint32_t i = 0; i < older_segments_.size(); ++i) {
    const Digest uuid = newer.reference(i).uuid;
    const auto found = std::ranges::lower_bound(entries, uuid, {}, &Entry::uuid);
    if (found != entries.end() && found->uuid == uuid) older_segments_[i] = found->index;
  }
}

bool SamePlaces::contains(std::uint32_t slot, std::uint32_t older_slot) const noexcept {
  const Binding &ours = newer_.binding(), &theirs = older_.binding();
  const std::uint64_t nbytes = newer_.layout().slot_bytes(slot);
  if (nbytes != older_.layout().slot_bytes(older_slot)) return false;
  if (nbytes == 0) return true;
  if (ours.is_stitched(slot) != theirs.is_stitched(older_slot)) return false;
  if (!ours.is_stitched(slot)) {
    return ours.offset(slot) == theirs.offset(older_slot) &&
           older_segments_[ours.segment(slot)] == theirs.segment(older_slot);
  }
  return std::ranges::equal(
      ours.extents(slot), theirs.extents(older_slot), [&](const format::Extent& a, const format::Extent& b) {
        return a.offset == b.offset && a.size == b.size && older_segments_[a.segment] == b.segment;
      });
}

}  // namespace tenon
