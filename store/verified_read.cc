// Reading a slot with its digest checked on the way: through the file where it is still there, so that a disk error is
// an error and not a signal; else through the mapping, which outlives the file.
#include <algorithm>
#include <cassert>
#include <cstring>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "mmap/seeded_bug.h"
#include "store/snapshot_state.h"
#include "store/storage_check.h"

namespace tenon {

namespace {

using format::Extent;

constexpr std::uint64_t piece_bytes = 16 * leaf_bytes;

// Files that one slot's reader keeps open; where it draws on more segments, each is opened as it is needed.
constexpr std::size_t files_kept_open_max = 8;

// Reads ranges of one segment.
class SegmentReader {
 public:
  SegmentReader(const Segment& segment, bool is_kept_open) : segment_(segment), is_kept_open_(is_kept_open) {
    if (is_kept_open_) file_ = open();
  }
  void read(std::uint64_t offset, std::span<std::byte> out) const {
    if (is_kept_open_) {
      read_from(file_, offset, out);
    } else {
      read_from(open(), offset, out);
    }
  }

 private:
  void read_from(const std::optional<File>& file, std::uint64_t offset, std::span<std::byte> out) const {
    if (file) {
      file->read_at(offset, out);
    } else {
      std::memcpy(out.data(), segment_.data() + offset, out.size());
    }
  }

  // nullopt where the segment is gone, or is another. A sparse copy keeps uuid and offsets, but may lack what we need:
  // its footer is another.
  std::optional<File> open() const {
    auto file = File::try_open(segment_.path());
    if (!file || file->size_bytes() != segment_.file_bytes()) return std::nullopt;
    format::SegmentHeader header;
    format::SegmentFooter footer;
    file->read_at(0, std::as_writable_bytes(std::span(&header, 1)));
    file->read_at(segment_.file_bytes() - sizeof footer, std::as_writable_bytes(std::span(&footer, 1)));
    if (header.uuid != segment_.uuid() || footer.checksum != segment_.footer().checksum) return std::nullopt;
    return file;
  }

  const Segment& segment_;
  bool is_kept_open_;
  std::optional<File> file_;
};

// Reads a slot's bytes by their offset in the slot, over all of its extents.
class SlotReader {
 public:
  SlotReader(const SnapshotState& state, const Placement& placement) {
    std::set<std::uint32_t> segments;
    for (const Extent& extent : placement) segments.insert(extent.segment);
    const bool are_kept_open = segments.size() <= files_kept_open_max;
    std::uint64_t begin = 0;
    for (const Extent& extent : placement) {
      const auto reader = readers_.try_emplace(extent.segment, *state.segments()[extent.segment], are_kept_open).first;
      pieces_.push_back({begin, extent, &reader->second});
      begin += extent.size;
    }
  }

  // REQUIRES: the range lies within the slot.
  void read(std::uint64_t offset, std::span<std::byte> out) const {
    auto piece = std::prev(std::upper_bound(pieces_.begin(), pieces_.end(), offset,
                                            [](std::uint64_t at, const Piece& p) { return at < p.begin; }));
    for (; !out.empty(); ++piece) {
      const std::uint64_t within = offset - piece->begin;
      const auto part = out.first(std::min<std::uint64_t>(out.size(), piece->extent.size - within));
      piece->reader->read(piece->extent.offset + within, part);
      out = out.subspan(part.size());
      offset += part.size();
    }
  }

 private:
  struct Piece {
    std::uint64_t begin;  // in the slot
    Extent extent;
    const SegmentReader* reader;
  };
  std::map<std::uint32_t, SegmentReader> readers_;  // by segment
  std::vector<Piece> pieces_;
};

[[noreturn]] void fail_digest(const SnapshotState& state, const Placement& placement, std::uint64_t offset,
                              const Digest& got, const Digest& wanted) {
  std::size_t i = 0;
  while (offset >= placement[i].size) offset -= placement[i++].size;
  throw Error(ErrorKind::corrupt, {.what = "stored bytes are damaged: their digest differs",
                                   .file = state.segments()[placement[i].segment]->path().string(),
                                   .offset = placement[i].offset + offset,
                                   .got = to_hex(got),
                                   .wanted = to_hex(wanted),
                                   .hint = "`tenon verify --read-data` lists all damage"});
}

std::vector<Digest> digests_of_leaves(std::span<const std::byte> piece) {
  std::vector<Digest> leaves;
  for (std::size_t at = 0; at < piece.size(); at += leaf_bytes) {
    leaves.push_back(digest_bytes(piece.subspan(at, std::min<std::size_t>(leaf_bytes, piece.size() - at))));
  }
  return leaves;
}

// What a slot's leaves must be, and its bytes compared with that as they are read.
class VerifiedSlot {
 public:
  // REQUIRES: the slot has bytes.
  VerifiedSlot(std::shared_ptr<const SnapshotState> state, std::uint32_t slot)
      : state_(std::move(state)),
        nbytes_(state_->layout().slot_bytes(slot)),
        placement_(state_->placement(slot)),
        reader_(*state_, placement_),
        expected_(expected_leaves(slot)) {}

