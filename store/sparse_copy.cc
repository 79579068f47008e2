#include "store/sparse_copy.h"

#include <algorithm>
#include <cstring>

#include "mmap/file_copy.h"
#include "store/live_ranges.h"

namespace tenon {

namespace {

using format::LiveRange;
using format::Section;
using format::SectionKind;
using format::SegmentFooter;
using format::StorageEntry;

constexpr std::uint64_t block_bytes = 4096;
constexpr std::uint64_t worthwhile_share = 32;

std::vector<StorageEntry> kept_storages(const Segment& segment, const KeptParts& kept, std::vector<Digest>& leaves) {
  const auto old = segment.storages();
  std::vector<StorageEntry> storages(old.begin(), old.end());
  for (StorageEntry& entry : storages) {
    // Of a storage that is needed in part (a stitched slot draws on it) the leaves stay, and the live ranges say which
    // of them have their bytes.
    if (entry.nbytes == 0 || !is_touched(kept.ranges, entry.offset, entry.nbytes)) {
      entry = {.key = {}, .offset = entry.offset, .nbytes = 0, .sketch = 0, .first_leaf = 0};
    } else if (leaf_count(entry.nbytes) > 1) {
      const auto own = segment.leaves().subspan(entry.first_leaf, leaf_count(entry.nbytes));
      entry.first_leaf = leaves.size();
      leaves.insert(leaves.end(), own.begin(), own.end());
    }
  }
  return storages;
}

// The sections of a copy, each at its place.
struct Tail {
  std::vector<Section> sections;
  std::vector<std::byte> bytes;  // from data_bytes, aligned
  std::uint64_t begin = 0;

