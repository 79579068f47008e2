// What one stored element is worth: the scalar meaning of every type that has statistics, but for the 8-bit floats.
// Used for what fills no vector, and where there are no vectors.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "store/value_totals.h"

namespace tenon {

template <typename T>
struct PlainElement {
  using Stored = T;
  static double value(Stored stored) noexcept { return static_cast<double>(stored); }
};

struct Float16Element {
  using Stored = std::uint16_t;
  static double value(Stored stored) noexcept {
    const auto magnitude = static_cast<std::uint32_t>(stored & 0x7FFF)
                           << 13;  // where float has it, less 112 in the exponent
    const bool is_finite = (stored & 0x7C00) != 0x7C00;
    const float unsigned_value =
        is_finite ? std::bit_cast<float>(magnitude) * 0x1p112F : std::bit_cast<float>(magnitude | 0x7F800000u);
    return static_cast<double>((stored & 0x8000) != 0 ? -unsigned_value : unsigned_value);
  }
};

struct BFloat16Element {
  using Stored = std::uint16_t;
  static double value(Stored stored) noexcept {
    return static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(stored) << 16));
  }
};

// Any byte other than 0 is true.
struct BoolElement {
  using Stored = std::uint8_t;
  static double value(Stored stored) noexcept { return stored == 0 ? 0 : 1; }
};

// Complex values count by magnitude; one with a NaN part is NaN, also where the other part is infinite.
template <typename Part>
struct ComplexElement {
  struct Stored {
    typename Part::Stored real;
    typename Part::Stored imaginary;
  };
  static double value(Stored stored) noexcept {
    const double real = Part::value(stored.real);
    const double imaginary = Part::value(stored.imaginary);
    return std::isnan(real) || std::isnan(imaginary) ? real + imaginary : std::hypot(real, imaginary);
  }
};

// Counts `value` `times` times. Infinities take part in all but the count of NaNs.
inline void add_value(double value, std::uint64_t times, ValueTotals& totals) noexcept {
  if (std::isnan(value)) {
    totals.nan_count += times;
    return;
  }
  if (std::isinf(value)) totals.inf_count += times;
  if (value == 0) totals.zero_count += times;
  totals.min = std::min(totals.min, value);
  totals.max = std::max(totals.max, value);
  const auto count = static_cast<double>(times);
  const double deviation = value - value;  // NaN of an infinity
  add_moments({.count = count, .sum = value * count, .mean = value, .squared_deviations = deviation}, totals);
}

}  // namespace tenon
