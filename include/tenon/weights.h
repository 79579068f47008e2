// The current weights of a ref, swapped under those who read them.
//
//   tenon::WeightSet weights(store, "main");
//   // serving threads                               // one thread beside them
//   tenon::Snapshot now = weights.current();         while (!stopping) weights.update(1s);
//   answer(now["layers.0.weight"], request);
//
// What a reader took stays valid and unchanged until it lets go of it, however often weights are swapped meanwhile.
// Take current() once for each request: two looks may see two snapshots.
//
// What did not change is neither mapped nor checked again: in mode `shared` old and new snapshots use the same pages.
//
// Owner: keeps the store open. Threads: current() and [] from any, without a lock; updates come one at a time.
// Errors: as Store::snapshot; a failed update leaves the weights that were there.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/export.h"
#include "tenon/live.h"
#include "tenon/snapshot.h"

namespace tenon {

class Store;

// What an update did.
struct WeightSwap {
  Snapshot before;
  Snapshot after;
  std::vector<std::uint32_t> changed;  // rows of `after`, as after.changed_since(before) has them
  std::uint64_t changed_bytes = 0;     // of the slots that they are views of
};

class TENON_API WeightSet {
 public:
  // Opens the ref's snapshot. Throws not_found if there is no such ref.
  explicit WeightSet(const Store& store, const std::string& ref = "main", const WatchOptions& options = {});
  WeightSet(WeightSet&&) noexcept;
  WeightSet& operator=(WeightSet&&) noexcept;
  ~WeightSet();

  Snapshot current() const;
  // Of the current snapshot. Throws not_found.
  View operator[](std::string_view name) const { return current()[name]; }

  // Swaps to the newest snapshot if there is a newer one; does not wait.
  std::optional<WeightSwap> update();
  // The same, waited for: nullopt when the time is over, or when WatchOptions::stop asks for it.
  std::optional<WeightSwap> update(std::chrono::milliseconds timeout);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tenon
