#include "store/snapshot_state.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <map>
#include <unordered_set>

#include "mmap/advice.h"
#include "mmap/seeded_bug.h"
#include "store/codec.h"
#include "store/live_ranges.h"
#include "store/parallel.h"

namespace tenon {

namespace {

using format::Extent;
using format::SectionKind;

// A second slot over the same bytes gets pages of its own: below this size by a copy, from it on by another mapping.
constexpr std::uint64_t duplicate_mapped_from = 64 * 1024;
constexpr std::uint64_t copy_task_bytes = 8 << 20;

// Where slots without bytes point to.
alignas(64) std::byte no_bytes[64];

std::span<const std::byte> checked_section(const Segment& segment, SectionKind kind, const Digest& wanted) {
  const auto bytes = segment.section(kind);
  if (digest_bytes(bytes) != wanted) {
    throw Error(ErrorKind::corrupt, {.what = "section is not the one that the snapshot names",
                                     .file = segment.path().string(),
                                     .offset = segment.section_offset(kind),
                                     .got = to_hex(digest_bytes(bytes)),
                                     .wanted = to_hex(wanted)});
  }
  return bytes;
}

// False if gc has put a sparse copy in place of what is mapped: who commits would reuse what is no longer there.
bool has_footer_of(const File& file, const Segment& segment) {
  format::SegmentFooter footer;
  file.read_at(segment.file_bytes() - sizeof footer, std::as_writable_bytes(std::span(&footer, 1)));
  return footer.checksum == segment.footer().checksum;
}

// The kernel may be too old to be asked; touching does the same.
void populate(std::span<const std::byte> range) {
  if (populate_read(range.data(), range.size())) return;
  volatile std::byte sink{};
  for (std::size_t at = 0; at < range.size(); at += page_bytes()) sink = range[at];
  (void)sink;
}

// Part of a slot that one thread reads into its place.
struct CopyTask {
  std::uint64_t file_offset;
  std::byte* out;
  std::uint64_t size;
};

// A stitched slot that is being mapped; without a range where the process may have no more mappings.
struct StitchedSlot {
  std::uint32_t slot;
  std::optional<StitchedRange> range;
};

// One extent, and its place in its slot's range.
struct StitchedPart {
  std::size_t slot;  // among those being mapped
  std::uint64_t at;
  const Extent* extent;
};

// nullopt where the process may have no more mappings.
template <typename Make>
auto try_mapping(const Make& make) -> std::optional<decltype(make())> {
  try {
    return make();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::limit) throw;
    return std::nullopt;
  }
}

void add_copy_tasks(std::vector<CopyTask>& tasks, std::uint64_t offset, std::byte* out, std::uint64_t size) {
  for (std::uint64_t done = 0; done < size; done += copy_task_bytes) {
    tasks.push_back({offset + done, out + done, std::min(copy_task_bytes, size - done)});
  }
}

}  // namespace

std::shared_ptr<const Segment> SegmentDirectory::open(const File& file, const format::SegmentReference* wanted) const {
  // A mapping made before says nothing of a file that was cut since.
  if (cache != nullptr && wanted != nullptr && file.size_bytes() == wanted->file_bytes) {
    if (auto cached = cache->find(*wanted); cached && has_footer_of(file, *cached)) return cached;
  }
  auto segment = metadata_only ? Segment::read(file, wanted) : Segment::open(file, wanted);
  if (cache != nullptr && wanted != nullptr) cache->add(segment);
  return segment;
}

std::shared_ptr<const SnapshotState> SnapshotState::open(const SegmentDirectory& directory, const File& file,
                                                         const format::SegmentReference* wanted_segment,
                                                         const SnapshotId* wanted_id, Mode mode) {
  auto state = std::make_shared<SnapshotState>();
  state->mode_ = mode;
  state->open_holder(directory, file, wanted_segment, wanted_id);
  std::optional<SamePlaces> common;
  if (directory.previous != nullptr) common.emplace(*state, *directory.previous);
  if (common && directory.keeps_segments) state->take_segments(*directory.previous, *common);
  state->open_shared_sections(directory);
  if (!state->has_layout_of_previous_) common.reset();  // other slots
  if (!common) state->check_total();
  state->check_placements(directory, common ? &*common : nullptr);
  state->check_thinned();
  if (!directory.metadata_only) state->map(directory);
  state->inherited_ = {};
  return state;
}

