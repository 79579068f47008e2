// Giving back parts of a segment: a copy of it with the same uuid, size and offsets, in which what nobody needs any
// more is a hole, takes its name. Who has the old inode open keeps it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "mmap/file.h"
#include "mmap/lock.h"
#include "store/segment.h"

namespace tenon {

// What is to stay of a segment.
struct KeptParts {
  std::vector<format::LiveRange> ranges;  // merged
  bool layout = false;
  bool structure = false;
  bool is_empty() const noexcept { return ranges.empty() && !layout && !structure; }
  bool covers(const KeptParts& needed) const noexcept;
};

// Bytes of disk that a segment takes, in blocks of 4 KiB, and that a sparse copy of it would take.
std::uint64_t occupied_bytes(const Segment& segment);
std::uint64_t occupied_bytes_of_copy(const Segment& segment, const KeptParts& kept);
// What a sparse copy gives back, 0 where that is too little to be worth it: less than 1/32 of what the segment takes.
std::uint64_t gain_of_copy(const Segment& segment, const KeptParts& kept);

// What gc gives back of a segment whose own snapshot is forgotten: all of it where nothing is kept.
std::uint64_t gain_of_taking(const Segment& segment, const KeptParts& kept);

// Copies a whole segment, holes and what lies in `left_out` (merged) not, into an empty file. `from` is the file of
// `source`.
void copy_segment_bytes(const Segment& source, const File& from, File& to,
                        std::span<const format::LiveRange> left_out = {});

// A copy being made. Removes its temporary file unless it took the segment's place, or this is a forked child.
class SparseCopy {
 public:
  // Writes and, if durable, syncs it. Throws full, io, corrupt.
  SparseCopy(const Segment& segment, KeptParts kept, bool durable);
  SparseCopy(SparseCopy&&) noexcept = default;
  SparseCopy& operator=(SparseCopy&&) = delete;
  ~SparseCopy();

  const KeptParts& kept() const noexcept { return kept_; }
  // Renames it over the segment. The directory is the caller's to sync.
  void take_place();

 private:
  File file_;
  std::uint64_t fork_generation_ = tenon::fork_generation();
  std::filesystem::path target_;
  KeptParts kept_;
};

}  // namespace tenon
