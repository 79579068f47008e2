// What a tensor's values come to, worked out when it is asked for: statistics, 1-norm, quantiles, histogram, and how
// two tensors lie to each other.
//
// Values: booleans are 0 and 1, complex numbers count by magnitude, quantized ones by what they stand for, negated
// views negated. Repetitions along an expanded dimension count. NaNs are counted, and otherwise left out.
// Accuracy: counts, min, max and quantiles are exact (64-bit integers are rounded to double). Sums are made of doubles:
// each of 16 KiB of elements at most, whose sums are then added with compensation; relative to the sum of magnitudes
// their error is below 1e-12. What deviates from the mean is summed as such, so nothing cancels.
// Threads: safe from any. Large tensors are read by several threads; results do not depend on how many.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "tenon/diff.h"
#include "tenon/export.h"
#include "tenon/snapshot.h"
#include "tenon/statistics.h"
#include "tenon/store.h"

namespace tenon {

struct ValueRange {
  double low = 0;
  double high = 0;
};

// What to work out. Nothing else is.
struct SummaryRequest {
  bool statistics = false;            // counts, min, max, sum, squared deviations; the commit has most of them
  bool l1 = false;                    // sum of magnitudes
  std::vector<double> quantiles{};    // 0 to 1, between neighbours by straight line, as in numpy
  std::uint32_t bins = 0;             // of a histogram; 0: none
  std::optional<ValueRange> range{};  // of the histogram; by itself from the smallest finite value to the largest
};

// Counts in bins of equal width; a value on an edge belongs to the bin above it, `high` to the last. What is outside is
// not counted. A range of no width is taken as half a unit to both sides, as in numpy.
struct Histogram {
  ValueRange range{};
  std::vector<std::uint64_t> counts{};
};

struct Summary {
  std::uint64_t count = 0;  // elements, NaNs among them
  std::optional<Statistics> statistics{};
  std::optional<double> l1{};            // infinite where an infinity takes part
  std::vector<double> quantiles{};       // as they were asked for; NaN where there is no value
  std::optional<Histogram> histogram{};  // no bins where there is no finite value
};

// Of two tensors of one shape. Pairs of which one is NaN take part in `difference.changed_count` alone.
struct PairSummary {
  Difference difference{};  // of the second from the first
  double dot = 0;           // sum of products; of complex numbers, the real part of conj(a) * b
  double norm_a = 0;        // over the same pairs as `dot`
  double norm_b = 0;

  // NaN where one of the norms is 0.
  double cosine() const noexcept { return dot / norm_a / norm_b; }
  // Of the elements; 0 of none.
  double changed_share() const noexcept {
    return difference.count == 0
               ? 0
               : static_cast<double>(difference.changed_count) / static_cast<double>(difference.count);
  }
};

struct PairRequest {
  bool difference = false;
  bool dot = false;  // and the norms
};

// Called every few milliseconds in the caller's thread while values are read. What it throws comes out.
using ReadPoll = std::function<void()>;

class SummaryCache;

// Answers, and remembers: by the bytes of the storage (their digest) and the geometry of the tensor, so that all
// snapshots with the same bytes have it from one reading. What was found is kept in the store's directory, in a file
// that may be deleted at any time; where that cannot be written, or for a bundle, only for the life of this object.
// Snapshots opened as Mode::private_ or copy are read each time: their values may have been changed.
// Errors: tenon::Error. A damaged file is left out and written anew.
class TENON_API Summaries {
 public:
  Summaries();  // without a file
  explicit Summaries(const Store& store);

  // nullopt for a row without data or without numbers (bits and sub-byte types, packed quantized ones). Throws
  // invalid_argument for a quantile outside of 0 to 1, more than 65,536 bins, or a range that is none; limit where more
  // than 2^36 elements would be read.
  std::optional<Summary> get(const Snapshot& snapshot, std::uint32_t row, const SummaryRequest& request,
                             const ReadPoll& poll = {});
  // nullopt besides where the shapes differ.
  std::optional<PairSummary> pair(const Snapshot& snapshot_a, std::uint32_t row_a, const Snapshot& snapshot_b,
                                  std::uint32_t row_b, const PairRequest& request, const ReadPoll& poll = {});

 private:
  std::shared_ptr<SummaryCache> cache_;
};

}  // namespace tenon
