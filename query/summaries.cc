#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "formats/quantizer.h"
#include "query/statistics.h"
#include "query/summary_cache.h"
#include "store/codec.h"
#include "store/digest.h"
#include "tenon/summary.h"

namespace tenon {

namespace {

constexpr std::size_t filed_bins_max = 1024;  // of a histogram that is kept in the file

enum class Figure : std::uint32_t { statistics = 1, l1, quantile, histogram, difference, product };

std::uint64_t count_of(const TensorRow& row) noexcept {
  std::uint64_t count = 1;
  for (const std::int64_t size : row.shape) count *= static_cast<std::uint64_t>(size);
  return count;
}

void put_row(ByteWriter& out, const Snapshot& snapshot, const TensorRow& row) {
  const SlotRow slot = snapshot.slot(row.slot);
  out.put(slot.key);
  out.put(slot.nbytes);
  out.put(row.storage_offset_bytes);
  out.put(static_cast<std::uint32_t>(row.dtype));
  out.put(static_cast<std::uint16_t>(row.is_neg ? 1 : 0));
  out.put(static_cast<std::uint16_t>(row.is_conj ? 1 : 0));
  out.put(static_cast<std::uint64_t>(row.shape.size()));
  out.put_bytes(std::as_bytes(row.shape));
  out.put_bytes(std::as_bytes(row.stride));
  out.put_string(row.quantizer);
}

// Of all that a row's values follow from: its bytes, its geometry, and the scales of its channels. Nothing where the
// bytes may have been written to, or the row has none.
std::optional<Digest> content_of(const Snapshot& snapshot, std::uint32_t index) {
  if (snapshot.mode() != Mode::shared) return std::nullopt;
  const TensorRow row = snapshot.row(index);
  if (row.slot == no_slot) return std::nullopt;
  ByteWriter out;
  put_row(out, snapshot, row);
  const auto quantizer = row.quantizer.empty() ? std::nullopt : parse_quantizer(row.quantizer);
  if (quantizer && quantizer->is_per_channel()) {
    for (const char* part : {".scales", ".zero_points"}) {
      const auto other = snapshot.find(std::string(row.name) + part);
      if (!other || snapshot.row(*other).slot == no_slot) return std::nullopt;
      put_row(out, snapshot, snapshot.row(*other));
    }
  }
  return digest_bytes(out.bytes());
}

// What a number is, besides the content that it follows from.
struct Meaning {
  Figure figure;
  std::uint32_t index = 0;
  std::array<double, 3> parameters{};
};

Digest key_of(const Digest& content, const Meaning& meaning) noexcept {
  struct {
    Digest content;
    std::uint32_t figure;
    std::uint32_t index;
    std::array<double, 3> parameters;
  } const whole{content, static_cast<std::uint32_t>(meaning.figure), meaning.index, meaning.parameters};
  static_assert(sizeof whole == 48);
  return digest_bytes(std::as_bytes(std::span(&whole, 1)));
}

// Numbers that are found or kept together.
std::vector<Digest> keys_of(const Digest& content, Meaning meaning, std::size_t count) {
  std::vector<Digest> keys;
  keys.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    meaning.index = static_cast<std::uint32_t>(i);
    keys.push_back(key_of(content, meaning));
  }
  return keys;
}

using StatisticsNumbers = std::array<double, 7>;

StatisticsNumbers numbers_of(const Statistics& s) noexcept {
  return {static_cast<double>(s.nan_count),
          static_cast<double>(s.inf_count),
          static_cast<double>(s.zero_count),
          s.min,
          s.max,
          s.sum,
          s.squared_deviations};
}

Statistics statistics_of(std::span<const double> n) noexcept {
  return {.nan_count = static_cast<std::uint64_t>(n[0]),
          .inf_count = static_cast<std::uint64_t>(n[1]),
          .zero_count = static_cast<std::uint64_t>(n[2]),
          .min = n[3],
          .max = n[4],
          .sum = n[5],
          .squared_deviations = n[6]};
}

Meaning histogram_meaning(const SummaryRequest& request) noexcept {
  Meaning meaning{.figure = Figure::histogram, .parameters = {static_cast<double>(request.bins), NAN, NAN}};
  if (request.range) meaning.parameters = {static_cast<double>(request.bins), request.range->low, request.range->high};
  return meaning;
}

// A row of a snapshot, or a pair of rows, as the cache knows it.
class Remembered {
 public:
  Remembered(SummaryCache& cache, const Digest& content) : cache_(cache), content_(content) {}

