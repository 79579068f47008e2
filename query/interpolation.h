// What lies between two neighbouring values, for quantiles.
#pragma once

#include <cmath>
#include <limits>

namespace tenon {

// `share` (0 to 1) of the way from `a` to `b`, which is not less. As numpy does it, so that the result is exact at both
// ends; but what is between a number and an infinity is that infinity, and NaN between the two infinities.
inline double between(double a, double b, double share) noexcept {
  if (a == b || share == 0) return a;
  if (std::isinf(a) && std::isinf(b)) return std::numeric_limits<double>::quiet_NaN();
  if (std::isinf(a) || std::isinf(b)) return std::isinf(a) ? a : b;
  return share < 0.5 ? a + (b - a) * share : b - (b - a) * (1 - share);
}

}  // namespace tenon