void SnapshotState::map(const SegmentDirectory& directory) {
  switch (mode_) {
    case Mode::shared:
      return map_shared(directory);
    case Mode::private_:
      map_private(directory);
      std::ranges::sort(private_parts_, {}, &PrivatePart::address);
      return;
    case Mode::copy:
      return copy_all(directory);
  }
}

void SnapshotState::open_holder(const SegmentDirectory& directory, const File& file,
                                const format::SegmentReference* wanted_segment, const SnapshotId* wanted_id) {
  auto holder = directory.open(file, wanted_segment);
  const std::string name = holder->path().string();
  record_ = decode_record(holder->section(SectionKind::record), name, holder->section_offset(SectionKind::record));
  if (wanted_id != nullptr && record_.info.id != *wanted_id) {
    throw Error(ErrorKind::corrupt, {.what = "segment holds another snapshot",
                                     .file = name,
                                     .got = to_hex(record_.info.id),
                                     .wanted = to_hex(*wanted_id)});
  }
  binding_ = Binding::open(holder->section(SectionKind::binding), name, holder->section_offset(SectionKind::binding));
  const auto keys = checked_section(*holder, SectionKind::keys, record_.keys);
  keys_ = {reinterpret_cast<const Digest*>(keys.data()), keys.size() / sizeof(Digest)};
  if (keys_.size() != binding_.slot_count() || keys.size() % sizeof(Digest) != 0) {
    throw Error(ErrorKind::corrupt, {.what = "binding and keys differ in their number of slots",
                                     .file = name,
                                     .offset = holder->section_offset(SectionKind::keys)});
  }
  segments_.resize(binding_.segments().size());
  segments_[0] = std::move(holder);
}

const Segment& SnapshotState::require_segment(const SegmentDirectory& directory, std::uint32_t index) {
  if (segments_[index]) return *segments_[index];
  const format::SegmentReference& wanted = binding_.segments()[index];
  segments_[index] = directory.open(open_file(directory, index), &wanted);
  return *segments_[index];
}

// One at a time: a snapshot may draw on more segments than this process may have descriptors.
File SnapshotState::open_file(const SegmentDirectory& directory, std::uint32_t index) const {
  if (index == 0) return File::open(holder().path());
  const auto path = directory.file_of(binding_.segments()[index].sequence);
  auto file = File::try_open(path);
  if (!file) {
    throw Error(ErrorKind::not_found, {.what = "a segment that the snapshot needs is gone", .file = path.string()});
  }
  return std::move(*file);
}

// As open_file, of a segment that was mapped before: what is now under its name must be the same.
File SnapshotState::reopen_file(const SegmentDirectory& directory, std::uint32_t index) const {
  File file = open_file(directory, index);
  format::SegmentHeader header{};
  const Segment& segment = *segments_[index];
  if (file.size_bytes() == segment.file_bytes()) file.read_at(0, std::as_writable_bytes(std::span(&header, 1)));
  if (header.uuid != segment.uuid()) {
    throw Error(ErrorKind::corrupt, {.what = "another segment is in this one's place",
                                     .file = file.path().string(),
                                     .got = to_hex(header.uuid),
                                     .wanted = to_hex(segment.uuid())});
  }
  return file;
}

void SnapshotState::open_shared_sections(const SegmentDirectory& directory) {
  const Segment& with_layout = require_segment(directory, binding_.layout_segment());
  const Segment& with_structure = require_segment(directory, binding_.structure_segment());
  has_layout_of_previous_ = directory.previous != nullptr && take_layout(*directory.previous);
  if (has_layout_of_previous_) return;
  layout_bytes_ = checked_section(with_layout, SectionKind::layout, record_.layout);
  layout_ = Layout::open(layout_bytes_, with_layout.path().string(), with_layout.section_offset(SectionKind::layout));
  if (layout_.slot_count() != binding_.slot_count() || layout_.tensor_count() != record_.info.tensor_count) {
    throw Error(ErrorKind::corrupt,
                {.what = "layout and binding differ in their number of slots", .file = holder().path().string()});
  }
  structure_bytes_ = checked_section(with_structure, SectionKind::structure, record_.structure);
}

// What is mapped stays readable, and right, whatever has become of the file's name.
void SnapshotState::take_segments(const SnapshotState& previous, const SamePlaces& common) {
  for (std::uint32_t i = 1; i < segments_.size(); ++i) {
    const std::uint32_t from = common.older_segment(i);
    if (from == SamePlaces::none || !previous.segments_[from]) continue;
    const bool is_same_size = previous.segments_[from]->file_bytes() == binding_.segments()[i].file_bytes;
    if (is_same_size) segments_[i] = previous.segments_[from];
  }
}