  std::optional<std::vector<double>> find(const Meaning& meaning, std::size_t count) const {
    return cache_.find(keys_of(content_, meaning, count));
  }
  void keep(const Meaning& meaning, std::span<const double> numbers) {
    const auto keys = keys_of(content_, meaning, numbers.size());
    for (std::size_t i = 0; i < keys.size(); ++i) entries_.push_back({keys[i], numbers[i]});
  }
  void flush(bool in_file) {
    if (!entries_.empty()) cache_.add(entries_, in_file);
    entries_.clear();
  }

 private:
  SummaryCache& cache_;
  const Digest content_;
  std::vector<SummaryEntry> entries_;
};

// Fills in what is known, and takes it out of the request. A quantile that is missing asks for all of them again.
void recall(const Remembered& row, SummaryRequest& request, Summary& summary) {
  if (request.statistics) {
    if (const auto found = row.find({Figure::statistics}, StatisticsNumbers{}.size())) {
      summary.statistics = statistics_of(*found);
      request.statistics = false;
    }
  }
  if (request.l1) {
    if (const auto found = row.find({Figure::l1}, 1)) {
      summary.l1 = found->front();
      request.l1 = false;
    }
  }
  for (const double quantile : request.quantiles) {
    const auto found = row.find({.figure = Figure::quantile, .parameters = {quantile}}, 1);
    if (!found) break;
    summary.quantiles.push_back(found->front());
  }
  summary.quantiles.size() == request.quantiles.size() ? request.quantiles.clear() : summary.quantiles.clear();
  if (request.bins == 0) return;
  const auto found = row.find(histogram_meaning(request), request.bins + std::size_t{3});
  if (!found) return;
  Histogram histogram;
  if (found->back() != 0) {
    histogram.range = {(*found)[0], (*found)[1]};
    for (std::size_t i = 0; i < request.bins; ++i) {
      histogram.counts.push_back(static_cast<std::uint64_t>((*found)[2 + i]));
    }
  }
  summary.histogram = std::move(histogram);
  request.bins = 0;
}

void remember(Remembered& row, const SummaryRequest& request, const Summary& summary) {
  if (summary.statistics) row.keep({Figure::statistics}, numbers_of(*summary.statistics));
  if (summary.l1) row.keep({Figure::l1}, {{*summary.l1}});
  for (std::size_t i = 0; i < summary.quantiles.size(); ++i) {
    row.keep({.figure = Figure::quantile, .parameters = {request.quantiles[i]}}, {{summary.quantiles[i]}});
  }
  row.flush(true);
  if (!summary.histogram) return;
  std::vector<double> numbers{summary.histogram->range.low, summary.histogram->range.high};
  for (const std::uint64_t count : summary.histogram->counts) numbers.push_back(static_cast<double>(count));
  const bool has_bins = !summary.histogram->counts.empty();
  numbers.resize(request.bins + std::size_t{2}, 0);
  numbers.push_back(has_bins ? 1 : 0);
  row.keep(histogram_meaning(request), numbers);
  row.flush(request.bins <= filed_bins_max);
}

void merge(Summary&& found, Summary& summary) {
  if (found.statistics) summary.statistics = found.statistics;
  if (found.l1) summary.l1 = found.l1;
  if (!found.quantiles.empty()) summary.quantiles = std::move(found.quantiles);
  if (found.histogram) summary.histogram = std::move(found.histogram);
}

bool asks_for_nothing(const SummaryRequest& request) noexcept {
  return !request.statistics && !request.l1 && request.quantiles.empty() && request.bins == 0;
}

// What the commit counted: stored numbers, so not for rows whose values are others.
std::optional<Statistics> committed_statistics(const Snapshot& snapshot, std::uint32_t index, const TensorRow& row) {
  if (!row.quantizer.empty() || row.is_neg || snapshot.mode() != Mode::shared) return std::nullopt;
  return snapshot.statistics(index);
}

using DifferenceNumbers = std::array<double, 4>;

void recall(const Remembered& pair, PairRequest& request, PairSummary& summary) {
  if (request.difference) {
    if (const auto found = pair.find({Figure::difference}, DifferenceNumbers{}.size())) {
      Difference& difference = summary.difference;
      difference.changed_count = static_cast<std::uint64_t>((*found)[0]);
      difference.l2 = (*found)[1];
      difference.max_abs = (*found)[2];
      difference.older_norm = (*found)[3];
      request.difference = false;
    }
  }
  if (request.dot) {
    if (const auto found = pair.find({Figure::product}, 3)) {
      summary.dot = (*found)[0];
      summary.norm_a = (*found)[1];
      summary.norm_b = (*found)[2];
      request.dot = false;
    }
  }
}

void remember(Remembered& pair, const PairRequest& request, const PairSummary& summary) {
  const Difference& difference = summary.difference;
  if (request.difference) {
    pair.keep({Figure::difference}, DifferenceNumbers{static_cast<double>(difference.changed_count), difference.l2,
                                                      difference.max_abs, difference.older_norm});
  }
  if (request.dot) pair.keep({Figure::product}, {{summary.dot, summary.norm_a, summary.norm_b}});
  pair.flush(true);
}

std::optional<Digest> content_of_pair(const std::optional<Digest>& a, const std::optional<Digest>& b) {
  if (!a || !b) return std::nullopt;
  const std::array both{*a, *b};
  return digest_bytes(std::as_bytes(std::span(both)));
}

}  // namespace

