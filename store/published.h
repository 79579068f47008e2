// A value that many threads read while one replaces it, without a lock: a reader that is stopped anywhere holds up
// nobody.
//
// One word holds the address of the current node and the number of readers that are just taking it (split counting). A
// reader announces itself by one atomic addition, which also gives it the address; then it counts itself in the node
// and takes the announcement back. If the node was replaced meanwhile, the replacing thread has counted it there.
#pragma once

#include <atomic>
#include <cassert>
#include <cstdint>
#include <utility>

namespace tenon {

template <typename T>
class Published {
 public:
  explicit Published(T value) : word_(pack(new Node(std::move(value)))) {}
  Published(const Published&) = delete;
  Published& operator=(const Published&) = delete;
  ~Published() { retire(word_.load()); }

  // A copy of the current value.
  T load() const {
    Node* const node = node_of(word_.fetch_add(one_reader, std::memory_order_acq_rel));
    node->references.fetch_add(1, std::memory_order_relaxed);
    std::uint64_t word = word_.load(std::memory_order_relaxed);
    while (node_of(word) == node) {
      if (word_.compare_exchange_weak(word, word - one_reader, std::memory_order_acq_rel)) return take(node, 1);
    }
    return take(node, 2);  // one of which the replacing thread has counted
  }

  // Readers get the new value from now on; the old one goes with the last reader that is just taking it.
  void store(T value) { retire(word_.exchange(pack(new Node(std::move(value))), std::memory_order_acq_rel)); }

 private:
  // References that Published itself has: more than readers can give back before it has counted them.
  static constexpr std::int64_t own_references = std::int64_t{1} << 32;

  struct Node {
    explicit Node(T v) : value(std::move(v)) {}
    const T value;
    std::atomic<std::int64_t> references{own_references};
  };

  // What user space has on x86-64 and arm64; larger addresses are only given to who asks for them.
  static constexpr unsigned address_bits = 48;
  static constexpr std::uint64_t one_reader = std::uint64_t{1} << address_bits;

  static std::uint64_t pack(Node* node) noexcept {
    const auto address = reinterpret_cast<std::uintptr_t>(node);
    assert(address < one_reader);
    return address;
  }
  static Node* node_of(std::uint64_t word) noexcept { return reinterpret_cast<Node*>(word & (one_reader - 1)); }
  static T take(Node* node, std::int64_t count) {
    T value = node->value;
    release(node, count);
    return value;
  }
  // Counts the readers that were just taking it and gives up what Published had, in one step: in two, readers between
  // them would find nothing left, and so would this thread.
  static void retire(std::uint64_t word) noexcept {
    release(node_of(word), own_references - static_cast<std::int64_t>(word >> address_bits));
  }
  static void release(Node* node, std::int64_t count) noexcept {
    if (node->references.fetch_sub(count, std::memory_order_acq_rel) == count) delete node;
  }

  mutable std::atomic<std::uint64_t> word_;
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
};

}  // namespace tenon
