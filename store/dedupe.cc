#include "store/dedupe.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <unordered_map>
#include <utility>

#include "store/parallel.h"
#include "store/piece_budget.h"
#include "store/slot_comparison.h"

namespace tenon {

namespace {

using Kind = SlotOrigin::Kind;

// Slots of one draft with one sketch that a further one is compared with: bounds the work on drafts made to have them
// all alike.
constexpr std::size_t alike_max = 16;

// For every slot of the draft, the parent's slot at the same path: one that is as long, if there is one.
std::vector<std::optional<std::uint32_t>> parent_slots(const Draft& draft, const SnapshotState* parent) {
  std::vector<std::optional<std::uint32_t>> slots(draft.slots.size());
  if (parent == nullptr) return slots;
  const Layout& layout = parent->layout();
  const auto is_as_long = [&](std::uint32_t slot, std::uint32_t parent_slot) {
    return layout.slot_bytes(parent_slot) == draft.slots[slot].nbytes;
  };
  for (const TensorDraft& tensor : draft.tensors) {
    if (tensor.slot == no_slot || (slots[tensor.slot] && is_as_long(tensor.slot, *slots[tensor.slot]))) continue;
    const auto row = parent_row_of(layout, tensor);
    if (!row || layout.slot(*row) == no_slot) continue;
    if (!slots[tensor.slot] || is_as_long(tensor.slot, layout.slot(*row))) slots[tensor.slot] = layout.slot(*row);
  }
  return slots;
}

bool is_any(const std::vector<std::uint8_t>& flags) {
  return std::any_of(flags.begin(), flags.end(), [](std::uint8_t is) { return is != 0; });
}

bool is_all(const std::vector<std::uint8_t>& flags) {
  return std::all_of(flags.begin(), flags.end(), [](std::uint8_t is) { return is != 0; });
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
      if (find_in_draft(slot, alike)) continue;
      if (!result_.slots[slot].leaves_segments && find_by_hint(slot, hints[i])) continue;
      alike.push_back(slot);
    }
    return std::move(result_);
  }

 private:
  // Sets `stored` or `stitched` where the parent has the same bytes or some of them, and the sketch where not.
  void compare_with_parent() {
    if (in_.parent != nullptr) {
      const auto& segments = in_.parent->segments();
      std::copy_if(segments.begin(), segments.end(), std::back_inserter(result_.kept),
                   [](const auto& s) { return s != nullptr; });
    }
    const auto candidates = parent_slots(in_.draft, in_.parent);
    std::vector<Comparison> comparisons;
    std::vector<ShortSlot> short_slots;
    for (std::uint32_t slot = 0; slot < candidates.size(); ++slot) {
      const std::uint64_t nbytes = in_.draft.slots[slot].nbytes;
      if (nbytes == 0) continue;
      auto [base, is_known] = choose_base(slot, candidates[slot]);
      if (base.snapshot != nullptr && nbytes >= stitched_from_bytes) {
        comparisons.push_back({slot, base, base.data(), common_bytes(nbytes, base.nbytes()), std::move(is_known),
                               std::vector<std::uint8_t>(leaf_count(nbytes))});
        if (!comparisons.back().is_known.empty()) comparisons.back().is_equal = comparisons.back().is_known;
      } else {
        short_slots.push_back({slot, base, !is_known.empty() && is_all(is_known)});
      }
    }
    compare_short(short_slots);
    compare_long(comparisons);
    drawn_on_ = keep_within_budgets(result_.slots, [&](std::uint32_t slot) { make_fresh(slot); });
  }

  // What the slot is compared with, and which of its leaves are known to be equal to that (empty: none).
  struct Chosen {
    Base base;
    std::vector<std::uint8_t> is_known;
  };
  Chosen choose_base(std::uint32_t slot, const std::optional<std::uint32_t>& parent_slot) {
    const Base parent = parent_slot ? Base{in_.parent, *parent_slot} : Base{};
    const SlotDraft& draft = in_.draft.slots[slot];
    const auto all = [&] { return std::vector<std::uint8_t>(leaf_count(draft.nbytes), 1); };
    if (parent.snapshot != nullptr && parent.nbytes() == draft.nbytes && !draft.source.read &&
        draft.source.memory.data() == parent.data())
      return {parent, all()};  // the parent's own memory, which is read-only
    const LoadedSlot* const loaded = slot < in_.loaded.size() && in_.loaded[slot] ? &*in_.loaded[slot] : nullptr;
    if (loaded == nullptr || !is_any(loaded->is_untouched)) return {parent, {}};
    if (parent.snapshot != nullptr && parent.nbytes() == draft.nbytes) {
      auto is_known = known_equal(*loaded, parent);
      const bool is_whole = is_all(loaded->is_untouched);
      if (is_whole ? is_all(is_known) : is_any(is_known)) return {parent, std::move(is_known)};
    }
    // The parent has nothing of what was loaded, as when another ref is committed to; or all of it is as it was loaded,
    // and so is in the store.
    const SnapshotState* const origin = reopened(*loaded->snapshot);
    if (origin == nullptr) return {parent, {}};
    const Base base{origin, loaded->slot};
    return {base, known_equal(*loaded, base)};
  }

