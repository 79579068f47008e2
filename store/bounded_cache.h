// Values that are worth keeping as long as there is room: what was used longest ago goes first.
//
// Hands out shared pointers, which outlive what is dropped. Threads: one at a time.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>

namespace tenon {

template <typename Key, typename Value>
class BoundedCache {
 public:
  explicit BoundedCache(std::uint64_t cost_max) : cost_max_(cost_max) {}

  // nullptr if it is not there.
  std::shared_ptr<const Value> find(const Key& key) {
    const auto found = entries_.find(key);
    if (found == entries_.end()) return nullptr;
    order_.splice(order_.begin(), order_, found->second.place);
    return found->second.value;
  }
  // REQUIRES: find(key) is nullptr. `cost` in the unit of the bound.
  void add(const Key& key, std::shared_ptr<const Value> value, std::uint64_t cost = 1) {
    order_.push_front(key);
    entries_.emplace(key, Entry{std::move(value), cost, order_.begin()});
    cost_ += cost;
    while (cost_ > cost_max_ && order_.size() > 1) drop(order_.back());
  }
  void clear() {
    entries_.clear();
    order_.clear();
    cost_ = 0;
  }

 private:
  struct Entry {
    std::shared_ptr<const Value> value;
    std::uint64_t cost;
    typename std::list<Key>::iterator place;
  };
  void drop(const Key key) {
    const auto found = entries_.find(key);
    cost_ -= found->second.cost;
    order_.erase(found->second.place);
    entries_.erase(found);
  }

  std::uint64_t cost_max_;
  std::uint64_t cost_ = 0;
  std::map<Key, Entry> entries_;
  std::list<Key> order_;
};

}  // namespace tenon
