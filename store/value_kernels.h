// Adding up and comparing dense values at the speed of memory. Highway (runtime dispatch) is included by
// value_kernels.cc alone.
#pragma once

#include <cstddef>

#include "store/value_totals.h"
#include "tenon/dtype.h"

namespace tenon {

// Adds `count` elements to `totals`. No alignment needed. REQUIRES: has_vector_kernel(dtype); at most 2^30 elements.
void add_dense(DType dtype, const std::byte* bytes, std::size_t count, ValueTotals& totals) noexcept;

// All types with statistics but the 8-bit floats.
bool has_vector_kernel(DType dtype) noexcept;

struct DenseDifference {
  double max_abs = 0;
  double sum_squares = 0;  // of newer - older
  double older_sum_squares = 0;
};

// Adds what `count` pairs of elements differ by to `totals`; pairs with a NaN in it are left out. No alignment needed.
// REQUIRES: has_difference_kernel(dtype).
void add_dense_difference(DType dtype, const std::byte* older, const std::byte* newer, std::size_t count,
                          DenseDifference& totals) noexcept;

// Real types of 16 bits and more, but for 16-bit integers.
bool has_difference_kernel(DType dtype) noexcept;

}  // namespace tenon
