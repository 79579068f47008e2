// Arrays without gaps: their size, and their strides in elements.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace tenon {

// Bytes of all elements, the last one filled up. nullopt where the extents other than 0 multiply to more bits than an
// int64 counts: then strides overflow, whether there are elements or not.
std::optional<std::uint64_t> array_bytes(std::span<const std::int64_t> shape, std::uint64_t item_bits) noexcept;

// The last index runs fastest, or the first one. REQUIRES: array_bytes has a value.
std::vector<std::int64_t> row_major_stride(std::span<const std::int64_t> shape);
std::vector<std::int64_t> column_major_stride(std::span<const std::int64_t> shape);

// Whether these are the elements in that order, none between. Strides along extents of 1 do not matter; an array
// without elements is in any order.
bool is_row_major(std::span<const std::int64_t> shape, std::span<const std::int64_t> stride) noexcept;
bool is_column_major(std::span<const std::int64_t> shape, std::span<const std::int64_t> stride) noexcept;

}  // namespace tenon
