// Two strided tensors of one shape, laid side by side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "store/difference.h"

namespace tenon {

// Two tensors of one shape as runs of elements that are dense in both. Dimensions that are expanded in both are left
// out, and count as `weight`.
class PairedRuns {
 public:
  static constexpr std::uint64_t work_max = std::uint64_t{1} << 36;  // elements to visit

  // REQUIRES: one shape. Both must outlive this.
  PairedRuns(const StridedTensor& older, const StridedTensor& newer) : older_(older), newer_(newer) {
    for (std::size_t d = 0; d < older.shape.size(); ++d) {
      const auto size = static_cast<std::uint64_t>(older.shape[d]);
      if (size == 0) is_empty_ = true;
      if (size <= 1) continue;
      if (older.stride[d] == 0 && newer.stride[d] == 0) {
        weight_ *= size;
      } else {
        dimensions_.push_back({size, older.stride[d], newer.stride[d]});
      }
    }
    while (!dimensions_.empty()) {
      const auto& [size, stride_a, stride_b] = dimensions_.back();
      const auto run = static_cast<std::int64_t>(run_);
      if (stride_a != run || stride_b != run) break;
      run_ *= size;
      dimensions_.pop_back();
    }
  }

  double weight() const noexcept { return static_cast<double>(weight_); }
  std::uint64_t weight_count() const noexcept { return weight_; }
  // Elements to visit, saturating at work_max.
  std::uint64_t work() const noexcept {
    if (is_empty_) return 0;
    std::uint64_t work = run_;
    for (const Dimension& dimension : dimensions_) {
      if (work > work_max / dimension.size) return work_max + 1;
      work *= dimension.size;
    }
    return work;
  }

  // Calls use(older, newer, count) over dense elements; short runs are gathered first. Until it returns false.
  template <typename Use>
  void visit(const Use& use) const {
    if (is_empty_) return;
    const std::uint64_t item_a = item_bytes(older_.dtype), item_b = item_bytes(newer_.dtype);
    std::vector<std::byte> gathered_a, gathered_b;
    std::size_t waiting = 0;
    const bool is_gathering = run_ < gathered && !dimensions_.empty();
    if (is_gathering) {
      gathered_a.resize(gathered * item_a);
      gathered_b.resize(gathered * item_b);
    }
    std::vector<std::uint64_t> index(dimensions_.size());
    for (bool is_more = true; is_more;) {
      std::int64_t at_a = 0, at_b = 0;
      for (std::size_t d = 0; d < index.size(); ++d) {
        at_a += static_cast<std::int64_t>(index[d]) * dimensions_[d].stride_a;
        at_b += static_cast<std::int64_t>(index[d]) * dimensions_[d].stride_b;
      }
      const std::byte* a = older_.data + at_a * static_cast<std::int64_t>(item_a);
      const std::byte* b = newer_.data + at_b * static_cast<std::int64_t>(item_b);
      is_more = next(index);
      if (!is_gathering) {
        if (!use(a, b, run_)) return;
        continue;
      }
      std::memcpy(gathered_a.data() + waiting * item_a, a, run_ * item_a);
      std::memcpy(gathered_b.data() + waiting * item_b, b, run_ * item_b);
      waiting += run_;
      if (is_more && waiting + run_ <= gathered) continue;
      if (!use(gathered_a.data(), gathered_b.data(), waiting)) return;
      waiting = 0;
    }
  }

 private:
  static constexpr std::size_t gathered = 2048;  // elements that are laid side by side at a time

  struct Dimension {
    std::uint64_t size;
    std::int64_t stride_a;
    std::int64_t stride_b;
  };

  bool next(std::vector<std::uint64_t>& index) const {
    for (std::size_t d = index.size(); d-- > 0;) {
      if (++index[d] < dimensions_[d].size) return true;
      index[d] = 0;
    }
    return false;
  }

  const StridedTensor& older_;
  const StridedTensor& newer_;
  std::vector<Dimension> dimensions_;  // outermost first
  std::uint64_t run_ = 1;
  std::uint64_t weight_ = 1;
  bool is_empty_ = false;
};

}  // namespace tenon
