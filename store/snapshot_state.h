// What a Snapshot handle points to: the segments of one snapshot, mapped, checked, and every slot's address.
//
// Immutable once made (statistics are checked on first use). Threads: const methods from any.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "mmap/file.h"
#include "mmap/mapping.h"
#include "mmap/page_state.h"
#include "store/binding.h"
#include "store/layout.h"
#include "store/record.h"
#include "store/same_places.h"
#include "store/segment.h"
#include "store/segment_cache.h"
#include "store/statistics_column.h"
#include "tenon/open_options.h"
#include "tenon/snapshot.h"

namespace tenon {

// Where the segments named by a binding are found: a directory, or nowhere for a bundle, which has them all in itself.
class SnapshotState;
struct SegmentDirectory {
  std::filesystem::path path;     // absolute
  SegmentCache* cache = nullptr;  // of segments mapped already; may be null
  // Nothing is mapped, and metadata read by pread: for verify and repair, which outlive a disk that does not read. The
  // snapshot has no bytes then: slot_data() must not be called.
  bool metadata_only = false;
  // A snapshot that is open: what the new one has in common with it is not checked and mapped again. May be null.
  const SnapshotState* previous = nullptr;
  // Nor are the files of segments that `previous` has mapped looked at: as far as is known, nobody has replaced them
  // since.
  bool keeps_segments = false;

  // The segment in `file`, from the cache if it is mapped already and it is known which is `wanted`.
  std::shared_ptr<const Segment> open(const File& file, const format::SegmentReference* wanted) const;
  std::filesystem::path file_of(std::uint64_t sequence) const { return path / segment_file_name(sequence); }
};

class SnapshotState : public std::enable_shared_from_this<SnapshotState> {
 public:
  // `holder`: the segment with the record, opened as `file`. Throws corrupt, not_found (a segment is gone), limit, io;
  // names files. With `wanted_id`, the snapshot in it must be that one.
  static std::shared_ptr<const SnapshotState> open(const SegmentDirectory& directory, const File& file,
                                                   const format::SegmentReference* wanted_segment,
                                                   const SnapshotId* wanted_id, Mode mode);

  static Snapshot handle(std::shared_ptr<const SnapshotState> state) noexcept { return Snapshot(std::move(state)); }

  static const SnapshotState& of(const Snapshot& snapshot) noexcept { return *snapshot.state_; }

  Mode mode() const noexcept { return mode_; }
  const SnapshotInfo& info() const noexcept { return record_.info; }
  const Record& record() const noexcept { return record_; }
  const Layout& layout() const noexcept { return layout_; }
  const Binding& binding() const noexcept { return binding_; }
  std::span<const Digest> keys() const noexcept { return keys_; }
  std::byte* slot_data(std::uint32_t slot) const noexcept { return slot_data_[slot]; }
  const Segment& holder() const noexcept { return *segments_[0]; }
  // As they stand in the binding's table; null where no slot needed the segment.
  const std::vector<std::shared_ptr<const Segment>>& segments() const noexcept { return segments_; }
  // A reference to table entry `index` that is valid outside this snapshot, too (entry 0 names itself).
  format::SegmentReference reference(std::uint32_t index) const noexcept;
  std::span<const std::byte> layout_bytes() const noexcept { return layout_bytes_; }
  std::span<const std::byte> structure_bytes() const noexcept { return structure_bytes_; }
  std::optional<Statistics> statistics(std::uint32_t row) const;
  std::vector<AttachmentRow> attachments() const;
  // The slot's extents, in order; empty for a slot without bytes.
  Placement placement(std::uint32_t slot) const;
  // Digests of the slot's leaves, from the tables of the segments it lies in; empty where these do not make up its key.
  std::vector<Digest> slot_leaves(std::uint32_t slot) const;
  void read_verified(std::uint32_t slot, const std::function<void(std::span<const std::byte>)>& sink) const;
  VerifiedReader verified_reader(std::uint32_t slot) const;
  // Asks the system for what the options say, over all that is mapped.
  void advise(const OpenOptions& options) const;
  // True if the slot, opened privately, lies in this process's mappings of the segments' files, all of it. `regions`:
  // all mappings.
  bool is_mapped(std::uint32_t slot, std::span<const MappedRegion> regions) const noexcept;

 private:
  void open_holder(const SegmentDirectory& directory, const File& file, const format::SegmentReference* wanted_segment,
                   const SnapshotId* wanted_id);
  void map(const SegmentDirectory& directory);
  File open_file(const SegmentDirectory& directory, std::uint32_t index) const;
  File reopen_file(const SegmentDirectory& directory, std::uint32_t index) const;
  const Segment& require_segment(const SegmentDirectory& directory, std::uint32_t index);
  void open_shared_sections(const SegmentDirectory& directory);
  void check_total() const;
  void check_placements(const SegmentDirectory& directory, const SamePlaces* common);
  void check_placement(std::uint32_t slot) const;
  void check_extent(std::uint32_t slot, const format::Extent& extent, std::uint64_t left) const;
  void check_thinned() const;
  // Of a stitched slot; inodes by index in the segment table.
  void add_private_parts(std::uint32_t slot, const std::map<std::uint32_t, std::uint64_t>& inodes);
  std::byte* add_private(const File& file, std::uint64_t offset, std::uint64_t size_bytes);
  void map_shared(const SegmentDirectory& directory);
  void map_private(const SegmentDirectory& directory);
  void copy_all(const SegmentDirectory& directory);
  void map_stitched(const SegmentDirectory& directory, MapMode mode);
  void copy_stitched(std::uint32_t slot);
  std::vector<std::span<const std::byte>> slot_ranges() const;
  void take_segments(const SnapshotState& previous, const SamePlaces& common);
  bool take_layout(const SnapshotState& previous);
  bool is_in_mappings_of(const SnapshotState& previous, const SamePlaces& common, std::uint32_t slot) const noexcept;
  bool take_stitched(const SnapshotState& previous, std::uint32_t slot);

  Mode mode_ = Mode::shared;
  Record record_;
  std::vector<std::shared_ptr<const Segment>> segments_;
  Binding binding_;
  Layout layout_;
  std::span<const Digest> keys_;
  std::span<const std::byte> layout_bytes_;
  std::span<const std::byte> structure_bytes_;
  bool has_layout_of_previous_ = false;
  std::vector<bool> inherited_;  // while opening: slots that `previous` has in the same place of the same mapping
  std::vector<std::byte*> slot_data_;
  std::vector<Mapping> private_mappings_;
  std::map<std::uint32_t, std::shared_ptr<const StitchedRange>> stitched_;  // by slot; also of snapshots that follow
  // Of copy-on-write mappings: what part of which file lies where; ascending.
  struct PrivatePart {
    std::uintptr_t address;
    std::uint64_t size_bytes;
    std::uint64_t file_offset;
    std::uint64_t inode;
  };
  std::vector<PrivatePart> private_parts_;
  mutable std::once_flag statistics_once_;
  mutable StatisticsColumn statistics_;
};

}  // namespace tenon
