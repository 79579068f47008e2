// What values add up to while they are counted: their statistics, with what merging parts of them takes.
#pragma once

#include <limits>

#include "tenon/statistics.h"

namespace tenon {

// Sums over values, none of which is NaN.
struct Moments {
  double count = 0;
  double sum = 0;
  double mean = 0;                // this one rounded ...
  double mean_rest = 0;           // ... and what it lacks, as far as known
  double squared_deviations = 0;  // sum of (value - mean)^2
};

// min and max are +infinity and -infinity where there is no value. The mean is kept beside the sum, and in two parts,
// since the sum of many large values, and a mean as one double, lack the digits that deviations are made of.
struct ValueTotals : Statistics {
  ValueTotals() noexcept {
    min = std::numeric_limits<double>::infinity();
    max = -std::numeric_limits<double>::infinity();
  }
  double value_count = 0;  // that are not NaN
  double mean = 0;         // that of the first part ...
  double mean_rest = 0;    // ... and the way from there to the mean of all
};

// Deviations from two means become deviations from the common one (Chan, Golub, LeVeque 1979), all terms of which are
// positive: nothing cancels. Infinities make them NaN.
inline void add_moments(const Moments& part, ValueTotals& totals) noexcept {
  if (part.count == 0) return;
  const double count_before = totals.value_count;
  totals.sum += part.sum;
  totals.value_count += part.count;
  const double delta = (part.mean - totals.mean) + (part.mean_rest - totals.mean_rest);
  const double share = part.count / totals.value_count;
  totals.squared_deviations += part.squared_deviations;
  if (count_before == 0) {
    totals.mean = part.mean;
    totals.mean_rest = part.mean_rest;
  } else {
    totals.mean_rest += delta * share;
    totals.squared_deviations += delta * delta * count_before * share;
  }
}

}  // namespace tenon
