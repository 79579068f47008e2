#include "store/dedupe.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <unordered_map>

#include "mmap/mapping.h"
#include "store/parallel.h"
#include "store/source.h"

namespace tenon {

namespace {

using Kind = SlotOrigin::Kind;

constexpr std::uint64_t compare_piece_bytes = 1 << 20;
// Slots of one draft with one sketch that a further one is compared with: bounds the work on drafts made to have them
// all alike.
constexpr std::size_t alike_max = 16;

bool equals_memory(const SlotDraft& slot, const std::byte* stored) {
  std::vector<std::byte> buffer;
  bool is_worth_populating = false;  // once a first piece was equal, the rest is likely to be read, too
  for (std::uint64_t at = 0; at < slot.nbytes; at += compare_piece_bytes) {
    const auto piece = source_piece(slot, at, std::min(compare_piece_bytes, slot.nbytes - at), buffer);
    if (is_worth_populating) populate_read(stored + at, piece.size());
    if (std::memcmp(piece.data(), stored + at, piece.size()) != 0) return false;
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
    if (std::memcmp(piece_a.data(), piece_b.data(), size) != 0) return false;
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

// For every slot of the draft, the parent's slot at the same path, if it is as long.
std::vector<std::optional<std::uint32_t>> parent_slots(const Draft& draft, const SnapshotState* parent) {
  std::vector<std::optional<std::uint32_t>> slots(draft.slots.size());
  if (parent == nullptr) return slots;
  const Layout& layout = parent->layout();
  for (const TensorDraft& tensor : draft.tensors) {
    if (tensor.slot == no_slot || slots[tensor.slot]) continue;
    const auto row = parent_row_of(layout, tensor);
    if (!row || layout.slot(*row) == no_slot) continue;
    if (layout.slot_bytes(layout.slot(*row)) == draft.slots[tensor.slot].nbytes) slots[tensor.slot] = layout.slot(*row);
  }
  return slots;
}

class Finder {
 public:
  explicit Finder(const DedupeInputs& inputs) : in_(inputs) { result_.slots.resize(inputs.draft.slots.size()); }

  DedupeResult run() {
    compare_with_parent();
    const std::vector<std::uint32_t> undecided = undecided_slots();
    std::vector<std::uint64_t> sketches;
    for (const std::uint32_t slot : undecided) sketches.push_back(result_.slots[slot].sketch);
    const auto hints = undecided.empty() ? std::vector<std::vector<StorageHint>>{} : in_.hints(sketches);
    std::map<std::pair<std::uint64_t, std::uint64_t>, std::vector<std::uint32_t>> fresh;  // by (sketch, length)
    for (std::size_t i = 0; i < undecided.size(); ++i) {
      const std::uint32_t slot = undecided[i];
      auto& alike = fresh[{sketches[i], in_.draft.slots[slot].nbytes}];
      if (find_in_draft(slot, alike) || find_by_hint(slot, hints[i])) continue;
      alike.push_back(slot);
    }
    return std::move(result_);
  }

 private:
  // Sets `stored` where the parent has the same bytes, and the sketch where not.
  void compare_with_parent() {
    const auto candidates = parent_slots(in_.draft, in_.parent);
    std::uint64_t total = 0;
    for (const SlotDraft& slot : in_.draft.slots) total += slot.nbytes;
    if (in_.parent != nullptr) {
      const auto& segments = in_.parent->segments();
      std::copy_if(segments.begin(), segments.end(), std::back_inserter(result_.kept),
                   [](const auto& s) { return s != nullptr; });
    }
    parallel_for(result_.slots.size(), threads_for_bytes(total), [&](std::size_t i) {
      const SlotDraft& slot = in_.draft.slots[i];
      if (slot.nbytes == 0) return;
      if (candidates[i] && equals_memory(slot, in_.parent->slot_data(*candidates[i]))) {
        use_parent_slot(result_.slots[i], *candidates[i]);
        in_.add_progress(slot.nbytes);
      } else {
        result_.slots[i].sketch = sketch_of(slot);
      }
    });
  }

  std::vector<std::uint32_t> undecided_slots() const {
    std::vector<std::uint32_t> slots;
    for (std::uint32_t slot = 0; slot < result_.slots.size(); ++slot) {
      if (in_.draft.slots[slot].nbytes != 0 && result_.slots[slot].kind == Kind::fresh) slots.push_back(slot);
    }
    return slots;
  }

  void use_parent_slot(SlotOrigin& origin, std::uint32_t parent_slot) const {
    origin.kind = Kind::stored;
    origin.key = in_.parent->keys()[parent_slot];
    origin.data = in_.parent->slot_data(parent_slot);
    origin.parent_slot = parent_slot;
    for (const format::Extent& extent : in_.parent->placement(parent_slot)) {
      origin.extents.push_back({in_.parent->reference(extent.segment), extent.offset, extent.size});
    }
  }

  bool find_in_draft(std::uint32_t slot, const std::vector<std::uint32_t>& alike) {
    const std::size_t tries = std::min(alike.size(), alike_max);
    for (auto nearest = alike.rbegin(); nearest != alike.rbegin() + static_cast<std::ptrdiff_t>(tries); ++nearest) {
      const std::uint32_t earlier = *nearest;
      if (!equals_source(in_.draft.slots[slot], in_.draft.slots[earlier])) continue;
      result_.slots[slot].kind = Kind::same_as_slot;
      result_.slots[slot].same_slot = earlier;
      in_.add_progress(in_.draft.slots[slot].nbytes);
      return true;
    }
    return false;
  }

  bool find_by_hint(std::uint32_t slot, const std::vector<StorageHint>& hints) {
    SlotOrigin& origin = result_.slots[slot];
    const SlotDraft& draft = in_.draft.slots[slot];
    for (const StorageHint& hint : hints) {
      const OpenSegment* open = open_segment(hint.segment_sequence);
      if (open == nullptr || hint.storage_index >= open->storages.size()) continue;
      const format::StorageEntry& entry = open->storages[hint.storage_index];
      if (entry.sketch != origin.sketch || entry.nbytes != draft.nbytes ||
          !equals_memory(draft, open->segment->data() + entry.offset))
        continue;
      origin.kind = Kind::stored;
      origin.key = entry.key;
      origin.data = open->segment->data() + entry.offset;
      origin.extents = {{open->segment->reference(), entry.offset, entry.nbytes}};
      in_.add_progress(draft.nbytes);
      return true;
    }
    return false;
  }

  struct OpenSegment {
    std::shared_ptr<const Segment> segment;
    std::span<const format::StorageEntry> storages;
  };
  const OpenSegment* open_segment(std::uint64_t sequence) {
    auto found = open_.find(sequence);
    if (found == open_.end()) {
      OpenSegment open{in_.segment(sequence), {}};
      if (open.segment) result_.kept.push_back(open.segment);
      if (open.segment) open.storages = open.segment->storages();
      found = open_.emplace(sequence, std::move(open)).first;
    }
    return found->second.segment ? &found->second : nullptr;
  }

  const DedupeInputs& in_;
  DedupeResult result_;
  std::unordered_map<std::uint64_t, OpenSegment> open_;
};

}  // namespace

std::optional<std::uint32_t> parent_row_of(const Layout& parent, const TensorDraft& tensor) {
  return parent.find(tensor.name);
}

DedupeResult find_stored_slots(const DedupeInputs& inputs) { return Finder(inputs).run(); }

}  // namespace tenon