  void add(SectionKind kind, std::span<const std::byte> content) {
    bytes.resize(format::align_up(bytes.size(), std::size_t{format::alignment_small}));
    sections.push_back({static_cast<std::uint32_t>(kind), 0, begin + bytes.size(), content.size(),
                        checksum_bytes(content, static_cast<std::uint64_t>(kind))});
    bytes.insert(bytes.end(), content.begin(), content.end());
  }
};

Tail make_tail(const Segment& segment, const KeptParts& kept) {
  Tail tail;
  tail.begin = format::align_up(segment.data_bytes(), format::alignment_small);
  std::vector<Digest> leaves;
  const auto storages = kept_storages(segment, kept, leaves);
  tail.add(SectionKind::storages, std::as_bytes(std::span(storages)));
  if (!leaves.empty()) tail.add(SectionKind::leaves, std::as_bytes(std::span(leaves)));
  if (kept.layout) tail.add(SectionKind::layout, segment.section(SectionKind::layout));
  if (kept.structure) tail.add(SectionKind::structure, segment.section(SectionKind::structure));
  tail.add(SectionKind::live, std::as_bytes(std::span(kept.ranges)));
  return tail;
}

std::uint64_t footer_offset(const Segment& segment) { return segment.file_bytes() - sizeof(SegmentFooter); }

// Blocks that these ranges, the header, the sections and the footer touch.
std::uint64_t occupied(const Segment& segment, std::span<const LiveRange> ranges, std::uint64_t tail_begin,
                       std::uint64_t tail_end) {
  std::uint64_t blocks = 0, next = 0;  // first block that is not counted yet
  const auto count = [&](std::uint64_t begin, std::uint64_t end) {
    const std::uint64_t first = std::max(begin / block_bytes, next);
    const std::uint64_t last = (end + block_bytes - 1) / block_bytes;
    if (begin >= end || last <= first) return;
    blocks += last - first;
    next = last;
  };
  count(0, sizeof(format::SegmentHeader));
  for (const LiveRange& range : ranges) count(range.offset, range.offset + range.size);
  count(tail_begin, tail_end);
  count(footer_offset(segment), segment.file_bytes());
  return blocks * block_bytes;
}

bool fits(const Segment& segment, const KeptParts& kept) {
  const Tail tail = make_tail(segment, kept);
  return tail.begin + tail.bytes.size() <= footer_offset(segment);
}

// So many ranges that their list does not fit where the sections were: gaps are kept until it does. Of a sparse copy,
// where a gap may be a hole, everything is kept then.
KeptParts fitted(const Segment& segment, KeptParts kept) {
  if (fits(segment, kept)) return kept;
  if (const LiveRanges present(segment); present.is_sparse()) {
    kept.ranges.assign(present.ranges().begin(), present.ranges().end());
    return kept;
  }
  for (std::uint64_t gap = block_bytes; !fits(segment, kept); gap *= 2) {
    for (LiveRange& range : kept.ranges) range.size = std::min(range.size + gap, segment.data_bytes() - range.offset);
    kept.ranges = LiveRanges::merged(std::move(kept.ranges));
  }
  return kept;
}

// REQUIRES: left_out is merged.
void copy_but(const LiveRange& range, std::span<const LiveRange> left_out, const File& from, File& to) {
  const std::uint64_t end = range.offset + range.size;
  std::uint64_t at = range.offset;
  for (const LiveRange& gap : left_out) {
    const std::uint64_t gap_end = gap.offset + gap.size;
    if (gap_end <= at || gap.offset >= end) continue;
    if (gap.offset > at) copy_range(from, to, at, gap.offset - at);
    at = gap_end;
  }
  if (at < end) copy_range(from, to, at, end - at);
}

}  // namespace

bool KeptParts::covers(const KeptParts& needed) const noexcept {
  if ((needed.layout && !layout) || (needed.structure && !structure)) return false;
  return std::all_of(needed.ranges.begin(), needed.ranges.end(),
                     [&](const LiveRange& range) { return is_covered(ranges, range.offset, range.size); });
}

std::uint64_t occupied_bytes(const Segment& segment) {
  const LiveRanges live(segment);
  std::uint64_t end = segment.data_bytes();
  for (std::uint32_t i = 0; i < segment.footer().section_count; ++i) {
    const Section& section = segment.footer().sections[i];
    end = std::max(end, section.offset + section.size);
  }
  return occupied(segment, live.ranges(), segment.data_bytes(), end);
}

std::uint64_t occupied_bytes_of_copy(const Segment& segment, const KeptParts& kept) {
  const KeptParts final = fitted(segment, kept);
  const Tail tail = make_tail(segment, final);
  return occupied(segment, final.ranges, tail.begin, tail.begin + tail.bytes.size());
}

std::uint64_t gain_of_copy(const Segment& segment, const KeptParts& kept) {
  const std::uint64_t now = occupied_bytes(segment), then = occupied_bytes_of_copy(segment, kept);
  return then < now && (now - then) >= now / worthwhile_share ? now - then : 0;
}

std::uint64_t gain_of_taking(const Segment& segment, const KeptParts& kept) {
  return kept.is_empty() ? occupied_bytes(segment) : gain_of_copy(segment, kept);
}

void copy_segment_bytes(const Segment& source, const File& from, File& to, std::span<const LiveRange> left_out) {
  to.truncate(source.file_bytes());
  copy_range(from, to, 0, sizeof(format::SegmentHeader));
  const LiveRanges live(source);
  for (const LiveRange& range : live.ranges()) copy_but(range, left_out, from, to);
  copy_range(from, to, source.data_bytes(), source.file_bytes() - source.data_bytes());
}

SparseCopy::SparseCopy(const Segment& segment, KeptParts kept, bool durable)
    : target_(segment.path()), kept_(fitted(segment, std::move(kept))) {
  Digest random;
  random_bytes(std::as_writable_bytes(std::span(&random, 1)));
  const File source = File::open(segment.path());
  file_ = File::create(segment.path().parent_path() / (to_hex(random) + ".tmp"));
  try {
    FileLock::hold(file_);
    file_.truncate(segment.file_bytes());
    copy_range(source, file_, 0, sizeof(format::SegmentHeader));
    for (const LiveRange& range : kept_.ranges) copy_range(source, file_, range.offset, range.size);
    const Tail tail = make_tail(segment, kept_);
    file_.write_at(tail.begin, tail.bytes);
    SegmentFooter footer = segment.footer();
    footer.section_count = static_cast<std::uint32_t>(tail.sections.size());
    std::fill(std::begin(footer.sections), std::end(footer.sections), Section{});
    std::copy(tail.sections.begin(), tail.sections.end(), footer.sections);
    footer.checksum = format::seal_of(footer);
    file_.write_at(footer_offset(segment), std::as_bytes(std::span(&footer, 1)));
    file_.make_read_only();
    if (durable) file_.sync();
  } catch (...) {
    remove_file(file_.path());
    throw;
  }
}

SparseCopy::~SparseCopy() {
  if (!file_.is_open() || fork_generation_ != tenon::fork_generation()) return;
  try {
    remove_file(file_.path());
  } catch (const Error&) {
    // A destructor must not throw; an unlocked .tmp is swept by the next cleaning.
  }
}

void SparseCopy::take_place() {
  rename_file(file_.path(), target_);
  file_.close();
}

}  // namespace tenon
