#include "store/marks.h"

#include <algorithm>

#include "store/layout.h"
#include "store/live_ranges.h"

namespace tenon {

namespace {

using format::SectionKind;

constexpr std::size_t rows_per_batch = 256;

void add_extent(SegmentUse& use, std::uint64_t offset, std::uint64_t size, std::uint32_t snapshot) {
  auto& parts = use.extents[offset];
  auto part = std::find_if(parts.begin(), parts.end(), [&](const SegmentUse::Part& p) { return p.size == size; });
  if (part == parts.end()) part = parts.insert(parts.end(), {size, {}});
  part->users.add(snapshot);
}

// A binding as it stands in a catalog row, which lends it aligned to 8 bytes only from its beginning.
struct RowBinding {
  std::vector<std::uint64_t> aligned;
  Binding binding;
  RowBinding(const SnapshotRow& row, const std::string& file) : aligned((row.binding.size() + 7) / 8) {
    std::copy(row.binding.begin(), row.binding.end(), std::as_writable_bytes(std::span(aligned)).begin());
    binding = Binding::open(std::as_bytes(std::span(aligned)).first(row.binding.size()), file, 0);
  }
};

}  // namespace

std::uint32_t Marks::add(const SnapshotRow& row, const Record& record) {
  const std::uint32_t snapshot = snapshots_++;
  const RowBinding opened(row, store_.catalog_name());
  const Binding& binding = opened.binding;
  std::vector<SegmentUse*> uses;
  const auto sequence_of = [&](std::uint32_t i) {
    return i == 0 ? row.holder.sequence : binding.segments()[i].sequence;
  };
  for (std::uint32_t i = 0; i < binding.segments().size(); ++i) {
    const bool is_wanted = !wanted_ || wanted_->contains(sequence_of(i));
    uses.push_back(is_wanted ? &segments_[sequence_of(i)] : nullptr);
  }
  if (auto* use = uses[binding.layout_segment()]) use->layout.add(snapshot);
  if (auto* use = uses[binding.structure_segment()]) use->structure.add(snapshot);
  if (std::all_of(uses.begin(), uses.end(), [](const SegmentUse* use) { return use == nullptr; })) return snapshot;
  const auto& sizes = slot_sizes(row, record);
  for (std::uint32_t slot = 0; slot < binding.slot_count(); ++slot) {
    if (sizes[slot] == 0) continue;
    if (!binding.is_stitched(slot)) {
      if (auto* use = uses[binding.segment(slot)]) add_extent(*use, binding.offset(slot), sizes[slot], snapshot);
      continue;
    }
    for (const format::Extent& extent : binding.extents(slot)) {
      if (auto* use = uses[extent.segment]) add_extent(*use, extent.offset, extent.size, snapshot);
    }
  }
  return snapshot;
}

// The catalog has no lengths: they are the layout's, which many snapshots share.
const std::vector<std::uint64_t>& Marks::slot_sizes(const SnapshotRow& row, const Record& record) {
  const auto found = sizes_.find(record.layout);
  if (found != sizes_.end()) return found->second;
  const RowBinding opened(row, store_.catalog_name());
  const std::uint32_t index = opened.binding.layout_segment();
  const std::uint64_t sequence = index == 0 ? row.holder.sequence : opened.binding.segments()[index].sequence;
  const auto segment = Segment::open(store_.paths().segment_directory().file_of(sequence));
  const Layout layout = Layout::open(segment->section(SectionKind::layout), segment->path().string(),
                                     segment->section_offset(SectionKind::layout));
  if (layout.slot_count() != opened.binding.slot_count()) {
    throw Error(ErrorKind::corrupt,
                {.what = "layout and binding differ in their number of slots", .file = segment->path().string()});
  }
  std::vector<std::uint64_t> sizes(layout.slot_count());
  for (std::uint32_t slot = 0; slot < layout.slot_count(); ++slot) sizes[slot] = layout.slot_bytes(slot);
  return sizes_.emplace(record.layout, std::move(sizes)).first->second;
}

KeptParts Marks::kept(std::uint64_t sequence, std::uint32_t without) const {
  const auto is_needed = [&](const Users& users) { return users.count != 0 && !users.is_only(without); };
  KeptParts kept;
  const auto found = segments_.find(sequence);
  if (found == segments_.end()) return kept;
  const SegmentUse& use = found->second;
  kept.layout = is_needed(use.layout);
  kept.structure = is_needed(use.structure);
  for (const auto& [offset, parts] : use.extents) {
    for (const SegmentUse::Part& part : parts) {
      if (is_needed(part.users)) kept.ranges.push_back({offset, part.size});
    }
  }
  kept.ranges = LiveRanges::merged(std::move(kept.ranges));
  return kept;
}

std::vector<RemainingSnapshot> remaining_snapshots(const StoreState& store) {
  std::vector<SnapshotId> ids;
  {
    const CatalogReader reader = store.catalog().read();
    std::unordered_set<std::uint64_t> forgotten;  // by the low half, made sure of below
    for (const auto& [id, row] : reader.forgotten()) forgotten.insert(id.low);
    for (const SnapshotId& id : reader.snapshots()) {
      if (!forgotten.contains(id.low) || !reader.forgotten(id)) ids.push_back(id);
    }
  }
  std::vector<RemainingSnapshot> remaining;
  for (std::size_t begin = 0; begin < ids.size(); begin += rows_per_batch) {
    const CatalogReader reader = store.catalog().read();
    for (std::size_t i = begin; i < std::min(ids.size(), begin + rows_per_batch); ++i) {
      const auto bytes = reader.snapshot(ids[i]);
      if (!bytes) continue;
      const SnapshotRow row = decode_snapshot_row(*bytes, store.catalog_name());
      if (!row.record.empty()) remaining.push_back({ids[i], row.holder.sequence});
    }
  }
  std::sort(remaining.begin(), remaining.end(), [](const auto& a, const auto& b) { return a.sequence < b.sequence; });
  return remaining;
}

void visit_snapshots(const StoreState& store, const std::vector<RemainingSnapshot>& snapshots,
                     const std::function<void(const SnapshotRow&, const Record&)>& visit) {
  for (std::size_t begin = 0; begin < snapshots.size(); begin += rows_per_batch) {
    const CatalogReader reader = store.catalog().read();
    for (std::size_t i = begin; i < std::min(snapshots.size(), begin + rows_per_batch); ++i) {
      const auto bytes = reader.snapshot(snapshots[i].id);
      if (!bytes) continue;  // gone since it was listed
      const SnapshotRow row = decode_snapshot_row(*bytes, store.catalog_name());
      if (!row.record.empty()) visit(row, decode_record(row.record, store.catalog_name(), 0));
    }
  }
}

}  // namespace tenon
