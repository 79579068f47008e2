// Strides of arrays without gaps, in elements.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tenon {

// The last index runs fastest, or the first one. An array without elements may have extents of any size: where a
// stride would overflow it is 1.
std::vector<std::int64_t> row_major_stride(std::span<const std::int64_t> shape);
std::vector<std::int64_t> column_major_stride(std::span<const std::int64_t> shape);

// Whether these are the elements in that order, none between. Strides along extents of 1 do not matter; an array
// without elements is in any order.
bool is_row_major(std::span<const std::int64_t> shape, std::span<const std::int64_t> stride) noexcept;
bool is_column_major(std::span<const std::int64_t> shape, std::span<const std::int64_t> stride) noexcept;

}  // namespace tenon
