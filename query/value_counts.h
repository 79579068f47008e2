// How often each value occurs, for types with at most 65,536 of them: quantiles and histograms out of one reading.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "query/value_pieces.h"

namespace tenon {

struct ValueCount {
  double value;  // not NaN
  std::uint64_t count;
};

// True for types of 8 and 16 bits that have no scale for each channel.
bool has_few_values(const Values& values) noexcept;

// By the value, those that occur. REQUIRES: has_few_values(values).
std::vector<ValueCount> count_values(const Values& values, const ValuePieces& pieces);

}  // namespace tenon
