// What a commit learns about a tensor's values, without a second read of its bytes.
#pragma once

#include <cstdint>

namespace tenon {

// Over the logical elements of one tensor (an expanded dimension counts every repetition). NaNs are counted
// and otherwise ignored; infinities take part in min, max, sum. Complex values count by magnitude. Booleans
// are 0 and 1. Quantized and bits types have no statistics (is_known == 0).
// 64-bit integers: min and max are rounded to double.
struct Statistics {
  std::uint64_t nan_count = 0;
  std::uint64_t inf_count = 0;
  std::uint64_t zero_count = 0;
  double min = 0;  // 0 where there is no value that is not NaN
  double max = 0;
  double sum = 0;
  double sum_squares = 0;
};
static_assert(sizeof(Statistics) == 56);

}  // namespace tenon
