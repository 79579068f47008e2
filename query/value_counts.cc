#include "query/value_counts.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "query/summary_kernels.h"
#include "query/table_pool.h"

namespace tenon {

namespace {

// Two halves of the table, since increments of one counter wait for each other.
template <typename Pattern>
void count_patterns(const ValueBlock& block, std::size_t pattern_count, TablePool::Table& table) {
  const std::size_t count = block.bytes.size() / sizeof(Pattern);
  const auto pattern_at = [&](std::size_t i) {
    Pattern pattern;
    std::memcpy(&pattern, block.bytes.data() + i * sizeof pattern, sizeof pattern);
    return pattern;
  };
  std::size_t i = 0;
  for (; i + 2 <= count; i += 2) {
    ++table[pattern_at(i)];
    ++table[pattern_count + pattern_at(i + 1)];
  }
  if (i < count) ++table[pattern_at(i)];
}

// What each pattern stands for.
std::vector<double> pattern_values(const Values& values, std::size_t pattern_count) {
  std::vector<double> worth(pattern_count);
  for (std::uint32_t pattern = 0; pattern < pattern_count; ++pattern) {
    std::byte bytes[sizeof pattern];
    std::memcpy(bytes, &pattern, sizeof pattern);
    static_assert(std::endian::native == std::endian::little);
    expand_values(values.tensor.dtype, bytes, 1, &worth[pattern]);
    if (!values.scales.empty()) {
      worth[pattern] = (worth[pattern] - values.scales.front().zero_point) * values.scales.front().scale;
    }
  }
  return worth;
}

std::vector<ValueCount> in_order(const std::vector<double>& worth, const TablePool::Table& counts) {
  std::vector<ValueCount> values;
  for (std::size_t pattern = 0; pattern < worth.size(); ++pattern) {
    const std::uint64_t count = counts[pattern] + counts[worth.size() + pattern];
    if (count != 0 && !std::isnan(worth[pattern])) values.push_back({worth[pattern], count});
  }
  std::ranges::sort(values, {}, &ValueCount::value);
  return values;
}

}  // namespace

bool has_few_values(const Values& values) noexcept {
  const DType dtype = values.tensor.dtype;
  return values.scales.size() <= 1 && item_bytes(dtype) <= 2;
}

std::vector<ValueCount> count_values(const Values& values, const ValuePieces& pieces) {
  const bool is_byte = item_bytes(values.tensor.dtype) == 1;
  const std::size_t pattern_count = is_byte ? 256 : 65536;
  TablePool tables(2 * pattern_count);
  pieces.for_each([&](std::size_t index) {
    tables.with_table([&](TablePool::Table& table) {
      pieces.read_stored(index, [&](const ValueBlock& block) {
        is_byte ? count_patterns<std::uint8_t>(block, pattern_count, table)
                : count_patterns<std::uint16_t>(block, pattern_count, table);
      });
    });
  });
  return in_order(pattern_values(values, pattern_count), tables.sum());
}

}  // namespace tenon
