// Which bytes of a segment are there: all of its data, or, in a sparse copy, those that its live section lists.
//
// A sparse copy is a segment that gc has taken parts of: same uuid, size and offsets, the rest holes. Its storages
// table has the entries it always had, so that their places in the table stay; those of which nothing is there any more
// have a length of 0. A storage that a stitched slot draws on may be there in part: it has all its leaves' digests.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "store/segment.h"

namespace tenon {

class LiveRanges {
 public:
  // Throws corrupt if the section is damaged, not ascending, or reaches beyond the data.
  explicit LiveRanges(const Segment& segment);
  // Of these ranges, in any order and overlapping, made ascending and merged where they touch.
  static std::vector<format::LiveRange> merged(std::vector<format::LiveRange> ranges);

  bool is_sparse() const noexcept { return is_sparse_; }
  bool contains(std::uint64_t offset, std::uint64_t size) const noexcept;
  std::span<const format::LiveRange> ranges() const noexcept { return ranges_; }

 private:
  bool is_sparse_ = false;
  std::vector<format::LiveRange> ranges_;
};

// REQUIRES: merged.
bool is_covered(std::span<const format::LiveRange> ranges, std::uint64_t offset, std::uint64_t size) noexcept;
// Some byte of it at least.
bool is_touched(std::span<const format::LiveRange> ranges, std::uint64_t offset, std::uint64_t size) noexcept;

}  // namespace tenon
