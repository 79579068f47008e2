// Reading a slot with its digest checked on the way: through the file where it is still there, so that a disk error is
// an error and not a signal; else through the mapping, which outlives the file.
#include <algorithm>
#include <cstring>
#include <optional>

#include "store/snapshot_state.h"

namespace tenon {

namespace {

using format::Extent;
using format::StorageEntry;

constexpr std::uint64_t piece_bytes = 16 * leaf_bytes;

// Reads ranges of one segment.
class SegmentReader {
 public:
  explicit SegmentReader(const Segment& segment) : segment_(segment), file_(File::try_open(segment.path())) {
    if (file_ && !is_same_segment()) file_.reset();
  }
  void read(std::uint64_t offset, std::span<std::byte> out) const {
    if (file_) {
      file_->read_at(offset, out);
    } else {
      std::memcpy(out.data(), segment_.data() + offset, out.size());
    }
  }

 private:
  // A sparse copy keeps uuid and offsets; anything else in that place is not ours.
  bool is_same_segment() const {
    format::SegmentHeader header;
    if (file_->size_bytes() < segment_.data_bytes()) return false;
    file_->read_at(0, std::as_writable_bytes(std::span(&header, 1)));
    return header.uuid == segment_.uuid();
  }
  const Segment& segment_;
  std::optional<File> file_;
};

// Reads a slot's bytes by their offset in the slot, over all of its extents.
class SlotReader {
 public:
  SlotReader(const SnapshotState& state, const Placement& placement) : placement_(placement) {
    for (const Extent& extent : placement) {
      readers_.emplace_back(*state.segments()[extent.segment]);
    }
  }
  void read(std::uint64_t offset, std::span<std::byte> out) const {
    for (std::size_t i = 0; i < placement_.size() && !out.empty(); ++i) {
      const Extent& extent = placement_[i];
      if (offset >= extent.size) {
        offset -= extent.size;
        continue;
      }
      const auto part = out.first(std::min<std::uint64_t>(out.size(), extent.size - offset));
      readers_[i].read(extent.offset + offset, part);
      out = out.subspan(part.size());
      offset = 0;
    }
  }

 private:
  const Placement& placement_;
  std::vector<SegmentReader> readers_;
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

// Calls use(offset, piece) for the whole slot, piece by piece; pieces are whole leaves.
template <typename Use>
void for_each_piece(const SlotReader& reader, std::uint64_t nbytes, const Use& use) {
  std::vector<std::byte> buffer(std::min(nbytes, piece_bytes));
  for (std::uint64_t offset = 0; offset < nbytes; offset += piece_bytes) {
    const std::span piece(buffer.data(), std::min(piece_bytes, nbytes - offset));
    reader.read(offset, piece);
    use(offset, std::span<const std::byte>(piece));
  }
}

std::vector<Digest> digests_of_leaves(std::span<const std::byte> piece) {
  std::vector<Digest> leaves;
  for (std::size_t at = 0; at < piece.size(); at += leaf_bytes) {
    leaves.push_back(digest_bytes(piece.subspan(at, std::min<std::size_t>(leaf_bytes, piece.size() - at))));
  }
  return leaves;
}

const StorageEntry* find_storage(std::span<const StorageEntry> storages, std::uint64_t offset, std::uint64_t nbytes) {
  auto found = std::lower_bound(storages.begin(), storages.end(), offset,
                                [](const StorageEntry& e, std::uint64_t at) { return e.offset < at; });
  for (; found != storages.end() && found->offset == offset; ++found) {
    if (found->nbytes == nbytes) return &*found;
  }
  return nullptr;
}

}  // namespace

// The leaves' digests from the segment's table, believed only if they combine to the slot's key; for a stitched slot
// from a first reading of all of it.
std::vector<Digest> SnapshotState::expected_leaves(std::uint32_t slot, const Placement& placement) const {
  const std::uint64_t nbytes = layout_.slot_bytes(slot);
  if (leaf_count(nbytes) == 1) return {keys_[slot]};
  std::vector<Digest> leaves;
  if (placement.size() == 1) {
    const Segment& segment = *segments_[placement[0].segment];
    const StorageEntry* entry = find_storage(segment.storages(), placement[0].offset, nbytes);
    if (entry != nullptr) {
      const auto stored = segment.leaves().subspan(entry->first_leaf, leaf_count(nbytes));
      leaves.assign(stored.begin(), stored.end());
    }
  }
  if (leaves.empty()) {
    for_each_piece(SlotReader(*this, placement), nbytes, [&](std::uint64_t, std::span<const std::byte> piece) {
      const auto some = digests_of_leaves(piece);
      leaves.insert(leaves.end(), some.begin(), some.end());
    });
  }
  if (const Digest combined = combine_leaves(leaves, nbytes); combined != keys_[slot]) {
    fail_digest(*this, placement, 0, combined, keys_[slot]);
  }
  return leaves;
}

void SnapshotState::read_verified(std::uint32_t slot,
                                  const std::function<void(std::span<const std::byte>)>& sink) const {
  const Placement where = placement(slot);
  if (where.empty()) return;
  const std::vector<Digest> expected = expected_leaves(slot, where);
  for_each_piece(SlotReader(*this, where), layout_.slot_bytes(slot),
                 [&](std::uint64_t offset, std::span<const std::byte> piece) {
                   const auto leaves = digests_of_leaves(piece);
                   for (std::size_t i = 0; i < leaves.size(); ++i) {
                     const Digest& wanted = expected[offset / leaf_bytes + i];
                     if (leaves[i] != wanted) fail_digest(*this, where, offset + i * leaf_bytes, leaves[i], wanted);
                   }
                   sink(piece);
                 });
}

}  // namespace tenon
