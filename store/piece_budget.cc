#include "store/piece_budget.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

namespace tenon {

namespace {

using Kind = SlotOrigin::Kind;

std::size_t piece_count(const SlotOrigin& origin) {
  if (origin.kind == Kind::stitched) return origin.pieces.size();
  return origin.extents.size() > 1 ? origin.extents.size() : 0;
}

std::vector<StitchedPiece> pieces_of(const std::vector<StoredExtent>& extents) {
  std::vector<StitchedPiece> pieces;
  std::uint64_t begin = 0;
  for (const StoredExtent& extent : extents) {
    pieces.push_back({begin, extent.size, extent});
    begin += extent.size;
  }
  return pieces;
}

class Budget {
 public:
  Budget(std::span<SlotOrigin> slots, const std::function<void(std::uint32_t)>& make_fresh)
      : slots_(slots), make_fresh_(make_fresh) {}

  std::set<Digest> run() {
    keep_few_pieces();
    return keep_few_segments();
  }

 private:
  // The slots with the most pieces are written whole until the rest fits.
  void keep_few_pieces() {
    std::vector<std::uint32_t> pieced;
    std::size_t total = 0;
    for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
      if (piece_count(slots_[slot]) != 0) pieced.push_back(slot);
      total += piece_count(slots_[slot]);
    }
    std::stable_sort(pieced.begin(), pieced.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return piece_count(slots_[a]) > piece_count(slots_[b]); });
    for (auto slot = pieced.begin(); total > pieces_per_snapshot_max; ++slot) {
      total -= piece_count(slots_[*slot]);
      make_fresh_(*slot);
    }
  }

  std::set<Digest> keep_few_segments() {
    const auto bytes = bytes_by_segment();
    std::set<Digest> drawn_on;
    for (const auto& [uuid, size] : bytes) drawn_on.insert(uuid);
    if (bytes.size() <= segments_per_snapshot_max) return drawn_on;
    std::vector<std::pair<std::uint64_t, Digest>> by_bytes;
    for (const auto& [uuid, size] : bytes) by_bytes.emplace_back(size, uuid);
    std::sort(by_bytes.begin(), by_bytes.end());
    std::set<Digest> left;
    for (std::size_t i = 0; i + segments_per_snapshot_kept < by_bytes.size(); ++i) {
      left.insert(by_bytes[i].second);
      drawn_on.erase(by_bytes[i].second);
    }
    for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) leave_segments(slot, left);
    return drawn_on;
  }

  // Bytes that the new snapshot would have in each segment of the parent.
  std::map<Digest, std::uint64_t> bytes_by_segment() const {
    std::map<Digest, std::uint64_t> bytes;
    for (const SlotOrigin& origin : slots_) {
      for (const StoredExtent& extent : origin.extents) bytes[extent.segment.uuid] += extent.size;
      for (const StitchedPiece& piece : origin.pieces) {
        if (piece.stored) bytes[piece.stored->segment.uuid] += piece.size;
      }
    }
    return bytes;
  }

  // Writes again what the slot has in these segments.
  void leave_segments(std::uint32_t slot, const std::set<Digest>& left) {
    SlotOrigin& origin = slots_[slot];
    const bool is_in = std::any_of(origin.extents.begin(), origin.extents.end(),
                                   [&](const StoredExtent& extent) { return left.contains(extent.segment.uuid); });
    if (is_in && origin.extents.size() == 1) return write_again(slot);
    if (is_in) {
      origin.pieces = pieces_of(origin.extents);
      origin.extents.clear();
      origin.data = nullptr;
      origin.kind = Kind::stitched;
    }
    for (StitchedPiece& piece : origin.pieces) {
      if (piece.stored && left.contains(piece.stored->segment.uuid)) piece.stored.reset();
    }
    coalesce(origin.pieces);
    if (origin.pieces.size() == 1 && !origin.pieces[0].stored) write_again(slot);
  }

  void write_again(std::uint32_t slot) {
    make_fresh_(slot);
    slots_[slot].leaves_segments = true;
  }

  std::span<SlotOrigin> slots_;
  const std::function<void(std::uint32_t)>& make_fresh_;
};

}  // namespace

std::set<Digest> keep_within_budgets(std::span<SlotOrigin> slots,
                                     const std::function<void(std::uint32_t slot)>& make_fresh) {
  return Budget(slots, make_fresh).run();
}

}  // namespace tenon