// Checkpoints of one model share layout and structure: what was checked in a segment that is still mapped is right.
bool SnapshotState::take_layout(const SnapshotState& previous) {
  const bool is_same =
      segments_[binding_.layout_segment()] == previous.segments_[previous.binding_.layout_segment()] &&
      segments_[binding_.structure_segment()] == previous.segments_[previous.binding_.structure_segment()] &&
      record_.layout == previous.record_.layout && record_.structure == previous.record_.structure &&
      binding_.slot_count() == previous.binding_.slot_count() &&
      record_.info.tensor_count == previous.record_.info.tensor_count;
  if (!is_same) return false;
  layout_ = previous.layout_;
  layout_bytes_ = previous.layout_bytes_;
  structure_bytes_ = previous.structure_bytes_;
  return true;
}

// Every extent in a segment that gc has thinned is still there: what it gave back reads as zeros.
void SnapshotState::check_thinned() const {
  std::vector<std::optional<LiveRanges>> thinned(segments_.size());
  bool is_any = false;
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    if (!segments_[i] || !segments_[i]->has_section(SectionKind::live)) continue;
    thinned[i].emplace(*segments_[i]);
    is_any = true;
  }
  if (!is_any || seeded_bug("holes_unchecked")) return;
  for (std::uint32_t slot = 0; slot < layout_.slot_count(); ++slot) {
    if (inherited_[slot]) continue;
    for (const Extent& extent : placement(slot)) {
      const auto& live = thinned[extent.segment];
      if (!live || live->contains(extent.offset, extent.size)) continue;
      throw Error(ErrorKind::not_found, {.what = "gc has taken bytes of slot " + std::to_string(slot),
                                         .file = segments_[extent.segment]->path().string(),
                                         .offset = extent.offset});
    }
  }
}

// So that nothing that is added up over slots can wrap: many slots may lie over one placement.
void SnapshotState::check_total() const {
  constexpr std::uint64_t total_max = std::uint64_t{1} << 62;
  std::uint64_t left = total_max;
  for (std::uint32_t slot = 0; slot < layout_.slot_count(); ++slot) {
    const std::uint64_t nbytes = layout_.slot_bytes(slot);
    if (nbytes < left && left - nbytes > format::granule_bytes) {
      left -= nbytes + format::granule_bytes;
      continue;
    }
    throw Error(ErrorKind::corrupt, {.what = "slots are larger together than anything can be",
                                     .file = holder().path().string(),
                                     .got = "more than 2^62 bytes"});
  }
}

void SnapshotState::check_extent(std::uint32_t slot, const Extent& extent, std::uint64_t left) const {
  const Segment& segment = *segments_[extent.segment];
  const bool is_good = extent.size != 0 && extent.size <= left && extent.offset <= segment.data_bytes() &&
                       extent.size <= segment.data_bytes() - extent.offset;
  if (is_good) return;
  throw Error(ErrorKind::corrupt, {.what = "slot " + std::to_string(slot) + " is placed outside its segment",
                                   .file = segment.path().string(),
                                   .offset = extent.offset,
                                   .got = std::to_string(extent.size) + " bytes",
                                   .wanted = "within " + std::to_string(segment.data_bytes())});
}

void SnapshotState::check_placements(const SegmentDirectory& directory, const SamePlaces* common) {
  inherited_.assign(layout_.slot_count(), false);
  for (std::uint32_t slot = 0; slot < layout_.slot_count(); ++slot) {
    if (layout_.slot_bytes(slot) == 0) continue;
    if (binding_.is_stitched(slot)) {
      for (const Extent& extent : binding_.extents(slot)) require_segment(directory, extent.segment);
    } else {
      require_segment(directory, binding_.segment(slot));
    }
    inherited_[slot] = common != nullptr && is_in_mappings_of(*directory.previous, *common, slot);
    if (!inherited_[slot]) check_placement(slot);  // else it was checked then
  }
}

