#include <algorithm>
#include <cassert>
#include <thread>

#include "store/heads.h"
#include "store/store_state.h"
#include "tenon/live.h"

namespace tenon {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int attach_attempts = 16;
// A wake-up can fail to come: the file was deleted, or the writer may not write to it. Then this finds what is new.
constexpr milliseconds look_again_after{100};
// Without a live region.
constexpr milliseconds shortest_pause{1};
constexpr milliseconds longest_pause{20};

constexpr auto forever = steady_clock::time_point::max();

steady_clock::time_point deadline_after(milliseconds timeout) {
  const auto now = steady_clock::now();
  return timeout < forever - now ? now + timeout : forever;
}

}  // namespace

struct Watch::State {
  std::shared_ptr<StoreState> store;
  std::string ref;
  WatchOptions options;
  std::optional<Head> last{};
  std::shared_ptr<const SnapshotState> current{};         // of `last`: what did not change since is not mapped again
  std::optional<StoreLive::Replacements> replacements{};  // before `current` was opened
  milliseconds pause = shortest_pause;

  std::optional<Snapshot> poll();
  std::optional<Snapshot> wait_until(steady_clock::time_point deadline);

 private:
  std::optional<Head> read() const;
  bool is_news(const Head& head) const noexcept;
  Snapshot give(const Head& head);
  void rest(LiveRegion* region, std::uint32_t seen, steady_clock::duration left);
};

// A bundle is a ref that never moves.
std::optional<Head> Watch::State::read() const {
  if (!store->is_bundle()) return read_head(store->paths().heads(), ref, store->store_id());
  const StoreState::Located located = store->locate(ref);
  return Head{ref, true, 0, located.id, located.holder};
}

// Sequences grow with every move of the ref. A repair may have lost the newest ones, whose numbers are then given anew.
bool Watch::State::is_news(const Head& head) const noexcept {
  return !last || head.sequence > last->sequence ||
         (head.sequence == last->sequence && head.snapshot != last->snapshot);
}

// Segments that gc has thinned meanwhile are mapped anew, so that the space of the old files comes back; to look at
// every file for that would cost more than all the rest.
Snapshot Watch::State::give(const Head& head) {
  auto now = store->live().replacements();
  const bool is_as_before = now && now == replacements;
  current = store->open_located({head.snapshot, head.segment}, options.open, ref, current, is_as_before);
  replacements = std::move(now);
  last = head;
  return SnapshotState::handle(current);
}

// Segments may go between reading the head and opening them, but then the ref has moved on.
std::optional<Snapshot> Watch::State::poll() {
  store->require_same_process();
  for (int attempt = 1;; ++attempt) {
    const std::optional<Head> head = read();
    if (!head || !is_news(*head)) return std::nullopt;
    try {
      return give(*head);
    } catch (const Error& error) {
      const bool may_have_moved = error.kind() == ErrorKind::not_found || error.kind() == ErrorKind::corrupt;
      if (!may_have_moved || attempt == attach_attempts || read() == head) throw;
    }
  }
}

std::optional<Snapshot> Watch::State::wait_until(steady_clock::time_point deadline) {
  pause = shortest_pause;
  for (;;) {
    const auto region = store->live().region(true);
    // Before the look at the head: what comes after it changes the epoch.
    const std::uint32_t seen = region ? region->epoch(ref) : 0;
    const std::stop_callback wake(options.stop, [&] {
      if (region) region->announce(ref);
    });
    if (auto snapshot = poll()) return snapshot;
    const auto left = deadline - steady_clock::now();
    if (options.stop.stop_requested() || left <= steady_clock::duration::zero()) return std::nullopt;
    rest(region.get(), seen, left);
  }
}

void Watch::State::rest(LiveRegion* region, std::uint32_t seen, steady_clock::duration left) {
  if (region != nullptr) return region->wait(ref, seen, std::min<steady_clock::duration>(left, look_again_after));
  std::this_thread::sleep_for(std::min<steady_clock::duration>(left, pause));
  pause = std::min(pause * 2, longest_pause);
}

Watch::Watch(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Watch::Watch(Watch&&) noexcept = default;
Watch& Watch::operator=(Watch&&) noexcept = default;
Watch::~Watch() = default;

std::optional<Snapshot> Watch::poll() { return state_->poll(); }
std::optional<Snapshot> Watch::next(milliseconds timeout) { return state_->wait_until(deadline_after(timeout)); }
std::optional<Snapshot> Watch::next() {
  const auto& timeout = state_->options.timeout;
  return state_->wait_until(timeout ? deadline_after(*timeout) : forever);
}

Watch Store::watch(const std::string& ref, const WatchOptions& options) const {
  state_->require_same_process();
  if (!state_->is_bundle()) check_ref_name(ref);
  if (!options.name.empty()) state_->live().set_name(options.name);
  return Watch(std::make_unique<Watch::State>(Watch::State{state_, ref, options}));
}

}  // namespace tenon
