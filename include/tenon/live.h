// Following a ref: be woken when it moves, and get the snapshot it moved to.
//
//   for (const tenon::Snapshot& snapshot : store.watch("main")) serve(snapshot);
//
// Each snapshot is whole, and none is older than one that came before: a ref that is moved back is news, too. Between
// two looks the ref may move several times; only the newest is given.
//
// A commit wakes those who wait, in other processes and containers too, by a futex in the file `live` of the store,
// within a few dozen microseconds. Where that file cannot be had (read-only mount without it, network file system) or
// the writer may not write to it, the head is looked at: every 20 and 100 ms.
//
// Owner: a Watch keeps the store open, and the snapshot it gave last. Threads: one Watch belongs to one thread at a
// time. Errors: as Store::snapshot. A ref that is not there yet is waited for.
#pragma once

#include <chrono>
#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "tenon/export.h"
#include "tenon/open_options.h"
#include "tenon/snapshot.h"

namespace tenon {

struct WatchOptions {
  OpenOptions open{};
  // The iteration ends when so long nothing came; without it, only when asked to stop.
  std::optional<std::chrono::milliseconds> timeout{};
  std::stop_token stop{};
  // What `tenon ps` calls this process; the name of its program unless told.
  std::string name{};
};

class StoreState;

class TENON_API Watch {
 public:
  Watch(Watch&&) noexcept;
  Watch& operator=(Watch&&) noexcept;
  ~Watch();

  // The ref's snapshot if it is another than the one given last; the first call gives the current one. Does not wait.
  std::optional<Snapshot> poll();
  // The same, waited for: nullopt when the time is over, or when asked to stop.
  std::optional<Snapshot> next(std::chrono::milliseconds timeout);
  // As long as it takes; nullopt when asked to stop, or after WatchOptions::timeout.
  std::optional<Snapshot> next();

  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Snapshot;
    using difference_type = std::ptrdiff_t;
    using pointer = const Snapshot*;
    using reference = const Snapshot&;

    explicit Iterator(Watch* watch) : watch_(watch) { ++*this; }
    const Snapshot& operator*() const noexcept { return *current_; }
    const Snapshot* operator->() const noexcept { return &*current_; }
    Iterator& operator++() {
      current_ = watch_->next();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& at, std::default_sentinel_t) noexcept { return !at.current_; }

   private:
    Watch* watch_;
    std::optional<Snapshot> current_;
  };
  // Waits for the first snapshot.
  Iterator begin() { return Iterator(this); }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  friend class Store;
  struct State;
  explicit Watch(std::unique_ptr<State> state) noexcept;
  std::unique_ptr<State> state_;
};

}  // namespace tenon