void SnapshotState::check_placement(std::uint32_t slot) const {
  std::uint64_t left = layout_.slot_bytes(slot);
  if (!binding_.is_stitched(slot))
    return check_extent(slot, {binding_.segment(slot), 0, binding_.offset(slot), left}, left);
  for (const Extent& extent : binding_.extents(slot)) {
    check_extent(slot, extent, left);
    left -= extent.size;
    if (extent.offset % page_bytes() != 0 || (left != 0 && extent.size % page_bytes() != 0)) {
      throw Error(ErrorKind::corrupt, {.what = "stitched piece is not aligned to pages",
                                       .file = segments_[extent.segment]->path().string(),
                                       .offset = extent.offset});
    }
  }
  if (left != 0)
    throw Error(ErrorKind::corrupt, {.what = "pieces of slot " + std::to_string(slot) + " do not add up",
                                     .file = holder().path().string()});
}

// A segment that gc has thinned meanwhile is mapped anew, and looked at anew.
bool SnapshotState::is_in_mappings_of(const SnapshotState& previous, const SamePlaces& common,
                                      std::uint32_t slot) const noexcept {
  if (!common.contains(slot, slot)) return false;
  const auto is_same_mapping = [&](std::uint32_t segment) {
    return segments_[segment] == previous.segments_[common.older_segment(segment)];
  };
  if (!binding_.is_stitched(slot)) return is_same_mapping(binding_.segment(slot));
  return std::ranges::all_of(binding_.extents(slot), is_same_mapping, &Extent::segment);
}

// All addresses first, then the pieces by segment: one file is open at a time, for a snapshot may draw on more segments
// than this process may have descriptors.
void SnapshotState::map_stitched(const SegmentDirectory& directory, MapMode mode) {
  std::vector<StitchedSlot> slots;
  std::map<std::uint32_t, std::vector<StitchedPart>> parts;  // by index in the segment table
  for (std::uint32_t slot = 0; slot < layout_.slot_count(); ++slot) {
    if (layout_.slot_bytes(slot) == 0 || !binding_.is_stitched(slot)) continue;
    if (directory.previous != nullptr && mode == MapMode::read_only && take_stitched(*directory.previous, slot))
      continue;
    const auto extents = binding_.extents(slot);
    auto range = try_mapping([&] { return StitchedRange::reserve(layout_.slot_bytes(slot), extents.size()); });
    if (!range) {
      copy_stitched(slot);  // this process has no more mappings to give
      continue;
    }
    std::uint64_t at = 0;
    for (const Extent& extent : extents) {
      parts[extent.segment].push_back({slots.size(), at, &extent});
      at += extent.size;
    }
    slots.push_back({slot, std::move(range)});
  }
  std::map<std::uint32_t, std::uint64_t> inodes;
  for (const auto& [segment, of_segment] : parts) {
    const File file = reopen_file(directory, segment);
    inodes[segment] = file.inode();
    for (const StitchedPart& part : of_segment) {
      StitchedSlot& of = slots[part.slot];
      if (!of.range) continue;
      const StitchedRange::Piece piece{&file, part.extent->offset, part.extent->size};
      const auto placed = try_mapping([&] {
        of.range->place(part.at, piece, mode);
        return true;
      });
      if (!placed) of.range.reset();
    }
  }
  for (StitchedSlot& of : slots) {
    if (!of.range) {
      copy_stitched(of.slot);
      continue;
    }
    slot_data_[of.slot] = of.range->data();
    if (mode == MapMode::copy_on_write) add_private_parts(of.slot, inodes);
    stitched_[of.slot] = std::make_shared<const StitchedRange>(std::move(*of.range));
  }
}

void SnapshotState::add_private_parts(std::uint32_t slot, const std::map<std::uint32_t, std::uint64_t>& inodes) {
  auto address = reinterpret_cast<std::uintptr_t>(slot_data_[slot]);
  for (const Extent& extent : binding_.extents(slot)) {
    private_parts_.push_back({address, extent.size, extent.offset, inodes.at(extent.segment)});
    address += extent.size;
  }
}

std::byte* SnapshotState::add_private(const File& file, std::uint64_t offset, std::uint64_t size_bytes) {
  private_mappings_.push_back(Mapping::map(file, offset, size_bytes, MapMode::copy_on_write));
  std::byte* const data = private_mappings_.back().data();
  private_parts_.push_back({reinterpret_cast<std::uintptr_t>(data), size_bytes, offset, file.inode()});
  return data;
}

// What is mapped read-only serves any number of snapshots.
bool SnapshotState::take_stitched(const SnapshotState& previous, std::uint32_t slot) {
  const auto found = previous.stitched_.find(slot);
  if (previous.mode_ != Mode::shared || found == previous.stitched_.end() || !inherited_[slot]) return false;
  stitched_[slot] = found->second;
  slot_data_[slot] = found->second->data();
  return true;
}

