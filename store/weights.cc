#include "tenon/weights.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "store/published.h"
#include "store/same_places.h"
#include "store/snapshot_state.h"
#include "tenon/name.h"
#include "tenon/store.h"

namespace tenon {

namespace {

// What is the same in two snapshots, as they were stored.
class Comparison {
 public:
  Comparison(const SnapshotState& newer, const SnapshotState& older)
      : newer_(newer), older_(older), places_(newer, older), slots_(newer.layout().slot_count()) {}

  // REQUIRES: the snapshots have one layout, so that rows are the same but for their bytes.
  bool is_same_row(std::uint32_t row) {
    const std::uint32_t slot = newer_.layout().slot(row);
    return slot == no_slot || is_same_slot(slot, slot);
  }

  bool is_same_row(std::uint32_t row, std::optional<std::uint32_t> older_row) {
    if (!older_row) return false;
    const TensorRow a = newer_.layout().tensor(row);
    const TensorRow b = older_.layout().tensor(*older_row);
    return is_same_geometry(a, b) && (a.slot == no_slot || is_same_slot(a.slot, b.slot));
  }

 private:
  static bool is_same_geometry(const TensorRow& a, const TensorRow& b) {
    return a.dtype == b.dtype && a.kind == b.kind && a.requires_grad == b.requires_grad && a.is_conj == b.is_conj &&
           a.is_neg == b.is_neg && (a.slot == no_slot) == (b.slot == no_slot) &&
           a.storage_offset_bytes == b.storage_offset_bytes && std::ranges::equal(a.shape, b.shape) &&
           std::ranges::equal(a.stride, b.stride) && a.wrapper == b.wrapper && a.quantizer == b.quantizer &&
           std::ranges::equal(a.global_shape, b.global_shape) && std::ranges::equal(a.global_offset, b.global_offset);
  }

  // Many rows may be views of one slot.
  bool is_same_slot(std::uint32_t slot, std::uint32_t older_slot) {
    Known& known = slots_[slot];
    if (known.older_slot != older_slot) known = {older_slot, compare_slots(slot, older_slot)};
    return known.is_same;
  }

  // Equal keys are not believed alone: they can be made.
  bool compare_slots(std::uint32_t slot, std::uint32_t older_slot) const {
    if (places_.contains(slot, older_slot)) return true;
    if (newer_.layout().slot_bytes(slot) != older_.layout().slot_bytes(older_slot)) return false;
    return newer_.keys()[slot] == older_.keys()[older_slot] && has_same_bytes(slot, older_slot);
  }

  bool has_same_bytes(std::uint32_t slot, std::uint32_t older_slot) const {
    Placement a = newer_.placement(slot), b = older_.placement(older_slot);
    std::size_t i = 0, j = 0;
    while (i < a.size() && j < b.size()) {
      const std::uint64_t size = std::min(a[i].size, b[j].size);
      if (std::memcmp(bytes_at(newer_, a[i]), bytes_at(older_, b[j]), size) != 0) return false;
      advance(a, i, size);
      advance(b, j, size);
    }
    return i == a.size() && j == b.size();
  }
  static const std::byte* bytes_at(const SnapshotState& snapshot, const format::Extent& extent) {
    return snapshot.segments()[extent.segment]->data() + extent.offset;
  }
  static void advance(Placement& placement, std::size_t& index, std::uint64_t size) {
    placement[index].offset += size;
    placement[index].size -= size;
    if (placement[index].size == 0) ++index;
  }

  struct Known {
    std::uint32_t older_slot = no_slot;
    bool is_same = false;
  };
  const SnapshotState& newer_;
  const SnapshotState& older_;
  SamePlaces places_;
  std::vector<Known> slots_;
};

std::uint64_t slot_bytes_of(const Snapshot& snapshot, const std::vector<std::uint32_t>& rows) {
  std::vector<bool> counted(snapshot.slot_count());
  std::uint64_t bytes = 0;
  for (const std::uint32_t row : rows) {
    const std::uint32_t slot = snapshot.row(row).slot;
    if (slot == no_slot || counted[slot]) continue;
    counted[slot] = true;
    bytes += snapshot.slot(slot).nbytes;
  }
  return bytes;
}

}  // namespace

std::vector<std::uint32_t> Snapshot::changed_since(const Snapshot& older) const {
  const SnapshotState& before = *older.state_;
  Comparison comparison(*state_, before);
  const bool is_same_layout = state_->record().layout == before.record().layout;
  std::vector<std::uint32_t> changed;
  for (std::uint32_t row = 0; row < size(); ++row) {
    const bool is_same = is_same_layout ? comparison.is_same_row(row)
                                        : comparison.is_same_row(row, older.find(state_->layout().name(row)));
    if (!is_same) changed.push_back(row);
  }
  return changed;
}

struct WeightSet::State {
  State(Watch watching, Snapshot first) : watch(std::move(watching)), current(std::move(first)) {}

  std::optional<WeightSwap> swap_to(std::optional<Snapshot> next) {
    if (!next) return std::nullopt;
    WeightSwap swap{.before = current.load(), .after = std::move(*next), .changed = {}};
    swap.changed = swap.after.changed_since(swap.before);
    swap.changed_bytes = slot_bytes_of(swap.after, swap.changed);
    current.store(swap.after);
    return swap;
  }

  std::mutex updating;
  Watch watch;
  Published<Snapshot> current;
};

WeightSet::WeightSet(const Store& store, const std::string& ref, const WatchOptions& options) {
  Watch watch = store.watch(ref, options);
  auto first = watch.next(std::chrono::milliseconds::zero());
  if (!first)
    throw Error(ErrorKind::not_found, {.what = "no ref '" + printable(ref) + "'", .file = store.path().string()});
  state_ = std::make_unique<State>(std::move(watch), std::move(*first));
}
WeightSet::WeightSet(WeightSet&&) noexcept = default;
WeightSet& WeightSet::operator=(WeightSet&&) noexcept = default;
WeightSet::~WeightSet() = default;

Snapshot WeightSet::current() const { return state_->current.load(); }

std::optional<WeightSwap> WeightSet::update() {
  const std::lock_guard lock(state_->updating);
  return state_->swap_to(state_->watch.poll());
}

std::optional<WeightSwap> WeightSet::update(std::chrono::milliseconds timeout) {
  const std::lock_guard lock(state_->updating);
  return state_->swap_to(state_->watch.next(timeout));
}

}  // namespace tenon
