#include "tools/histogram.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "tools/progress.h"

namespace tenon::tools {
namespace {

constexpr std::uint64_t interrupt_interval = 1 << 20;  // elements between two looks at Ctrl-C

// Statistics of some values, and the mean of those (Welford).
struct Running {
  Statistics statistics;
  double count = 0;   // that are not NaN
  double rest = 0;    // what rounding took from the sum (Neumaier)
  double origin = 0;  // the first value
  double mean = 0;    // of what the others are beyond it
};

void add(Running& running, double value, std::uint64_t times) {
  Statistics& statistics = running.statistics;
  if (std::isnan(value)) {
    statistics.nan_count += times;
    return;
  }
  statistics.inf_count += std::isinf(value) ? times : 0;
  statistics.zero_count += value == 0 ? times : 0;
  statistics.min = running.count == 0 ? value : std::min(statistics.min, value);
  statistics.max = running.count == 0 ? value : std::max(statistics.max, value);
  const auto weight = static_cast<double>(times);
  const double sum = statistics.sum + value * weight;
  const bool is_sum_larger = std::abs(statistics.sum) >= std::abs(value * weight);
  running.rest += is_sum_larger ? (statistics.sum - sum) + value * weight : (value * weight - sum) + statistics.sum;
  statistics.sum = sum;
  if (running.count == 0) running.origin = value;
  running.count += weight;
  const double shifted = value - running.origin;  // exact for values that are close, however large they are
  const double deviation = shifted - running.mean;
  running.mean += deviation * (weight / running.count);
  statistics.squared_deviations += deviation * (shifted - running.mean) * weight;
}

// The dimensions of a tensor that lead to other elements, and how often each of those occurs.
struct Walk {
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> stride;
  std::uint64_t steps = 1;  // UINT64_MAX if there are more
  std::uint64_t times = 1;
};

Walk plan_walk(const Elements& elements) {
  Walk walk;
  for (std::size_t d = 0; d < elements.shape().size(); ++d) {
    const auto extent = static_cast<std::uint64_t>(elements.shape()[d]);
    std::uint64_t& product = elements.stride()[d] == 0 ? walk.times : walk.steps;
    if (__builtin_mul_overflow(product, extent, &product)) product = UINT64_MAX;
    if (elements.stride()[d] == 0) continue;
    walk.shape.push_back(elements.shape()[d]);
    walk.stride.push_back(elements.stride()[d]);
  }
  if (walk.times == 0) walk.steps = 0;
  return walk;
}

// Calls `visit` with the finite value of every `step`-th element.
template <typename Visit>
void for_each_finite(const Elements& elements, std::uint64_t step, Visit visit) {
  const std::uint64_t count = elements.count();
  for (std::uint64_t i = 0; i < count; i += step) {
    if (i % (interrupt_interval * step) == 0) check_interrupt();
    const auto value = magnitude(elements.at(elements.offset_of(i)), elements.dtype());
    if (value && std::isfinite(*value)) visit(*value);
  }
}

}  // namespace

bool is_too_long_a_walk(const Elements& elements) noexcept { return plan_walk(elements).steps > walked_max; }

std::optional<Statistics> compute_statistics(const Elements& elements) {
  Running running;
  const Walk walk = plan_walk(elements);
  Odometer odometer(walk.shape, walk.stride);
  for (std::uint64_t i = 0; i < walk.steps; ++i, odometer.next()) {
    if (i % interrupt_interval == 0) check_interrupt();
    const auto value = magnitude(elements.at(odometer.offset()), elements.dtype());
    if (!value) return std::nullopt;
    add(running, *value, walk.times);
  }
  if (std::isfinite(running.rest)) running.statistics.sum += running.rest;
  return running.statistics;
}

Summary summarize(const Statistics& statistics, std::uint64_t element_count) {
  Summary summary;
  if (element_count <= statistics.nan_count) return summary;
  summary.min = statistics.min;
  summary.max = statistics.max;
  summary.mean = mean_of(statistics, element_count);
  summary.std = std_of(statistics, element_count);
  summary.norm = norm_of(statistics, element_count);
  return summary;
}

std::optional<Histogram> compute_histogram(const Elements& elements, std::size_t bins, std::uint64_t samples_max) {
  const std::uint64_t count = elements.count();
  if (count < 2 || bins == 0) return std::nullopt;
  const std::uint64_t step = (count - 1) / samples_max + 1;
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  for_each_finite(elements, step, [&](double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  });
  if (!(low < high)) return std::nullopt;
  Histogram histogram{.low = low, .high = high, .counts = std::vector<std::uint64_t>(bins, 0)};
  for_each_finite(elements, step, [&](double value) {
    // Halved, because the difference of two doubles need not be one.
    const double place = (value / 2 - low / 2) / (high / 2 - low / 2);
    const auto bin = static_cast<std::size_t>(place * static_cast<double>(bins));
    ++histogram.counts[std::min(bin, bins - 1)];
    ++histogram.sampled;
  });
  return histogram;
}

std::vector<std::string> draw(const Histogram& histogram, std::size_t height) {
  constexpr std::array blocks = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  constexpr std::size_t eighths = blocks.size() - 1;
  const std::uint64_t tallest = *std::max_element(histogram.counts.begin(), histogram.counts.end());
  std::vector<std::string> lines(height);
  for (std::uint64_t count : histogram.counts) {
    const double share = tallest == 0 ? 0 : static_cast<double>(count) / static_cast<double>(tallest);
    auto filled = static_cast<std::size_t>(std::lround(share * static_cast<double>(height * eighths)));
    if (count > 0) filled = std::max<std::size_t>(filled, 1);  // few is not none
    for (std::size_t line = height; line-- > 0;) {
      const std::size_t here = std::min(filled, eighths);
      lines[line] += blocks[here];
      filled -= here;
    }
  }
  return lines;
}

}  // namespace tenon::tools
