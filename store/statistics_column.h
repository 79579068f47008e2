// What a commit learned about the values of its tensors, as it stands in the statistics section of a segment.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "store/segment.h"
#include "tenon/statistics.h"

namespace tenon {

// Borrows the section: the segment must outlive it. Threads: const methods from any.
class StatisticsColumn {
 public:
  StatisticsColumn() = default;  // of a snapshot without statistics
  // Checks the section's checksum and size. Throws corrupt.
  static StatisticsColumn open(const Segment& segment, std::uint64_t tensor_count);

  // nullopt where none were kept for that row. REQUIRES: row < tensor_count.
  std::optional<Statistics> at(std::uint32_t row) const;

 private:
  std::span<const std::byte> rows_;
  std::uint64_t tensor_count_ = 0;
};

}  // namespace tenon
