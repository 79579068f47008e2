// Exact quantiles, without sorting and in little memory: values are counted by their leading bits until few are left
// that a wanted rank can be among, and those are collected.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "query/value_counts.h"
#include "query/value_pieces.h"

namespace tenon {

// One for each of `wanted` (0 to 1); NaN where there is no value that is not NaN. Between two neighbours by straight
// line.
std::vector<double> find_quantiles(std::span<const double> wanted, const ValuePieces& pieces);
std::vector<double> find_quantiles(std::span<const double> wanted, std::span<const ValueCount> values,
                                   std::uint64_t weight);
}  // namespace tenon
