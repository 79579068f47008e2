#include "store/slot_comparison.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <tuple>
#include <utility>

#include "mmap/mapping.h"
#include "mmap/seeded_bug.h"
#include "store/source.h"

namespace tenon {

namespace {

constexpr std::uint64_t compare_piece_bytes = 1 << 20;
static_assert(compare_piece_bytes % leaf_bytes == 0 && compare_task_bytes % compare_piece_bytes == 0);

bool are_equal(const std::byte* a, const std::byte* b, std::size_t size) {
  if (seeded_bug("dedupe_by_digest")) return digest_bytes({a, size}) == digest_bytes({b, size});
  return std::memcmp(a, b, size) == 0;
}

bool is_at_the_same_place(const SnapshotState& a, const format::Extent& in_a, const SnapshotState& b,
                          const format::Extent& in_b) {
  return in_a.offset == in_b.offset && a.reference(in_a.segment).uuid == b.reference(in_b.segment).uuid;
}

// From `begin` on, the granules that have to be looked at, as far as one piece goes; empty at `end`.
std::pair<std::uint64_t, std::uint64_t> next_unknown(const Comparison& comparison, std::uint64_t begin,
                                                     std::uint64_t end) {
  const auto is_known = [&](std::uint64_t at) {
    return !comparison.is_known.empty() && comparison.is_known[at / leaf_bytes] != 0;
  };
  while (begin < end && is_known(begin)) begin += leaf_bytes;
  std::uint64_t stop = begin;
  while (stop < end && stop - begin < compare_piece_bytes && !is_known(stop)) stop += leaf_bytes;
  return {std::min(begin, end), std::min(stop, end)};
}

}  // namespace

bool equals_memory(const SlotDraft& slot, const std::byte* stored) {
  std::vector<std::byte> buffer;
  bool is_worth_populating = false;  // once a first piece was equal, the rest is likely to be read, too
  for (std::uint64_t at = 0; at < slot.nbytes; at += compare_piece_bytes) {
    const auto piece = source_piece(slot, at, std::min(compare_piece_bytes, slot.nbytes - at), buffer);
    if (is_worth_populating) populate_read(stored + at, piece.size());
    if (!are_equal(piece.data(), stored + at, piece.size())) return false;
    is_worth_populating = true;
  }
  return true;
}

bool equals_source(const SlotDraft& a, const SlotDraft& b) {
  std::vector<std::byte> buffer_a, buffer_b;
  for (std::uint64_t at = 0; at < a.nbytes; at += compare_piece_bytes) {
    const std::uint64_t size = std::min(compare_piece_bytes, a.nbytes - at);
    const auto piece_a = source_piece(a, at, size, buffer_a);
    const auto piece_b = source_piece(b, at, size, buffer_b);
    if (!are_equal(piece_a.data(), piece_b.data(), size)) return false;
  }
  return true;
}

std::uint64_t sketch_of(const SlotDraft& slot) {
  std::vector<std::byte> buffer;
  std::vector<Digest> leaves;
  for (const std::uint64_t leaf : sketch_leaves(slot.nbytes)) {
    const std::uint64_t at = leaf * leaf_bytes;
    leaves.push_back(digest_bytes(source_piece(slot, at, std::min(leaf_bytes, slot.nbytes - at), buffer)));
  }
  return sketch_digest(leaves, slot.nbytes);
}

std::vector<std::uint8_t> known_equal(const LoadedSlot& loaded, const Base& base) {
  assert(loaded.snapshot->layout().slot_bytes(loaded.slot) == base.nbytes());
  std::vector<std::uint8_t> is_known = loaded.is_untouched;
  Placement in_loaded = loaded.snapshot->placement(loaded.slot);
  Placement in_base = base.snapshot->placement(base.slot);
  std::uint64_t at = 0;
  for (auto a = in_loaded.begin(), b = in_base.begin(); a != in_loaded.end();) {
    const std::uint64_t size = std::min(a->size, b->size);
    if (!is_at_the_same_place(*loaded.snapshot, *a, *base.snapshot, *b)) {
      for (std::uint64_t leaf = at / leaf_bytes; leaf * leaf_bytes < at + size; ++leaf) is_known[leaf] = 0;
    }
    at += size;
    for (auto* extent : {&a, &b}) {
      (*extent)->offset += size;
      (*extent)->size -= size;
      if ((*extent)->size == 0) ++*extent;
    }
  }
  return is_known;
}

void compare_granules(Comparison& comparison, const SlotDraft& slot, std::uint64_t begin, std::uint64_t end) {
  std::vector<std::byte> buffer;
  bool is_worth_populating = false;  // where the granule before was equal, the next ones are likely to be read, too
  for (auto [at, stop] = next_unknown(comparison, begin, end); at < stop;
       std::tie(at, stop) = next_unknown(comparison, stop, end)) {
    const auto piece = source_piece(slot, at, stop - at, buffer);
    if (is_worth_populating) populate_read(comparison.stored + at, piece.size());
    for (std::uint64_t in = 0; in < piece.size(); in += leaf_bytes) {
      const std::uint64_t size = std::min(leaf_bytes, piece.size() - in);
      is_worth_populating = are_equal(piece.data() + in, comparison.stored + at + in, size);
      comparison.is_equal[(at + in) / leaf_bytes] = is_worth_populating;
    }
  }
}

bool is_worth_comparing(const Comparison& comparison, const SlotDraft& slot) {
  if (!slot.source.read) return true;  // memory: a granule that differs costs a cache line
  std::vector<std::byte> buffer;
  for (const std::uint64_t leaf : sketch_leaves(slot.nbytes)) {
    const std::uint64_t at = leaf * leaf_bytes;
    const std::uint64_t size = std::min(leaf_bytes, slot.nbytes - at);
    if (at + size > comparison.common_bytes) continue;
    const auto piece = source_piece(slot, at, size, buffer);
    if (std::memcmp(piece.data(), comparison.stored + at, size) == 0) return true;
  }
  return false;
}

std::uint64_t common_bytes(std::uint64_t nbytes, std::uint64_t parent_bytes) {
  return nbytes == parent_bytes ? nbytes : std::min(nbytes, parent_bytes) / leaf_bytes * leaf_bytes;
}

}  // namespace tenon
