// Statistics over values, gathered while bytes pass through the cache; see value_kernels.h for the inner loops.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "store/value_totals.h"
#include "tenon/dtype.h"
#include "tenon/statistics.h"

namespace tenon {

// False for quantized and bits types, and the sub-byte shell types (uint1..7, int1..7, quint4x2, quint2x4,
// float4_e2m1fn_x2).
bool has_statistics(DType dtype) noexcept;
// What each byte of an 8-bit float is worth; empty for every other type.
std::span<const double> float8_values(DType dtype) noexcept;

// Adds up runs of dense elements. Order of runs does not matter for the counts and min/max; sums use double
// accumulators (several lanes), so they may differ in the last bits with the order.
class StatisticsAccumulator {
 public:
  // REQUIRES: has_statistics(dtype).
  explicit StatisticsAccumulator(DType dtype) noexcept : dtype_(dtype) {}
  // REQUIRES: bytes.size() is a multiple of item_bytes(dtype). No alignment needed. `weight`: how many times every
  // element counts (expanded dimensions).
  void add(std::span<const std::byte> bytes, std::uint64_t weight = 1) noexcept;
  // Elements that are `stride_bytes` apart.
  void add_strided(const std::byte* first, std::uint64_t count, std::int64_t stride_bytes,
                   std::uint64_t weight = 1) noexcept;
  void merge(const StatisticsAccumulator& other) noexcept;
  Statistics result() const noexcept;

 private:
  DType dtype_;
  ValueTotals totals_;
};

// Of any strided tensor in memory: dimensions of stride 0 become a weight, dense ones are merged. `shape` and `stride`
// in elements; `data` points to the first element. REQUIRES: bounds were checked.
Statistics strided_statistics(DType dtype, const std::byte* data, std::span<const std::int64_t> shape,
                              std::span<const std::int64_t> stride) noexcept;
// How many elements strided_statistics would touch (product of the dimensions with stride other than 0, saturating).
std::uint64_t strided_work(std::span<const std::int64_t> shape, std::span<const std::int64_t> stride) noexcept;

}  // namespace tenon
