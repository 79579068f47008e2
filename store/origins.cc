#include "store/origins.h"

#include <algorithm>
#include <mutex>

#include "store/loaded_memory.h"

namespace tenon {

namespace {

// Damage, a disk that does not read, files or mappings that this process may not have: what is compared with is a help.
bool can_do_without(const Error& error) noexcept {
  switch (error.kind()) {
    case ErrorKind::corrupt:
    case ErrorKind::not_found:
    case ErrorKind::io:
    case ErrorKind::limit:
    case ErrorKind::too_new:
      return true;
    default:
      return false;
  }
}

// What `open` opens, or null where that can be done without.
template <typename Open>
auto open_if_possible(const Open& open) -> decltype(open()) {
  try {
    return open();
  } catch (const Error& error) {
    if (!can_do_without(error)) throw;
    return nullptr;
  }
}

// A hint is only a hint.
std::shared_ptr<const Segment> open_hinted(const StoreState& store, std::uint64_t sequence) {
  return open_if_possible([&] {
    auto segment = Segment::open(store.paths().segment_directory().file_of(sequence));
    segment->storages();  // throws where the table is damaged
    return segment;
  });
}

// What was loaded may be another store's, or gone: gc takes the rows of what it takes, while this process may have
// the segments mapped still.
std::shared_ptr<const SnapshotState> reopen_shared(const StoreState& store, const SnapshotState& loaded) {
  if (loaded.holder().footer().store_id != store.store_id()) return nullptr;
  return open_if_possible([&]() -> std::shared_ptr<const SnapshotState> {
    if (!store.catalog().read().snapshot(loaded.info().id)) return nullptr;
    return store.open_located({loaded.info().id, loaded.holder().reference()}, {});
  });
}

}  // namespace

std::shared_ptr<const SnapshotState> open_tip(const StoreState& store, const std::string& ref) {
  return open_if_possible([&]() -> std::shared_ptr<const SnapshotState> {
    const auto head = read_head(store.paths().heads(), ref, store.store_id());
    return head ? store.open_located({head->snapshot, head->segment}, {}) : nullptr;
  });
}

DedupeResult find_origins(const StoreState& store, const Draft& draft, const SnapshotState* parent,
                          const std::function<void(std::uint64_t)>& add_progress) {
  const auto hints = [&](std::span<const std::uint64_t> sketches) {
    const CatalogReader reader = store.catalog().read();
    std::vector<std::vector<StorageHint>> found;
    for (const std::uint64_t sketch : sketches) found.push_back(reader.hints(sketch));
    return found;
  };
  const auto segment = [&](std::uint64_t sequence) { return open_hinted(store, sequence); };
  const auto reopen = [&](const SnapshotState& loaded) { return reopen_shared(store, loaded); };
  return find_stored_slots({draft, parent, hints, segment, add_progress, find_loaded_slots(draft), reopen});
}

std::function<void(std::uint64_t)> progress_counter(const Draft& draft,
                                                    const std::function<void(const Progress&)>& report) {
  if (!report) return [](std::uint64_t) {};
  struct Counter {
    std::mutex mutex;
    Progress progress;
  };
  auto counter = std::make_shared<Counter>();
  for (const SlotDraft& slot : draft.slots) counter->progress.total += slot.nbytes;
  return [counter, report](std::uint64_t bytes) {
    const std::lock_guard lock(counter->mutex);
    counter->progress.done = std::min(counter->progress.done + bytes, counter->progress.total);
    report(counter->progress);
  };
}

}  // namespace tenon
