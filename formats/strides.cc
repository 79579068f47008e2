#include "formats/strides.h"

#include <algorithm>

namespace tenon {

namespace {

std::int64_t next_step(std::int64_t step, std::int64_t extent) noexcept {
  return step * std::max<std::int64_t>(extent, 1);
}

bool is_in_step(std::int64_t extent, std::int64_t stride, std::int64_t step) noexcept {
  return extent == 1 || stride == step;
}

bool is_empty(std::span<const std::int64_t> shape) noexcept {
  return std::find(shape.begin(), shape.end(), 0) != shape.end();
}

}  // namespace

std::optional<std::uint64_t> array_bytes(std::span<const std::int64_t> shape, std::uint64_t item_bits) noexcept {
  auto bits = static_cast<std::int64_t>(item_bits);
  for (const std::int64_t extent : shape) {
    if (__builtin_mul_overflow(bits, std::max<std::int64_t>(extent, 1), &bits)) return std::nullopt;
  }
  return is_empty(shape) ? 0 : (static_cast<std::uint64_t>(bits) + 7) / 8;
}

std::vector<std::int64_t> row_major_stride(std::span<const std::int64_t> shape) {
  std::vector<std::int64_t> stride(shape.size());
  std::int64_t step = 1;
  for (std::size_t i = shape.size(); i-- > 0; step = next_step(step, shape[i])) stride[i] = step;
  return stride;
}

std::vector<std::int64_t> column_major_stride(std::span<const std::int64_t> shape) {
  std::vector<std::int64_t> stride(shape.size());
  std::int64_t step = 1;
  for (std::size_t i = 0; i < shape.size(); step = next_step(step, shape[i]), ++i) stride[i] = step;
  return stride;
}

bool is_row_major(std::span<const std::int64_t> shape, std::span<const std::int64_t> stride) noexcept {
  if (is_empty(shape)) return true;
  std::int64_t step = 1;
  for (std::size_t i = shape.size(); i-- > 0; step = next_step(step, shape[i])) {
    if (!is_in_step(shape[i], stride[i], step)) return false;
  }
  return true;
}

bool is_column_major(std::span<const std::int64_t> shape, std::span<const std::int64_t> stride) noexcept {
  if (is_empty(shape)) return true;
  std::int64_t step = 1;
  for (std::size_t i = 0; i < shape.size(); step = next_step(step, shape[i]), ++i) {
    if (!is_in_step(shape[i], stride[i], step)) return false;
  }
  return true;
}

}  // namespace tenon
