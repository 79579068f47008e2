#include "query/histogram.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "query/table_pool.h"

namespace tenon {

// Everything is halved, because the difference of two doubles need not be one.
Bins::Bins(ValueRange range, std::uint32_t count) : range_(range) {
  assert(std::isfinite(range.low) && std::isfinite(range.high) && range.low <= range.high && count > 0);
  // Half a unit is nothing beside a large number.
  const double half = std::max(0.5, std::abs(range.low) * 0x1p-30);
  if (range.low == range.high) range_ = {range.low - half, range.high + half};
  half_low_ = range_.low / 2;
  const double half_width = range_.high / 2 - half_low_;
  scale_ = count / half_width;
  edges_.reserve(count + std::size_t{1});
  const double step = half_width / count;
  for (std::uint32_t i = 0; i < count; ++i) edges_.push_back(range_.low + i * step + i * step);
  edges_.push_back(range_.high);
}

std::size_t Bins::find(double value) const noexcept {
  if (!(value >= range_.low && value <= range_.high)) return size();
  const double place = (value / 2 - half_low_) * scale_;
  // NaN where the width of a range is nearly nothing: then the edges alone decide.
  std::size_t bin = place >= 0 ? static_cast<std::size_t>(std::min(place, static_cast<double>(size() - 1))) : 0;
  while (bin > 0 && value < edges_[bin]) --bin;
  while (bin + 1 < size() && value >= edges_[bin + 1]) ++bin;
  return bin;
}

Histogram count_bins(const Bins& bins, const ValuePieces& pieces) {
  TablePool tables(bins.size() + 1);
  pieces.for_each([&](std::size_t index) {
    tables.with_table([&](TablePool::Table& table) {
      pieces.read_doubles(index, [&](std::span<const double> values) {
        for (const double value : values) ++table[bins.find(value)];
      });
    });
  });
  Histogram histogram{.range = bins.range(), .counts = tables.sum()};
  histogram.counts.pop_back();  // what is outside
  for (std::uint64_t& count : histogram.counts) count *= pieces.weight();
  return histogram;
}

Histogram count_bins(const Bins& bins, std::span<const ValueCount> values, std::uint64_t weight) {
  Histogram histogram{.range = bins.range(), .counts = std::vector<std::uint64_t>(bins.size(), 0)};
  for (const auto& [value, count] : values) {
    const std::size_t bin = bins.find(value);
    if (bin < bins.size()) histogram.counts[bin] += count * weight;
  }
  return histogram;
}

}  // namespace tenon
