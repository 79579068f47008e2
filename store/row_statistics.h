// Statistics of tensors whose bytes were not passed by the storage writer: views with gaps, and slots that were there
// already.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "store/layout.h"
#include "tenon/draft.h"
#include "tenon/statistics.h"

namespace tenon {

// `slot` points to the slot's first byte, mapped. nullopt for dtypes without statistics, and for views that touch far
// more elements than their slot holds (overlapping windows), which would cost more than the commit.
std::optional<Statistics> row_statistics(const TensorDraft& tensor, const std::byte* slot, std::uint64_t slot_bytes);

// What statistics may cost: rows that look at the same bytes again and again have none. A file may hold thousands of
// tensors over one long storage.
class StatisticsBudget {
 public:
  explicit StatisticsBudget(const Draft& draft) : draft_(draft), passed_bytes_(draft.slots.size()) {}
  // Counts what a row looks at. False if its slot has been looked at often enough. REQUIRES: the tensor has a slot.
  bool spend(const TensorDraft& tensor);

 private:
  const Draft& draft_;
  std::vector<std::uint64_t> passed_bytes_;  // by slot
};

// True if a row of the parent has the very geometry of the tensor, so that over equal bytes it has equal statistics.
bool has_same_geometry(const Layout& parent, std::uint32_t row, const TensorDraft& tensor);

}  // namespace tenon
