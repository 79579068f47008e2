// Counting values into bins of equal width.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "query/value_counts.h"
#include "query/value_pieces.h"
#include "tenon/summary.h"

namespace tenon {

// Finds the bin of a value, by the edges and not by what a division says: those come from one rounding each.
class Bins {
 public:
  // REQUIRES: finite, low <= high, count > 0. A range of no width is taken as half a unit to both sides.
  Bins(ValueRange range, std::uint32_t count);

  ValueRange range() const noexcept { return range_; }
  std::size_t size() const noexcept { return edges_.size() - 1; }
  // size() for what is outside, and for NaN.
  std::size_t find(double value) const noexcept;

 private:
  ValueRange range_;
  double half_low_;
  double scale_;
  std::vector<double> edges_;
};

// REQUIRES: pieces.weight() applies to all of them.
Histogram count_bins(const Bins& bins, const ValuePieces& pieces);
Histogram count_bins(const Bins& bins, std::span<const ValueCount> values, std::uint64_t weight);

}  // namespace tenon
