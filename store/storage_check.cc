#include "store/storage_check.h"

#include <algorithm>
#include <vector>

#include "store/live_ranges.h"

namespace tenon {

namespace {

constexpr std::uint64_t read_piece_bytes = 16 * leaf_bytes;

}  // namespace

void check_storage(const Segment& segment, const File& file, const format::StorageEntry& entry,
                   const StorageCheck& check) {
  if (entry.nbytes == 0) return;
  const std::uint64_t count = leaf_count(entry.nbytes);
  const auto leaves = count == 1 ? std::span(&entry.key, 1) : segment.leaves().subspan(entry.first_leaf, count);
  if (combine_leaves(leaves, entry.nbytes) != entry.key)
    check.damaged(entry.offset, "storage's leaf digests do not make its key");
  const LiveRanges live(segment);
  std::vector<std::byte> buffer(std::min(read_piece_bytes, entry.nbytes));
  for (std::uint64_t at = 0; at < entry.nbytes; at += read_piece_bytes) {
    const std::span piece(buffer.data(), std::min(read_piece_bytes, entry.nbytes - at));
    file.read_at(entry.offset + at, piece);
    for (std::uint64_t in_piece = 0; in_piece < piece.size(); in_piece += leaf_bytes) {
      const auto leaf = piece.subspan(in_piece, std::min<std::uint64_t>(leaf_bytes, piece.size() - in_piece));
      if (digest_bytes(leaf) == leaves[(at + in_piece) / leaf_bytes]) continue;
      if (!live.contains(entry.offset + at + in_piece, leaf.size())) continue;  // a hole: gc took it
      check.damaged(entry.offset + at + in_piece, "stored bytes differ from their digest");
    }
    check.read(piece.size());
  }
}

bool is_storage_whole(const Segment& segment, const File& file, const format::StorageEntry& entry) {
  bool is_whole = true;
  check_storage(segment, file, entry,
                {.damaged = [&](std::uint64_t, const char*) { is_whole = false; }, .read = [](std::uint64_t) {}});
  return is_whole;
}

}  // namespace tenon
