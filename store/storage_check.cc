#include "store/storage_check.h"

#include <algorithm>
#include <vector>

#include "store/live_ranges.h"

namespace tenon {

namespace {

constexpr std::uint64_t read_piece_bytes = 16 * leaf_bytes;

// One storage, piece by piece.
class Reading {
 public:
  Reading(const Segment& segment, const File& file, const format::StorageEntry& entry, const StorageCheck& check)
      : file_(file), entry_(entry), check_(check), live_(segment) {
    const std::uint64_t count = leaf_count(entry.nbytes);
    leaves_ = count == 1 ? std::span(&entry.key, 1) : segment.leaves().subspan(entry.first_leaf, count);
  }

  void run() {
    if (combine_leaves(leaves_, entry_.nbytes) != entry_.key)
      check_.damaged({entry_.offset, "storage's leaf digests do not make its key", false});
    std::vector<std::byte> buffer(std::min(read_piece_bytes, entry_.nbytes));
    for (std::uint64_t at = 0; at < entry_.nbytes; at += read_piece_bytes) {
      const auto piece = std::span(buffer).first(std::min(read_piece_bytes, entry_.nbytes - at));
      if (!read(at, piece)) {
        read_leaves(at, piece);
      } else {
        compare(at, piece);
      }
      check_.read(piece.size());
    }
  }

 private:
  // False if the disk does not give it; then `why_` says why.
  bool read(std::uint64_t at, std::span<std::byte> out) {
    try {
      file_.read_at(entry_.offset + at, out);
      return true;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::io) throw;
      why_ = error.facts().got;
      return false;
    }
  }

  // One by one, so that what can be read is looked at.
  void read_leaves(std::uint64_t begin, std::span<std::byte> buffer) {
    for (std::uint64_t in_piece = 0; in_piece < buffer.size(); in_piece += leaf_bytes) {
      const auto leaf = buffer.subspan(in_piece, std::min<std::uint64_t>(leaf_bytes, buffer.size() - in_piece));
      if (read(begin + in_piece, leaf)) {
        compare(begin + in_piece, leaf);
      } else {
        check_.damaged({entry_.offset + begin + in_piece, "stored bytes cannot be read: " + why_, true});
      }
    }
  }

  void compare(std::uint64_t begin, std::span<const std::byte> bytes) {
    for (std::uint64_t in_piece = 0; in_piece < bytes.size(); in_piece += leaf_bytes) {
      const auto leaf = bytes.subspan(in_piece, std::min<std::uint64_t>(leaf_bytes, bytes.size() - in_piece));
      const std::uint64_t at = begin + in_piece;
      if (digest_bytes(leaf) == leaves_[at / leaf_bytes]) continue;
      if (!live_.contains(entry_.offset + at, leaf.size())) continue;  // a hole: gc took it
      check_.damaged({entry_.offset + at, "stored bytes differ from their digest", false});
    }
  }

  const File& file_;
  const format::StorageEntry& entry_;
  const StorageCheck& check_;
  LiveRanges live_;
  std::span<const Digest> leaves_;
  std::string why_;
};

}  // namespace

void check_storage(const Segment& segment, const File& file, const format::StorageEntry& entry,
                   const StorageCheck& check) {
  if (entry.nbytes != 0) Reading(segment, file, entry, check).run();
}

StorageCondition condition_of_storage(const Segment& segment, const File& file, const format::StorageEntry& entry) {
  StorageCondition condition = StorageCondition::whole;
  const auto note = [&](const StorageDamage& damage) {
    if (damage.is_unreadable)
      condition = StorageCondition::unreadable;
    else if (condition == StorageCondition::whole)
      condition = StorageCondition::damaged;
  };
  check_storage(segment, file, entry, {.damaged = note, .read = [](std::uint64_t) {}});
  return condition;
}

}  // namespace tenon
