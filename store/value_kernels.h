// Adding up dense values at the speed of memory. Highway (runtime dispatch) is included by value_kernels.cc alone.
#pragma once

#include <cstddef>

#include "store/value_totals.h"
#include "tenon/dtype.h"

namespace tenon {

// Adds `count` elements to `totals`. No alignment needed. REQUIRES: has_vector_kernel(dtype); at most 2^30 elements.
void add_dense(DType dtype, const std::byte* bytes, std::size_t count, ValueTotals& totals) noexcept;

// All types with statistics but the 8-bit floats.
bool has_vector_kernel(DType dtype) noexcept;

}  // namespace tenon