Summaries::Summaries() : cache_(std::make_shared<SummaryCache>()) {}

Summaries::Summaries(const Store& store)
    : cache_(store.is_bundle() ? std::make_shared<SummaryCache>()
                               : std::make_shared<SummaryCache>(store.path() / "summaries")) {}

std::optional<Summary> Summaries::get(const Snapshot& snapshot, std::uint32_t index, const SummaryRequest& request,
                                      const ReadPoll& poll) {
  const TensorRow row = snapshot.row(index);
  if (row.slot == no_slot || !has_values(row.dtype)) return std::nullopt;
  Summary summary{.count = count_of(row)};
  SummaryRequest missing = request;
  if (request.statistics) summary.statistics = committed_statistics(snapshot, index, row);
  if (summary.statistics) missing.statistics = false;
  if (asks_for_nothing(missing)) return summary;
  std::optional<Remembered> remembered;
  if (const auto content = content_of(snapshot, index)) remembered.emplace(*cache_, *content);
  if (remembered) recall(*remembered, missing, summary);
  if (asks_for_nothing(missing)) return summary;
  const auto values = values_of(snapshot, index);
  if (!values) return std::nullopt;
  Summary found = summarize(*values, missing, poll);
  if (remembered) remember(*remembered, missing, found);
  merge(std::move(found), summary);
  return summary;
}

std::optional<PairSummary> Summaries::pair(const Snapshot& snapshot_a, std::uint32_t row_a, const Snapshot& snapshot_b,
                                           std::uint32_t row_b, const PairRequest& request, const ReadPoll& poll) {
  const TensorRow a = snapshot_a.row(row_a), b = snapshot_b.row(row_b);
  if (!std::ranges::equal(a.shape, b.shape) || a.is_conj != b.is_conj) return std::nullopt;
  PairRequest missing = request;
  PairSummary summary;
  std::optional<Remembered> remembered;
  if (const auto content = content_of_pair(content_of(snapshot_a, row_a), content_of(snapshot_b, row_b))) {
    remembered.emplace(*cache_, *content);
    recall(*remembered, missing, summary);
  }
  if (missing.difference || missing.dot) {
    const auto values_a = values_of(snapshot_a, row_a), values_b = values_of(snapshot_b, row_b);
    if (!values_a || !values_b) return std::nullopt;
    const auto found = summarize_pair(*values_a, *values_b, missing, poll);
    if (!found) return std::nullopt;
    if (remembered) remember(*remembered, missing, *found);
    if (missing.difference) summary.difference = found->difference;
    if (missing.dot) summary.dot = found->dot, summary.norm_a = found->norm_a, summary.norm_b = found->norm_b;
  }
  summary.difference.count = count_of(a);
  return summary;
}

}  // namespace tenon
