#include "store/statistics_column.h"

#include <cstring>

#include "tenon/error.h"

namespace tenon {

using format::SectionKind;

StatisticsColumn StatisticsColumn::open(const Segment& segment, std::uint64_t tensor_count) {
  StatisticsColumn column;
  if (!segment.has_section(SectionKind::statistics)) return column;
  const auto bytes = segment.section(SectionKind::statistics);
  if (bytes.size() != sizeof(format::StatisticsHeader) + tensor_count * (sizeof(Statistics) + 1)) {
    throw Error(ErrorKind::corrupt, {.what = "statistics have a wrong size",
                                     .file = segment.path().string(),
                                     .offset = segment.section_offset(SectionKind::statistics)});
  }
  column.rows_ = bytes.subspan(sizeof(format::StatisticsHeader));
  column.tensor_count_ = tensor_count;
  return column;
}

std::optional<Statistics> StatisticsColumn::at(std::uint32_t row) const {
  if (rows_.empty() || rows_[tensor_count_ * sizeof(Statistics) + row] == std::byte{0}) return std::nullopt;
  Statistics result;
  std::memcpy(&result, rows_.data() + row * sizeof(Statistics), sizeof result);
  return result;
}

}  // namespace tenon
