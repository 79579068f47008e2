#include "store/row_statistics.h"

#include <algorithm>

#include "store/value_statistics.h"

namespace tenon {

namespace {

// Elements a view may touch per element of its slot before its statistics are left out.
constexpr std::uint64_t overlap_max = 4;
// How often all rows together may touch what their slot holds.
constexpr std::uint64_t passes_max = 16;

}  // namespace

std::optional<Statistics> row_statistics(const TensorDraft& tensor, const std::byte* slot, std::uint64_t slot_bytes) {
  if (!has_statistics(tensor.dtype)) return std::nullopt;
  const std::uint64_t slot_elements = slot_bytes / item_bytes(tensor.dtype) + 1;
  if (strided_work(tensor.shape, tensor.stride) / overlap_max > slot_elements) return std::nullopt;
  const std::uint64_t offset = std::min(tensor.storage_offset_bytes, slot_bytes);
  return strided_statistics(tensor.dtype, slot + offset, tensor.shape, tensor.stride);
}

bool StatisticsBudget::spend(const TensorDraft& tensor) {
  const std::uint64_t slot_bytes = draft_.slots[tensor.slot].nbytes;
  std::uint64_t& passed = passed_bytes_[tensor.slot];
  std::uint64_t bytes = 0;
  if (__builtin_mul_overflow(strided_work(tensor.shape, tensor.stride), item_bytes(tensor.dtype), &bytes)) return false;
  if (bytes / passes_max > slot_bytes || passed + bytes > passes_max * slot_bytes) return false;
  passed += bytes;
  return true;
}

bool has_same_geometry(const Layout& parent, std::uint32_t row, const TensorDraft& tensor) {
  const auto shape = parent.shape(row);
  const auto stride = parent.stride(row);
  return parent.dtype(row) == tensor.dtype && parent.offset_bytes(row) == tensor.storage_offset_bytes &&
         std::equal(shape.begin(), shape.end(), tensor.shape.begin(), tensor.shape.end()) &&
         std::equal(stride.begin(), stride.end(), tensor.stride.begin(), tensor.stride.end());
}

}  // namespace tenon
