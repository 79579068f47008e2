#include "store/loaded_memory.h"

#include <pthread.h>

#include <algorithm>
#include <mutex>
#include <unordered_map>

#include "mmap/lock.h"
#include "mmap/page_state.h"

namespace tenon {

namespace {

// Ranges are asked for together where no more than this lies between them: a call costs more than some pages.
constexpr std::uint64_t joined_gap_bytes = 64 * 1024;

// Held over a fork, so that a child never finds it locked by a thread that it has not got.
class Registry {
 public:
  static Registry& instance() {
    static Registry& registry = *new Registry;
    return registry;
  }

  void add(const std::shared_ptr<const SnapshotState>& snapshot) {
    const std::lock_guard lock(mutex_);
    std::erase_if(snapshots_, [](const Known& known) { return known.snapshot.expired(); });
    snapshots_.push_back({snapshot, fork_generation()});
  }

  // The newest first.
  std::vector<std::shared_ptr<const SnapshotState>> alive() {
    const std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<const SnapshotState>> found;
    for (auto known = snapshots_.rbegin(); known != snapshots_.rend(); ++known) {
      auto snapshot = known->snapshot.lock();
      if (snapshot == nullptr) continue;
      const bool is_inherited = known->fork_generation != fork_generation();
      if (snapshot->mode() == Mode::private_ || !is_inherited) found.push_back(std::move(snapshot));
    }
    return found;
  }

 private:
  Registry() {
    ::pthread_atfork([] { instance().mutex_.lock(); }, [] { instance().mutex_.unlock(); },
                     [] { instance().mutex_.unlock(); });
  }

  struct Known {
    std::weak_ptr<const SnapshotState> snapshot;
    std::uint64_t fork_generation;
  };
  std::mutex mutex_;
  std::vector<Known> snapshots_;
};

struct Found {
  std::uint32_t draft_slot;
  AddressRange range;
};

class Search {
 public:
  explicit Search(const Draft& draft) : result_(draft.slots.size()) {
    for (std::uint32_t slot = 0; slot < draft.slots.size(); ++slot) {
      const SlotDraft& source = draft.slots[slot];
      if (source.nbytes == 0 || source.source.read) continue;
      by_address_.emplace(source.source.memory.data(), Wanted{slot, source.nbytes});
    }
  }

  std::vector<std::optional<LoadedSlot>> run(const std::vector<std::shared_ptr<const SnapshotState>>& snapshots) {
    for (const auto& snapshot : snapshots) look_in(snapshot);
    if (!found_.empty() && !mark_written()) {
      for (const Found& found : found_) result_[found.draft_slot].reset();
    }
    return std::move(result_);
  }

 private:
  struct Wanted {
    std::uint32_t draft_slot;
    std::uint64_t nbytes;
  };

  void look_in(const std::shared_ptr<const SnapshotState>& snapshot) {
    const Layout& layout = snapshot->layout();
    for (std::uint32_t slot = 0; slot < layout.slot_count(); ++slot) {
      const auto [begin, end] = by_address_.equal_range(snapshot->slot_data(slot));
      for (auto wanted = begin; wanted != end; ++wanted) {
        if (wanted->second.nbytes == layout.slot_bytes(slot)) take(wanted->second, snapshot, slot);
      }
    }
  }

  void take(const Wanted& wanted, const std::shared_ptr<const SnapshotState>& snapshot, std::uint32_t slot) {
    auto& loaded = result_[wanted.draft_slot];
    if (loaded) return;
    const bool is_private = snapshot->mode() == Mode::private_;
    if (is_private && !can_tell_) return;
    if (is_private && regions_.empty()) regions_ = mapped_regions();
    if (is_private && !snapshot->is_mapped(slot, regions_)) return;
    loaded = LoadedSlot{snapshot, slot, std::vector<std::uint8_t>(leaf_count(wanted.nbytes), 1)};
    if (!is_private) return;
    const auto begin = reinterpret_cast<std::uintptr_t>(snapshot->slot_data(slot));
    found_.push_back({wanted.draft_slot, {begin, begin + wanted.nbytes}});
  }

  bool mark_written() {
    std::sort(found_.begin(), found_.end(),
              [](const Found& a, const Found& b) { return a.range.begin < b.range.begin; });
    std::vector<AddressRange> ranges;
    for (const Found& found : found_) {
      if (!ranges.empty() && found.range.begin <= ranges.back().end + joined_gap_bytes) {
        ranges.back().end = std::max(ranges.back().end, found.range.end);
      } else {
        ranges.push_back(found.range);
      }
    }
    const auto written = written_pages(ranges);
    if (!written) return false;
    for (const Found& found : found_) mark_written(found, *written);
    return true;
  }

  void mark_written(const Found& found, const std::vector<AddressRange>& written) {
    auto at = std::partition_point(written.begin(), written.end(),
                                   [&](const AddressRange& range) { return range.end <= found.range.begin; });
    for (; at != written.end() && at->begin < found.range.end; ++at) {
      const std::uint64_t begin = std::max(at->begin, found.range.begin) - found.range.begin;
      const std::uint64_t end = std::min(at->end, found.range.end) - found.range.begin;
      auto& is_untouched = result_[found.draft_slot]->is_untouched;
      for (std::uint64_t leaf = begin / leaf_bytes; leaf * leaf_bytes < end; ++leaf) is_untouched[leaf] = 0;
    }
  }

  std::vector<std::optional<LoadedSlot>> result_;
  std::unordered_multimap<const std::byte*, Wanted> by_address_;
  const bool can_tell_ = page_state_means() != PageStateMeans::none;
  std::vector<MappedRegion> regions_;
  std::vector<Found> found_;
};

}  // namespace

void remember_loaded(const std::shared_ptr<const SnapshotState>& snapshot) { Registry::instance().add(snapshot); }

std::vector<std::optional<LoadedSlot>> find_loaded_slots(const Draft& draft) {
  const auto snapshots = Registry::instance().alive();
  if (snapshots.empty()) return std::vector<std::optional<LoadedSlot>>(draft.slots.size());
  return Search(draft).run(snapshots);
}

}  // namespace tenon
