// How a storage that differs in part from one that is there already is made up of old pieces and new ones, so that a
// commit writes what changed and a reader still gets one contiguous range (MAP_FIXED). Plain arithmetic: no file is
// touched here. docs/format.md, "Stitched slots", has the rules and what they were measured by.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "store/format.h"

namespace tenon {

// Shorter storages are written whole.
inline constexpr std::uint64_t stitched_from_bytes = 1 << 20;
// Mappings cost memory and address space: a slot has at most so many pieces per MiB, a snapshot so many in all.
inline constexpr std::uint64_t pieces_per_mib_max = 2;
inline constexpr std::uint64_t pieces_per_snapshot_max = 8192;
// A snapshot that would draw on more segments than the first number rewrites what it has in those that give it least,
// until it draws on the second.
inline constexpr std::size_t segments_per_snapshot_max = 128;
inline constexpr std::size_t segments_per_snapshot_kept = 64;

// One extent of a storage that is already stored.
struct StoredExtent {
  format::SegmentReference segment;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

struct StitchedPiece {
  std::uint64_t begin = 0;               // in the slot; a multiple of the granule
  std::uint64_t size = 0;                // likewise, but for the slot's last piece
  std::optional<StoredExtent> stored{};  // nothing: to be written
  std::uint64_t end() const noexcept { return begin + size; }
};

// Pieces in order that make up a slot of `nbytes`. `is_equal` says for each granule of the slot whether `old_extents`
// hold the same bytes at the same place. Empty where it is better written whole: too short, or too little of it is
// there.
std::vector<StitchedPiece> plan_pieces(std::uint64_t nbytes, std::span<const std::uint8_t> is_equal,
                                       std::span<const StoredExtent> old_extents);

// Joins neighbours that are to be written, and stored ones that follow each other in one segment.
void coalesce(std::vector<StitchedPiece>& pieces);

std::uint64_t bytes_to_write(std::span<const StitchedPiece> pieces) noexcept;

}  // namespace tenon
