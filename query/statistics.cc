#include "query/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "query/histogram.h"
#include "query/quantiles.h"
#include "query/summary_kernels.h"
#include "query/value_counts.h"
#include "query/value_pieces.h"
#include "store/value_statistics.h"
#include "tenon/error.h"

namespace tenon {

namespace {

constexpr std::uint32_t bins_max = 65'536;

[[noreturn]] void throw_bad(const char* what, std::string got, const char* wanted) {
  throw Error(ErrorKind::invalid_argument, {.what = what, .got = std::move(got), .wanted = wanted});
}

void check(const SummaryRequest& request) {
  for (const double quantile : request.quantiles) {
    if (!(quantile >= 0 && quantile <= 1)) throw_bad("not a quantile", std::to_string(quantile), "0 to 1");
  }
  if (request.bins > bins_max) throw_bad("too many bins", std::to_string(request.bins), "at most 65536");
  if (!request.range) return;
  const auto [low, high] = *request.range;
  if (!std::isfinite(low) || !std::isfinite(high) || low > high) {
    throw_bad("not a range", std::to_string(low) + " to " + std::to_string(high), "two numbers, the smaller one first");
  }
}

// What one reading of the values adds up to: statistics and magnitudes.
struct Sums {
  Statistics statistics{};
  double l1 = 0;
};

Sums add_up(const Values& values, const ValuePieces& pieces, bool with_statistics, bool with_l1) {
  const DType dtype = values.scales.empty() ? values.tensor.dtype : DType::float64;
  std::vector<StatisticsAccumulator> statistics(pieces.size(), StatisticsAccumulator(dtype));
  std::vector<CompensatedSum> magnitudes(pieces.size());
  pieces.for_each([&](std::size_t index) {
    pieces.read(index, [&](const ValueBlock& block) {
      if (with_statistics) statistics[index].add(block.bytes, pieces.weight());
      if (with_l1) add_magnitudes(block.dtype, block.bytes.data(), block.count(), magnitudes[index]);
    });
  });
  StatisticsAccumulator all(dtype);
  for (const StatisticsAccumulator& part : statistics) all.merge(part);
  CompensatedSum l1;
  for (const CompensatedSum& part : magnitudes) l1.add(part, static_cast<double>(pieces.weight()));
  return {all.result(), l1.value()};
}

// From the smallest finite value to the largest; nullopt if there is none.
std::optional<ValueRange> finite_range(const ValuePieces& pieces) {
  std::vector<ValueRange> ranges(pieces.size(),
                                 {std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()});
  pieces.for_each([&](std::size_t index) {
    ValueRange& range = ranges[index];
    pieces.read_doubles(index, [&](std::span<const double> values) {
      for (const double value : values) {
        if (!std::isfinite(value)) continue;
        range.low = std::min(range.low, value);
        range.high = std::max(range.high, value);
      }
    });
  });
  std::optional<ValueRange> all;
  for (const ValueRange& range : ranges) {
    if (range.low > range.high) continue;
    all = all ? ValueRange{std::min(all->low, range.low), std::max(all->high, range.high)} : range;
  }
  return all;
}

std::optional<ValueRange> finite_range(std::span<const ValueCount> values) {
  const auto is_finite = [](const ValueCount& value) { return std::isfinite(value.value); };
  const auto first = std::ranges::find_if(values, is_finite);
  if (first == values.end()) return std::nullopt;
  const auto last = std::find_if(values.rbegin(), values.rend(), is_finite);
  return ValueRange{first->value, last->value};
}

// Types with few values: one table answers everything.
void summarize_counts(const Values& values, const ValuePieces& pieces, const SummaryRequest& request,
                      Summary& summary) {
  const std::vector<ValueCount> counts = count_values(values, pieces);
  summary.quantiles = find_quantiles(request.quantiles, counts, pieces.weight());
  if (request.bins == 0) return;
  const auto range = request.range ? request.range : finite_range(counts);
  summary.histogram = range ? count_bins(Bins(*range, request.bins), counts, pieces.weight()) : Histogram{};
}

void summarize_spread(const ValuePieces& pieces, const SummaryRequest& request, const std::optional<Statistics>& known,
                      Summary& summary) {
  if (!request.quantiles.empty()) summary.quantiles = find_quantiles(request.quantiles, pieces);
  if (request.bins == 0) return;
  auto range = request.range;
  const bool has_range = known && known->inf_count == 0 && known->nan_count < pieces.count();
  if (!range) range = has_range ? ValueRange{known->min, known->max} : finite_range(pieces);
  summary.histogram = range ? count_bins(Bins(*range, request.bins), pieces) : Histogram{};
}

}  // namespace

bool has_values(DType dtype) noexcept {
  return has_statistics(dtype) || dtype == DType::qint8 || dtype == DType::quint8 || dtype == DType::qint32;
}

Summary summarize(const Values& values, const SummaryRequest& request, const ReadPoll& poll) {
  check(request);
  const ValuePieces pieces(values, poll);
  Summary summary{.count = pieces.count()};
  const bool is_spread = !request.quantiles.empty() || request.bins != 0;
  const bool is_table = is_spread && has_few_values(values);
  const bool needs_range = request.bins != 0 && !request.range && !is_table;
  const bool with_statistics = request.statistics || needs_range;
  std::optional<Statistics> statistics;
  if (with_statistics || request.l1) {
    const Sums sums = add_up(values, pieces, with_statistics, request.l1);
    if (with_statistics) statistics = sums.statistics;
    if (request.statistics) summary.statistics = sums.statistics;
    if (request.l1) summary.l1 = sums.l1;
  }
  if (is_table) {
    summarize_counts(values, pieces, request, summary);
  } else if (is_spread) {
    summarize_spread(pieces, request, statistics, summary);
  }
  return summary;
}

}  // namespace tenon
