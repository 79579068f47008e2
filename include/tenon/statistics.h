// What a commit learns about a tensor's values, without a second read of its bytes.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace tenon {

// Over the logical elements of one tensor (an expanded dimension counts every repetition). NaNs are counted
// and otherwise ignored; infinities take part in min, max and sum, and make squared_deviations NaN. Complex values
// count by magnitude. Booleans are 0 and 1. Quantized and bits types have no statistics (is_known == 0). 64-bit
// integers: min and max are rounded to double.
struct Statistics {
  std::uint64_t nan_count = 0;
  std::uint64_t inf_count = 0;
  std::uint64_t zero_count = 0;
  double min = 0;  // 0 where there is no value that is not NaN
  double max = 0;
  double sum = 0;
  double squared_deviations = 0;  // sum of (value - mean)^2, from which nothing has cancelled
};
static_assert(sizeof(Statistics) == 56);

// Of a tensor with `element_count` elements, over those that are not NaN; NaN where there are none.
inline double mean_of(const Statistics& statistics, std::uint64_t element_count) noexcept {
  return statistics.sum / static_cast<double>(element_count - statistics.nan_count);
}
// Of the population; NaN where an infinity takes part.
inline double std_of(const Statistics& statistics, std::uint64_t element_count) noexcept {
  return std::sqrt(statistics.squared_deviations / static_cast<double>(element_count - statistics.nan_count));
}
// The 2-norm: the mean and what deviates from it stand at right angles.
inline double norm_of(const Statistics& statistics, std::uint64_t element_count) noexcept {
  const double count = static_cast<double>(element_count - statistics.nan_count);
  if (count == 0) return std::numeric_limits<double>::quiet_NaN();
  if (statistics.inf_count != 0) return std::numeric_limits<double>::infinity();
  return std::hypot(statistics.sum / std::sqrt(count), std::sqrt(statistics.squared_deviations));
}

}  // namespace tenon
