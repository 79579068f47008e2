// Tables of counters, one for each thread that counts at a time, which are added up at the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace tenon {

class TablePool {
 public:
  using Table = std::vector<std::uint64_t>;

  explicit TablePool(std::size_t size) : size_(size) {}

  // Gives `use` a table that nobody else has meanwhile. Threads: any.
  template <typename Use>
  void with_table(const Use& use) {
    Table table = take();
    use(table);
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(table));
  }
  // REQUIRES: nobody counts.
  Table sum() const {
    Table sum(size_, 0);
    for (const Table& table : free_) {
      for (std::size_t i = 0; i < size_; ++i) sum[i] += table[i];
    }
    return sum;
  }

 private:
  Table take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return Table(size_, 0);
    Table table = std::move(free_.back());
    free_.pop_back();
    return table;
  }

  const std::size_t size_;
  std::mutex mutex_;
  std::vector<Table> free_;
};

}  // namespace tenon
