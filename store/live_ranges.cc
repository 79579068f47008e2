#include "store/live_ranges.h"

#include <algorithm>

#include "tenon/error.h"

namespace tenon {

using format::LiveRange;
using format::SectionKind;

LiveRanges::LiveRanges(const Segment& segment) : is_sparse_(segment.has_section(SectionKind::live)) {
  if (!is_sparse_) {
    ranges_ = {{0, segment.data_bytes()}};
    return;
  }
  const auto bytes = segment.section(SectionKind::live);
  const std::span entries(reinterpret_cast<const LiveRange*>(bytes.data()), bytes.size() / sizeof(LiveRange));
  std::uint64_t end = 0;
  bool is_good = bytes.size() % sizeof(LiveRange) == 0;
  for (const LiveRange& range : entries) {
    is_good = is_good && range.offset >= end && range.size != 0 && range.offset <= segment.data_bytes() &&
              range.size <= segment.data_bytes() - range.offset;
    end = range.offset + range.size;
  }
  if (!is_good) {
    throw Error(ErrorKind::corrupt, {.what = "live ranges of a sparse segment are malformed",
                                     .file = segment.path().string(),
                                     .offset = segment.section_offset(SectionKind::live)});
  }
  ranges_.assign(entries.begin(), entries.end());
}

std::vector<LiveRange> LiveRanges::merged(std::vector<LiveRange> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const LiveRange& a, const LiveRange& b) { return a.offset < b.offset; });
  std::vector<LiveRange> result;
  for (const LiveRange& range : ranges) {
    if (!result.empty() && range.offset <= result.back().offset + result.back().size) {
      const std::uint64_t end = std::max(result.back().offset + result.back().size, range.offset + range.size);
      result.back().size = end - result.back().offset;
    } else {
      result.push_back(range);
    }
  }
  return result;
}

bool LiveRanges::contains(std::uint64_t offset, std::uint64_t size) const noexcept {
  return is_covered(ranges_, offset, size);
}

bool is_covered(std::span<const LiveRange> ranges, std::uint64_t offset, std::uint64_t size) noexcept {
  const auto after = std::upper_bound(ranges.begin(), ranges.end(), offset,
                                      [](std::uint64_t at, const LiveRange& range) { return at < range.offset; });
  if (after == ranges.begin()) return false;
  const LiveRange& range = *std::prev(after);
  return offset - range.offset <= range.size && size <= range.size - (offset - range.offset);
}

bool is_touched(std::span<const LiveRange> ranges, std::uint64_t offset, std::uint64_t size) noexcept {
  const auto first = std::partition_point(
      ranges.begin(), ranges.end(), [offset](const LiveRange& range) { return range.offset + range.size <= offset; });
  return first != ranges.end() && first->offset < offset + size;
}

}  // namespace tenon
