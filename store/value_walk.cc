#include "store/value_walk.h"

#include <cassert>
#include <cstdlib>
#include <cstring>

namespace tenon {

namespace {

template <std::size_t item>
void copy_strided(const std::byte* first, std::uint64_t count, std::int64_t stride_bytes, std::byte* out) noexcept {
  for (std::uint64_t i = 0; i < count; ++i, first += stride_bytes, out += item) std::memcpy(out, first, item);
}

}  // namespace

void copy_strided(std::size_t item, const std::byte* first, std::uint64_t count, std::int64_t stride_bytes,
                  std::byte* out) noexcept {
  switch (item) {
    case 1:
      return copy_strided<1>(first, count, stride_bytes, out);
    case 2:
      return copy_strided<2>(first, count, stride_bytes, out);
    case 4:
      return copy_strided<4>(first, count, stride_bytes, out);
    case 8:
      return copy_strided<8>(first, count, stride_bytes, out);
    default:
      assert(item == 16);
      return copy_strided<16>(first, count, stride_bytes, out);
  }
}

std::uint64_t Walk::count() const noexcept {
  if (is_empty) return 0;
  std::uint64_t count = 1;
  for (const WalkDimension& dimension : dimensions) count *= dimension.size;
  return count;
}

Walk plan_walk(std::size_t item_bytes, const std::byte* data, std::span<const std::int64_t> shape,
               std::span<const std::int64_t> stride) {
  Walk walk{.item_bytes = item_bytes, .first = data};
  std::vector<WalkDimension> sorted;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const auto size = static_cast<std::uint64_t>(shape[i]);
    const std::int64_t stride_bytes = stride[i] * static_cast<std::int64_t>(item_bytes);
    if (size == 0) walk.is_empty = true;
    if (size <= 1) continue;
    if (stride_bytes == 0) {
      walk.weight *= size;
      continue;
    }
    if (stride_bytes < 0) walk.first += (shape[i] - 1) * stride_bytes;
    sorted.push_back({.size = size, .stride_bytes = std::abs(stride_bytes)});
  }
  if (sorted.empty()) sorted.push_back({.size = 1, .stride_bytes = static_cast<std::int64_t>(item_bytes)});
  std::ranges::stable_sort(sorted, std::ranges::greater(), &WalkDimension::stride_bytes);
  for (const WalkDimension& inner : sorted) {
    WalkDimension* outer = walk.dimensions.empty() ? nullptr : &walk.dimensions.back();
    if (outer != nullptr && outer->stride_bytes == inner.stride_bytes * static_cast<std::int64_t>(inner.size)) {
      *outer = {.size = outer->size * inner.size, .stride_bytes = inner.stride_bytes};
    } else {
      walk.dimensions.push_back(inner);
    }
  }
  return walk;
}

}  // namespace tenon
