// How the values of a tensor are spread: statistics where the store kept none, and a histogram for the terminal.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tenon/statistics.h"
#include "tools/elements.h"

namespace tenon::tools {

// More elements than this are not walked: some seconds.
inline constexpr std::uint64_t walked_max = std::uint64_t{1} << 30;

// Whether that is too many elements to look at, those that an expanded dimension repeats counted once.
bool is_too_long_a_walk(const Elements& elements) noexcept;
// nullopt for packed, raw and quantized types. Reads every element once that an expanded dimension repeats; throws
// Interrupted. REQUIRES: !is_too_long_a_walk(elements).
std::optional<Statistics> compute_statistics(const Elements& elements);

// What is told of statistics; nullopt where there is no value that is not NaN.
struct Summary {
  std::optional<double> min, max, mean, std, norm;
};
Summary summarize(const Statistics& statistics, std::uint64_t element_count);

// Counts of the finite values in equal bins over [low, high]; the last bin includes `high`.
struct Histogram {
  double low = 0;
  double high = 0;
  std::vector<std::uint64_t> counts;
  std::uint64_t sampled = 0;  // elements looked at
};

// Looks at `samples_max` evenly spaced elements at most. nullopt where there are not two different finite values.
std::optional<Histogram> compute_histogram(const Elements& elements, std::size_t bins, std::uint64_t samples_max);

// Lines of block characters, one column per bin, top first.
std::vector<std::string> draw(const Histogram& histogram, std::size_t height);

}  // namespace tenon::tools
