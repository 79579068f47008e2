// Summaries (tenon/summary.h) of values that lie in memory, wherever they come from: rows of a snapshot, slices of
// them, tensors of foreign files. Nothing is remembered here; see Summaries and query/summary_cache.h for that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "store/difference.h"
#include "tenon/draft.h"
#include "tenon/summary.h"

namespace tenon {

// What a stored number stands for: (stored - zero_point) * scale.
struct ValueScale {
  double scale = 1;
  double zero_point = 0;
};

// A tensor whose values can be read. Copying is cheap; `owner`, if any, keeps what the pointers lead to.
struct Values {
  StridedTensor tensor{};            // narrow shape and stride, and move data, to summarize a slice
  std::vector<ValueScale> scales{};  // none: stored numbers are the values; one; or one for each index along `axis`
  std::uint32_t axis = 0;
  std::shared_ptr<const void> owner{};
};

// False for bits and sub-byte types, and packed quantized ones.
bool has_values(DType dtype) noexcept;

// Of a row of a snapshot, which must outlive the result. nullopt: see Summaries::get.
std::optional<Values> values_of(const Snapshot& snapshot, std::uint32_t row);
// Of a tensor of a foreign file. Bytes that are not in memory are read, those that the tensor touches and no others.
// The draft must outlive the result. Throws limit where these are more than `memory_max`, corrupt where they
// are outside of the slot, and what the source throws.
std::optional<Values> values_of(const Draft& draft, std::uint32_t row, std::uint64_t memory_max);

// REQUIRES: has_values(dtype), bounds were checked. Throws as Summaries::get, and what `poll` throws.
Summary summarize(const Values& values, const SummaryRequest& request, const ReadPoll& poll = {});
// nullopt where the shapes differ. REQUIRES and throws as summarize.
std::optional<PairSummary> summarize_pair(const Values& a, const Values& b, const PairRequest& request,
                                          const ReadPoll& poll = {});

}  // namespace tenon
