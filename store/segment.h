// Segment files: storages, then metadata sections, then a footer. docs/format.md has the bytes.
//
// Life of a segment: written as segments/<random>.tmp, whose lock its writer holds; complete with the footer; then
// renamed to segments/<sequence>.seg (or to a bundle's name) and never changed again under that inode.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "mmap/file.h"
#include "mmap/lock.h"
#include "mmap/mapping.h"
#include "store/format.h"

namespace tenon {

// "00000000000000ff.seg" for 255.
std::string segment_file_name(std::uint64_t sequence);
// nullopt if the name is not that of a finished segment.
std::optional<std::uint64_t> parse_segment_file_name(std::string_view name);

// A finished segment, mapped read-only. Threads: const methods from any.
class Segment {
 public:
  // Checks header, footer and that the file is as long as the footer says; sections are checked when asked for. With
  // `wanted`, the uuid and size must be those. Throws not_found, corrupt (file, offset), too_new.
  static std::shared_ptr<const Segment> open(const std::filesystem::path& path,
                                             const format::SegmentReference* wanted = nullptr);
  // Same, and hands over the descriptor, for private mappings and reads.
  static std::shared_ptr<const Segment> open(const File& file, const format::SegmentReference* wanted = nullptr);

  // As open, but header, sections and footer are read into memory, and of the data nothing is there: data() + offset is
  // not to be used. For looking at what the disk may not give: that is corrupt here, and SIGBUS in a mapping.
  static std::shared_ptr<const Segment> read(const File& file, const format::SegmentReference* wanted = nullptr);

  const std::filesystem::path& path() const noexcept { return path_; }
  const format::SegmentFooter& footer() const noexcept { return *footer_; }
  const Digest& uuid() const noexcept { return footer_->uuid; }
  std::uint64_t sequence() const noexcept { return footer_->sequence; }
  std::uint64_t file_bytes() const noexcept { return footer_->file_bytes; }
  std::uint64_t data_bytes() const noexcept { return footer_->data_bytes; }
  format::SegmentReference reference() const noexcept { return {uuid(), sequence(), file_bytes()}; }
  const std::byte* data() const noexcept { return mapping_.data(); }
  const Mapping& mapping() const noexcept { return mapping_; }

  bool has_section(format::SectionKind kind) const noexcept { return find_section(kind) != nullptr; }
  // The section after checking its checksum (each call does). Throws corrupt, also if it is not there.
  std::span<const std::byte> section(format::SectionKind kind) const;
  std::uint64_t section_offset(format::SectionKind kind) const noexcept;
  // Checked, once: every storage lies before data_bytes() and is aligned, and its leaves lie in the leaves section.
  std::span<const format::StorageEntry> storages() const;
  std::span<const Digest> leaves() const;
  // The storage that has the byte at `offset` of the file; null where there is none.
  const format::StorageEntry* storage_at(std::uint64_t offset) const;
  // Digests of the leaves in [offset, offset + size) of the file, if these are whole leaves of one storage in the
  // table; else none.
  std::vector<Digest> leaves_of(std::uint64_t offset, std::uint64_t size) const;

 private:
  const format::Section* find_section(format::SectionKind kind) const noexcept;
  static std::shared_ptr<Segment> with_memory(const File& file, Mapping (*memory)(const File&, std::uint64_t));
  void read_part(const File& file, std::uint64_t offset, std::uint64_t size);
  void check_tables() const;
  void check_header() const;
  void check_footer(const format::SegmentReference* wanted) const;
  [[noreturn]] void fail(std::string what, std::uint64_t offset, std::string got = {}, std::string wanted = {}) const;

  std::filesystem::path path_;
  Mapping mapping_;
  const format::SegmentFooter* footer_ = nullptr;
  mutable std::once_flag tables_once_;
  mutable std::span<const format::StorageEntry> storages_;
  mutable std::span<const Digest> leaves_;
};

class WritableMapping;

// Where a storage of `nbytes` may begin, at or after `cursor`.
std::uint64_t aligned_storage_offset(std::uint64_t cursor, std::uint64_t nbytes) noexcept;

// A segment being written. Removes its temporary file unless publish() or abandon-by-crash happened, or this is a
// forked child, whose parent goes on writing it.
class SegmentWriter {
 public:
  // Creates `<directory>/<prefix><random>.tmp`, locked.
  SegmentWriter(const std::filesystem::path& directory, const Digest& store_id, const std::string& prefix = {});
  // Joins a segment that another process has in flight: what is placed here goes into a part of that file, which
  // reserve_placed() takes at its end; offsets count from there. No sections, no end: those are the other's.
  static SegmentWriter join(const std::filesystem::path& temporary, const Digest& uuid);
  SegmentWriter(SegmentWriter&&) noexcept = default;
  SegmentWriter& operator=(SegmentWriter&&) = delete;
  ~SegmentWriter();

  const Digest& uuid() const noexcept { return uuid_; }
  const std::filesystem::path& temporary_path() const noexcept { return file_.path(); }
  // Sets aside room for a storage and returns its offset; the caller writes it with write(), from any thread.
  std::uint64_t place_storage(std::uint64_t nbytes);
  // Same for a piece of a stitched slot, which must begin at a granule whatever its length.
  std::uint64_t place_piece(std::uint64_t nbytes);
  // Asks the file system for the space of all that was placed, so that a full disk shows before anything is written.
  void reserve_placed();
  void write(std::uint64_t offset, std::span<const std::byte> bytes) { file_.write_at(part_begin_ + offset, bytes); }

  void start_writeback(std::uint64_t offset, std::uint64_t size_bytes) noexcept {
    file_.start_writeback(part_begin_ + offset, size_bytes);
  }
  // Where the part of one that joined begins in the file, and how long it is.
  std::uint64_t part_begin() const noexcept { return part_begin_; }
  std::uint64_t part_bytes() const noexcept { return cursor_; }
  // Memory over what was placed there; see mmap/writable_mapping.h.
  WritableMapping map_writable(std::uint64_t offset, std::uint64_t size_bytes);
  // These parts of the file hold the storages, ascending and apart; all other space is given back, that which
  // others took who joined, too. REQUIRES: nobody writes any more.
  struct Range {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };
  void adopt(std::span<const Range> parts);

  // A read-only mapping of the storages as written so far. REQUIRES: they were written.
  Mapping map_written() const;

  // Appends a section after the storages. REQUIRES: every storage was placed before the first section.
  void add_section(format::SectionKind kind, std::span<const std::byte> bytes);
  // Everything so far is on disk. Call it outside the commit lock: what remains is small.
  void sync();
  // Writes the footer: the file is complete, and read-only from now on. Returns its size.
  std::uint64_t seal(std::uint64_t sequence);
  // Syncs (if durable), renames to `path`, which must not exist, and syncs its directory. After this the temporary file
  // is no more. REQUIRES: sealed.
  void publish(const std::filesystem::path& path, bool durable);

 private:
  SegmentWriter(File file, const Digest& uuid) noexcept;
  void take_part();
  void flush_sections();
  File file_;
  std::uint64_t fork_generation_ = tenon::fork_generation();
  Digest store_id_;
  Digest uuid_;
  std::uint64_t cursor_ = sizeof(format::SegmentHeader);
  std::optional<std::uint64_t> data_bytes_;
  std::vector<format::Section> sections_;
  std::vector<std::byte> pending_;  // sections not yet written, at pending_offset_
  std::uint64_t pending_offset_ = 0;
  bool is_sealed_ = false;
  bool is_published_ = false;
  bool is_joined_ = false;
  std::uint64_t part_begin_ = 0;  // 0 unless joined
};

}  // namespace tenon
