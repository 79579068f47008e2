// The inner loops of summaries, at the speed of memory. Highway is included by summary_kernels.cc alone here; what a
// commit asks for, too, has its kernels in store/value_kernels.h.
#pragma once

#include <cstddef>

#include "query/compensated_sum.h"
#include "tenon/dtype.h"

namespace tenon {

// Adds the magnitudes of `count` elements that are not NaN. No alignment needed. REQUIRES: has_statistics(dtype).
void add_magnitudes(DType dtype, const std::byte* bytes, std::size_t count, CompensatedSum& sum) noexcept;

// Of pairs of elements, none of which has a NaN in it; complex ones as their two parts.
struct ProductTotals {
  CompensatedSum dot{};
  CompensatedSum squares_a{};
  CompensatedSum squares_b{};
};

// Adds `count` pairs. No alignment needed. REQUIRES: has_statistics(dtype).
void add_products(DType dtype, const std::byte* a, const std::byte* b, std::size_t count,
                  ProductTotals& totals) noexcept;

// The values of `count` elements in their order, a complex one's magnitude. No alignment needed. REQUIRES:
// has_statistics(dtype), or a quantized type of 8 bits and more.
void expand_values(DType dtype, const std::byte* bytes, std::size_t count, double* values) noexcept;

}  // namespace tenon