  std::uint64_t nbytes() const noexcept { return nbytes_; }

  void read(std::uint64_t offset, std::span<std::byte> out) const {
    assert(offset % leaf_bytes == 0 && (out.size() % leaf_bytes == 0 || offset + out.size() == nbytes_));
    reader_.read(offset, out);
    for (std::uint64_t at = 0; at < out.size(); at += leaf_bytes) {
      const Digest got = digest_bytes(out.subspan(at, std::min<std::size_t>(leaf_bytes, out.size() - at)));
      const Digest& wanted = expected_[(offset + at) / leaf_bytes];
      if (got != wanted && !seeded_bug("digest_unchecked")) fail_digest(*state_, placement_, offset + at, got, wanted);
    }
  }

 private:
  // As the segments' tables say; where these are not to be believed, from a first reading of all of it.
  std::vector<Digest> expected_leaves(std::uint32_t slot) const {
    if (leaf_count(nbytes_) == 1) return {state_->keys()[slot]};
    std::vector<Digest> leaves = state_->slot_leaves(slot);
    if (!leaves.empty()) return leaves;
    leaves = leaves_as_read();
    const Digest& key = state_->keys()[slot];
    if (const Digest combined = combine_leaves(leaves, nbytes_); combined != key) {
      fail_digest(*state_, placement_, 0, combined, key);
    }
    return leaves;
  }

  std::vector<Digest> leaves_as_read() const {
    std::vector<Digest> leaves;
    std::vector<std::byte> buffer(std::min(nbytes_, piece_bytes));
    for (std::uint64_t offset = 0; offset < nbytes_; offset += piece_bytes) {
      const auto piece = std::span(buffer).first(std::min(piece_bytes, nbytes_ - offset));
      reader_.read(offset, piece);
      const auto some = digests_of_leaves(piece);
      leaves.insert(leaves.end(), some.begin(), some.end());
    }
    return leaves;
  }

  std::shared_ptr<const SnapshotState> state_;
  std::uint64_t nbytes_;
  Placement placement_;
  SlotReader reader_;
  std::vector<Digest> expected_;
};

}  // namespace

std::vector<Digest> SnapshotState::slot_leaves(std::uint32_t slot) const {
  const std::uint64_t nbytes = layout_.slot_bytes(slot);
  std::vector<Digest> leaves;
  for (const Extent& extent : placement(slot)) {
    const auto some = segments_[extent.segment]->leaves_of(extent.offset, extent.size);
    if (some.empty()) return {};
    leaves.insert(leaves.end(), some.begin(), some.end());
  }
  if (leaves.size() != leaf_count(nbytes) || combine_leaves(leaves, nbytes) != keys_[slot]) return {};
  return leaves;
}

void SnapshotState::read_verified(std::uint32_t slot,
                                  const std::function<void(std::span<const std::byte>)>& sink) const {
  if (layout_.slot_bytes(slot) == 0) return;
  const VerifiedSlot verified(shared_from_this(), slot);
  std::vector<std::byte> buffer(std::min(verified.nbytes(), piece_bytes));
  for (std::uint64_t offset = 0; offset < verified.nbytes(); offset += piece_bytes) {
    const auto piece = std::span(buffer).first(std::min(piece_bytes, verified.nbytes() - offset));
    verified.read(offset, piece);
    sink(piece);
  }
}

VerifiedReader SnapshotState::verified_reader(std::uint32_t slot) const {
  if (layout_.slot_bytes(slot) == 0) return [](std::uint64_t, std::span<std::byte>) {};
  const auto verified = std::make_shared<const VerifiedSlot>(shared_from_this(), slot);
  return [verified](std::uint64_t offset, std::span<std::byte> out) { verified->read(offset, out); };
}

}  // namespace tenon
