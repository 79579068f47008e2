// The elements of a strided tensor as runs of dense ones, in whatever order is quickest.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace tenon {

struct WalkDimension {
  std::uint64_t size;
  std::int64_t stride_bytes;  // positive
};

// The order of elements does not matter here, so dimensions may be turned round, sorted and merged at will.
struct Walk {
  std::size_t item_bytes;
  const std::byte* first;
  std::uint64_t weight = 1;                 // how often every element counts (expanded dimensions)
  std::vector<WalkDimension> dimensions{};  // largest stride first; at least one
  bool is_empty = false;

  // Of elements, without the weight. REQUIRES: strided_work is not saturated.
  std::uint64_t count() const noexcept;
};

// `shape` and `stride` in elements; `data` points to the first element. REQUIRES: bounds were checked.
Walk plan_walk(std::size_t item_bytes, const std::byte* data, std::span<const std::int64_t> shape,
               std::span<const std::int64_t> stride);

// Copies `count` elements that are `stride_bytes` apart.
void copy_strided(std::size_t item_bytes, const std::byte* first, std::uint64_t count, std::int64_t stride_bytes,
                  std::byte* out) noexcept;

// Hands dense runs on; collects short ones first, so that `use(bytes)` gets long ones. The bytes are valid during the
// call.
template <typename Use>
class RunGatherer {
 public:
  RunGatherer(std::size_t item_bytes, Use use) noexcept : item_(item_bytes), use_(std::move(use)) {}

  // A run of `count` elements; those that lie densely and are many are not copied.
  void add_run(const std::byte* first, std::uint64_t count, std::int64_t stride_bytes) {
    const bool is_dense = stride_bytes == static_cast<std::int64_t>(item_);
    if (is_dense && count * item_ >= long_run_bytes) return use_(std::span(first, count * item_));
    while (count != 0) {
      const std::uint64_t room = (buffer_.size() - used_) / item_;
      const std::uint64_t taken = std::min(count, room);
      copy_strided(item_, first, taken, stride_bytes, buffer_.data() + used_);
      used_ += taken * item_;
      if (taken == room) flush();
      // No pointer is made past the last element of the run.
      if ((count -= taken) != 0) first += static_cast<std::int64_t>(taken) * stride_bytes;
    }
  }
  void add_runs(const std::byte* first, std::span<const WalkDimension> dimensions) {
    const WalkDimension& outer = dimensions.front();
    if (dimensions.size() == 1) return add_run(first, outer.size, outer.stride_bytes);
    for (std::uint64_t i = 0; i < outer.size; ++i) {
      add_runs(first + static_cast<std::int64_t>(i) * outer.stride_bytes, dimensions.subspan(1));
    }
  }
  void flush() {
    use_(std::span<const std::byte>(buffer_).first(used_));
    used_ = 0;
  }

 private:
  static constexpr std::size_t buffer_bytes = 16 * 1024;
  static constexpr std::size_t long_run_bytes = 1024;  // shorter runs are gathered first
  const std::size_t item_;
  Use use_;
  std::size_t used_ = 0;
  std::array<std::byte, buffer_bytes> buffer_;
};

// Calls use(bytes) with all elements of the walk, each once.
template <typename Use>
void visit_runs(const Walk& walk, Use use) {
  if (walk.is_empty) return;
  RunGatherer<Use> gatherer(walk.item_bytes, std::move(use));
  gatherer.add_runs(walk.first, walk.dimensions);
  gatherer.flush();
}

}  // namespace tenon