// Neighbours in memory are asked for together: a segment's slots mostly lie side by side.
void SnapshotState::advise(const OpenOptions& options) const {
  if (!options.prefault && !options.will_need && !options.huge_pages && !options.lock_on_fault &&
      !options.numa_interleave) {
    return;
  }
  for (const auto& range : slot_ranges()) {
    if (options.huge_pages) advise_huge_pages(range.data(), range.size());
    if (options.numa_interleave) interleave_over_nodes(range.data(), range.size());
    if (options.will_need) advise_will_need(range.data(), range.size());
    if (options.lock_on_fault) lock_on_fault(range.data(), range.size());
    if (options.prefault) populate(range);
  }
}

// What is mapped of the slots, in order of addresses, with gaps of less than a page closed.
std::vector<std::span<const std::byte>> SnapshotState::slot_ranges() const {
  std::vector<std::span<const std::byte>> ranges;
  for (std::uint32_t slot = 0; slot < layout_.slot_count(); ++slot) {
    if (layout_.slot_bytes(slot) != 0) ranges.emplace_back(slot_data_[slot], layout_.slot_bytes(slot));
  }
  std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) { return a.data() < b.data(); });
  std::size_t last = 0;
  for (std::size_t i = 1; i < ranges.size(); ++i) {
    const std::byte* const end = ranges[last].data() + ranges[last].size();
    if (ranges[i].data() <= end + page_bytes()) {
      const std::byte* const new_end = std::max(end, ranges[i].data() + ranges[i].size());
      ranges[last] = {ranges[last].data(), new_end};
    } else {
      ranges[++last] = ranges[i];
    }
  }
  ranges.resize(ranges.empty() ? 0 : last + 1);
  return ranges;
}

void SnapshotState::copy_stitched(std::uint32_t slot) {
  private_mappings_.push_back(Mapping::anonymous(layout_.slot_bytes(slot)));
  std::byte* out = private_mappings_.back().data();
  slot_data_[slot] = out;
  for (const Extent& extent : binding_.extents(slot)) {
    std::memcpy(out, segments_[extent.segment]->data() + extent.offset, extent.size);
    out += extent.size;
  }
}

void SnapshotState::map_shared(const SegmentDirectory& directory) {
  slot_data_.resize(layout_.slot_count(), no_bytes);
  for (std::uint32_t slot = 0; slot < layout_.slot_count(); ++slot) {
    if (layout_.slot_bytes(slot) == 0 || binding_.is_stitched(slot)) continue;
    slot_data_[slot] = segments_[binding_.segment(slot)]->mapping().data() + binding_.offset(slot);
  }
  map_stitched(directory, MapMode::read_only);
}

// One copy-on-write mapping per segment serves every first slot over its bytes; further slots over the same bytes must
// not see the first one's writes, so they get pages of their own.
void SnapshotState::map_private(const SegmentDirectory& directory) {
  slot_data_.resize(layout_.slot_count(), no_bytes);
  map_stitched(directory, MapMode::copy_on_write);
  std::vector<std::byte*> bases(segments_.size(), nullptr);
  std::unordered_set<std::uint64_t> taken;
  std::vector<std::uint32_t> small_duplicates;
  std::uint64_t small_bytes = 0;
  for (std::uint32_t slot = 0; slot < layout_.slot_count(); ++slot) {
    const std::uint64_t nbytes = layout_.slot_bytes(slot);
    if (nbytes == 0 || binding_.is_stitched(slot)) continue;
    const std::uint32_t segment = binding_.segment(slot);
    const std::uint64_t offset = binding_.offset(slot);
    const bool is_first =
        taken.insert(std::uint64_t{segment} << format::placement_offset_bits | offset / format::alignment_small).second;
    if (is_first) {
      if (bases[segment] == nullptr) {
        bases[segment] = add_private(reopen_file(directory, segment), 0, segments_[segment]->data_bytes());
      }
      slot_data_[slot] = bases[segment] + offset;
    } else if (nbytes >= duplicate_mapped_from && offset % page_bytes() == 0) {
      slot_data_[slot] = add_private(reopen_file(directory, segment), offset, nbytes);
    } else {
      small_duplicates.push_back(slot);
      small_bytes += format::align_up(nbytes, format::alignment_small);
    }
  }
  if (small_duplicates.empty()) return;
  private_mappings_.push_back(Mapping::anonymous(small_bytes));
  std::byte* cursor = private_mappings_.back().data();
  for (const std::uint32_t slot : small_duplicates) {
    const std::uint64_t nbytes = layout_.slot_bytes(slot);
    std::memcpy(cursor, segments_[binding_.segment(slot)]->data() + binding_.offset(slot), nbytes);
    slot_data_[slot] = cursor;
    cursor += format::align_up(nbytes, format::alignment_small);
  }
}

