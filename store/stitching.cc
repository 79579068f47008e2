#include "store/stitching.h"

#include <algorithm>
#include <cassert>
#include <numeric>

namespace tenon {

namespace {

constexpr std::uint64_t granule = format::granule_bytes;
// A slot of which less than this part is there already is written whole: it would save little, and cost mappings for
// good.
constexpr std::uint64_t reused_share_min = 8;

// The old extents, cut at the granules that changed.
std::vector<StitchedPiece> cut(std::uint64_t nbytes, std::span<const std::uint8_t> is_equal,
                               std::span<const StoredExtent> old_extents) {
  std::vector<StitchedPiece> pieces;
  std::uint64_t extent_begin = 0;
  for (const StoredExtent& extent : old_extents) {
    const std::uint64_t extent_end = extent_begin + extent.size;
    if (extent_begin % granule != 0) return {};  // leaves would straddle what other writers put together
    const bool can_be_mapped_anywhere = extent.offset % granule == 0;
    for (std::uint64_t at = extent_begin; at < std::min(extent_end, nbytes); at += granule) {
      if (is_equal[at / granule] == 0 || !can_be_mapped_anywhere) continue;
      const std::uint64_t size = std::min({granule, nbytes - at, extent_end - at});
      pieces.push_back({at, size, StoredExtent{extent.segment, extent.offset + (at - extent_begin), size}});
    }
    extent_begin = extent_end;
  }
  return pieces;
}

void fill_gaps(std::vector<StitchedPiece>& pieces, std::uint64_t nbytes) {
  std::vector<StitchedPiece> all;
  std::uint64_t at = 0;
  for (const StitchedPiece& piece : pieces) {
    if (piece.begin > at) all.push_back({at, piece.begin - at});
    all.push_back(piece);
    at = piece.end();
  }
  if (at < nbytes) all.push_back({at, nbytes - at});
  pieces = std::move(all);
}

// The shortest of the old pieces are written again, until there are few enough: each that goes joins its neighbours.
void keep_few(std::vector<StitchedPiece>& pieces, std::size_t count_max) {
  while (pieces.size() > count_max) {
    std::vector<std::size_t> stored;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      if (pieces[i].stored) stored.push_back(i);
    }
    // Each takes at least one piece away, two where both neighbours are new; the half is safe, and few rounds do.
    const std::size_t excess = pieces.size() - count_max;
    const std::size_t drop = std::min(stored.size(), (excess + 1) / 2);
    if (drop == 0) return;
    std::nth_element(stored.begin(), stored.begin() + static_cast<std::ptrdiff_t>(drop - 1), stored.end(),
                     [&](std::size_t a, std::size_t b) { return pieces[a].size < pieces[b].size; });
    for (std::size_t i = 0; i < drop; ++i) pieces[stored[i]].stored.reset();
    coalesce(pieces);
  }
}

bool follows(const StitchedPiece& first, const StitchedPiece& second) noexcept {
  if (!first.stored || !second.stored) return !first.stored && !second.stored;
  return first.stored->segment.uuid == second.stored->segment.uuid &&
         first.stored->offset + first.stored->size == second.stored->offset;
}

}  // namespace

void coalesce(std::vector<StitchedPiece>& pieces) {
  std::vector<StitchedPiece> joined;
  for (const StitchedPiece& piece : pieces) {
    if (joined.empty() || !follows(joined.back(), piece)) {
      joined.push_back(piece);
      continue;
    }
    joined.back().size += piece.size;
    if (piece.stored) joined.back().stored->size += piece.size;
  }
  pieces = std::move(joined);
}

std::uint64_t bytes_to_write(std::span<const StitchedPiece> pieces) noexcept {
  return std::accumulate(pieces.begin(), pieces.end(), std::uint64_t{0},
                         [](std::uint64_t sum, const StitchedPiece& p) { return p.stored ? sum : sum + p.size; });
}

std::vector<StitchedPiece> plan_pieces(std::uint64_t nbytes, std::span<const std::uint8_t> is_equal,
                                       std::span<const StoredExtent> old_extents) {
  assert(is_equal.size() == (nbytes + granule - 1) / granule);
  if (nbytes < stitched_from_bytes) return {};
  std::vector<StitchedPiece> pieces = cut(nbytes, is_equal, old_extents);
  fill_gaps(pieces, nbytes);
  coalesce(pieces);
  keep_few(pieces, nbytes * pieces_per_mib_max / (1 << 20));
  const std::uint64_t reused = nbytes - bytes_to_write(pieces);
  if (reused < nbytes / reused_share_min) return {};
  return pieces;
}

}  // namespace tenon