  // Null if this store has not got the snapshot that was loaded.
  const SnapshotState* reopened(const SnapshotState& loaded) {
    const auto [found, is_new] = reopened_.try_emplace(&loaded);
    if (!is_new) return found->second;
    auto opened = in_.reopen ? in_.reopen(loaded) : nullptr;
    if (opened == nullptr) return nullptr;
    for (const auto& segment : opened->segments()) {
      if (segment != nullptr) result_.kept.push_back(segment);
    }
    result_.bases.push_back(std::move(opened));
    found->second = result_.bases.back().get();
    return found->second;
  }

  struct ShortSlot {
    std::uint32_t slot;
    Base base;
    bool is_known;  // to be equal
    std::uint64_t bytes_to_read(const Draft& draft) const { return is_known ? 0 : draft.slots[slot].nbytes; }
  };

  void compare_short(const std::vector<ShortSlot>& slots) {
    std::uint64_t bytes = 0;
    for (const ShortSlot& s : slots) bytes += s.bytes_to_read(in_.draft);
    parallel_for(slots.size(), threads_for_bytes(bytes), [&](std::size_t i) {
      const auto& [index, base, is_known] = slots[i];
      const SlotDraft& slot = in_.draft.slots[index];
      const bool is_as_long = base.snapshot != nullptr && base.nbytes() == slot.nbytes;
      if (is_as_long && (is_known || equals_memory(slot, base.data()))) {
        use_base_slot(index, base);
      } else {
        make_fresh(index);
      }
    });
  }

  void compare_long(std::vector<Comparison>& comparisons) {
    struct Task {
      std::size_t comparison;
      std::uint64_t begin;
    };
    std::vector<Task> tasks;
    for (std::size_t i = 0; i < comparisons.size(); ++i) {
      if (!is_worth_comparing(comparisons[i], in_.draft.slots[comparisons[i].slot])) continue;
      for (std::uint64_t at = 0; at < comparisons[i].common_bytes; at += compare_task_bytes) tasks.push_back({i, at});
    }
    const std::size_t threads = threads_for_bytes(tasks.size() * compare_task_bytes);
    parallel_for(tasks.size(), threads, [&](std::size_t i) {
      Comparison& comparison = comparisons[tasks[i].comparison];
      const std::uint64_t end = std::min(comparison.common_bytes, tasks[i].begin + compare_task_bytes);
      compare_granules(comparison, in_.draft.slots[comparison.slot], tasks[i].begin, end);
    });
    parallel_for(comparisons.size(), threads, [&](std::size_t i) { decide(comparisons[i]); });
  }

  void decide(const Comparison& comparison) {
    const SlotDraft& slot = in_.draft.slots[comparison.slot];
    if (comparison.common_bytes == slot.nbytes && is_all(comparison.is_equal)) {
      return use_base_slot(comparison.slot, comparison.base);
    }
    SlotOrigin& origin = result_.slots[comparison.slot];
    origin.pieces = plan_pieces(slot.nbytes, comparison.is_equal, extents_of(comparison.base));
    if (origin.pieces.empty()) return make_fresh(comparison.slot);
    origin.kind = Kind::stitched;
    origin.base = comparison.base.snapshot;
    origin.base_slot = comparison.base.slot;
    in_.add_progress(slot.nbytes - bytes_to_write(origin.pieces));
  }

  void make_fresh(std::uint32_t slot) { result_.slots[slot] = SlotOrigin{.sketch = sketch_of(in_.draft.slots[slot])}; }

  std::vector<std::uint32_t> undecided_slots() const {
    std::vector<std::uint32_t> slots;
    for (std::uint32_t slot = 0; slot < result_.slots.size(); ++slot) {
      if (in_.draft.slots[slot].nbytes != 0 && result_.slots[slot].kind == Kind::fresh) slots.push_back(slot);
    }
    return slots;
  }

  static std::vector<StoredExtent> extents_of(const Base& base) {
    std::vector<StoredExtent> extents;
    for (const format::Extent& extent : base.snapshot->placement(base.slot)) {
      extents.push_back({base.snapshot->reference(extent.segment), extent.offset, extent.size});
    }
    return extents;
  }

  void use_base_slot(std::uint32_t slot, const Base& base) {
    SlotOrigin& origin = result_.slots[slot];
    origin.kind = Kind::stored;
    origin.key = base.snapshot->keys()[base.slot];
    origin.data = base.data();
    origin.base = base.snapshot;
    origin.base_slot = base.slot;
    origin.extents = extents_of(base);
    in_.add_progress(in_.draft.slots[slot].nbytes);
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
      if (entry.sketch != origin.sketch || entry.nbytes != draft.nbytes || !may_draw_on(open->segment->uuid()) ||
          !equals_memory(draft, open->segment->data() + entry.offset))
        continue;
      drawn_on_.insert(open->segment->uuid());
      origin.kind = Kind::stored;
      origin.key = entry.key;
      origin.data = open->segment->data() + entry.offset;
      origin.extents = {{open->segment->reference(), entry.offset, entry.nbytes}};
      in_.add_progress(draft.nbytes);
      return true;
    }
    return false;
  }

  bool may_draw_on(const Digest& segment) const {
    return drawn_on_.size() < segments_per_snapshot_max || drawn_on_.contains(segment);
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
  std::unordered_map<const SnapshotState*, const SnapshotState*> reopened_;
  std::set<Digest> drawn_on_;  // segments that the new snapshot refers to so far
};

}  // namespace

std::optional<std::uint32_t> parent_row_of(const Layout& parent, const TensorDraft& tensor) {
  return parent.find(tensor.name);
}

DedupeResult find_stored_slots(const DedupeInputs& inputs) { return Finder(inputs).run(); }

}  // namespace tenon