bool SnapshotState::is_mapped(std::uint32_t slot, std::span<const MappedRegion> regions) const noexcept {
  auto begin = reinterpret_cast<std::uintptr_t>(slot_data_[slot]);
  const std::uintptr_t end = begin + layout_.slot_bytes(slot);
  auto part = std::partition_point(private_parts_.begin(), private_parts_.end(),
                                   [&](const PrivatePart& p) { return p.address + p.size_bytes <= begin; });
  for (; begin < end; ++part) {
    if (part == private_parts_.end() || part->address > begin) return false;
    const std::uint64_t within = begin - part->address;
    const std::uint64_t size = std::min(part->address + part->size_bytes, end) - begin;
    if (!is_private_mapping(regions, begin, size, part->file_offset + within, part->inode)) return false;
    begin += size;
  }
  return true;
}

void SnapshotState::copy_all(const SegmentDirectory& directory) {
  slot_data_.resize(layout_.slot_count(), no_bytes);
  std::vector<std::uint64_t> offsets(layout_.slot_count());
  std::uint64_t total = 0;
  for (std::uint32_t slot = 0; slot < layout_.slot_count(); ++slot) {
    offsets[slot] = aligned_storage_offset(total, layout_.slot_bytes(slot));
    total = offsets[slot] + layout_.slot_bytes(slot);
  }
  if (total == 0) return;
  private_mappings_.push_back(Mapping::anonymous(total, true));
  std::byte* base = private_mappings_.back().data();
  std::map<std::uint32_t, std::vector<CopyTask>> tasks;  // by segment
  for (std::uint32_t slot = 0; slot < layout_.slot_count(); ++slot) {
    if (layout_.slot_bytes(slot) == 0) continue;
    slot_data_[slot] = base + offsets[slot];
    std::byte* out = slot_data_[slot];
    for (const Extent& extent : placement(slot)) {
      add_copy_tasks(tasks[extent.segment], extent.offset, out, extent.size);
      out += extent.size;
    }
  }
  for (const auto& [segment, of_segment] : tasks) {
    const File file = reopen_file(directory, segment);
    std::uint64_t bytes = 0;
    for (const CopyTask& task : of_segment) bytes += task.size;
    parallel_for(of_segment.size(), threads_for_bytes(bytes), [&](std::size_t i) {
      file.read_at(of_segment[i].file_offset, {of_segment[i].out, of_segment[i].size});
    });
  }
}

format::SegmentReference SnapshotState::reference(std::uint32_t index) const noexcept {
  return index == 0 ? holder().reference() : binding_.segments()[index];
}

Placement SnapshotState::placement(std::uint32_t slot) const {
  const std::uint64_t nbytes = layout_.slot_bytes(slot);
  if (nbytes == 0) return {};
  if (!binding_.is_stitched(slot)) return {{binding_.segment(slot), 0, binding_.offset(slot), nbytes}};
  const auto extents = binding_.extents(slot);
  return {extents.begin(), extents.end()};
}

std::optional<Statistics> SnapshotState::statistics(std::uint32_t row) const {
  std::call_once(statistics_once_, [this] { statistics_ = StatisticsColumn::open(holder(), layout_.tensor_count()); });
  return statistics_.at(row);
}

std::vector<AttachmentRow> SnapshotState::attachments() const {
  if (record_.attachments == Digest{}) return {};
  const auto bytes = checked_section(holder(), SectionKind::attachments, record_.attachments);
  ByteReader in(bytes, holder().path().string(), "attachments", holder().section_offset(SectionKind::attachments));
  std::vector<AttachmentRow> rows;
  for (auto count = in.get<std::uint64_t>(); count > 0; --count) {
    const auto name = in.get_bytes(in.get<std::uint32_t>());
    const auto size = in.get<std::uint64_t>();
    rows.push_back({{reinterpret_cast<const char*>(name.data()), name.size()}, in.get_bytes(size)});
  }
  in.require_end();
  return rows;
}

}  // namespace tenon
