#include "store/value_statistics.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>

#include "store/value_elements.h"
#include "store/value_kernels.h"
#include "store/value_walk.h"

namespace tenon {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr std::size_t slice_bytes_max = std::size_t{1} << 30;  // lanes that count have 32 bits

// An 8-bit floating type: sign, then exponent and mantissa (float8_e8m0fnu: exponent only).
struct Float8Format {
  int mantissa_bits;
  int bias;
  bool has_sign;
  bool has_infinity;  // largest exponent: infinity, and NaN where the mantissa is not 0
  unsigned nan_mask;  // without infinity: NaN where (byte & mask) == nan
  unsigned nan;
};

constexpr Float8Format float8_format(DType dtype) {
  switch (dtype) {
    case DType::float8_e5m2:
      return {2, 15, true, true, 0, 0};
    case DType::float8_e4m3fn:
      return {3, 7, true, false, 0x7F, 0x7F};
    case DType::float8_e5m2fnuz:
      return {2, 16, true, false, 0xFF, 0x80};
    case DType::float8_e4m3fnuz:
      return {3, 8, true, false, 0xFF, 0x80};
    default:
      return {0, 127, false, false, 0xFF, 0xFF};
  }
}

constexpr double power_of_two(int exponent) {
  double power = 1;
  for (; exponent > 0; --exponent) power *= 2;
  for (; exponent < 0; ++exponent) power /= 2;
  return power;
}

constexpr double decode_float8(const Float8Format& format, unsigned byte) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  if (!format.has_infinity && (byte & format.nan_mask) == format.nan) return nan;
  const double sign = format.has_sign && byte >= 0x80 ? -1 : 1;
  const unsigned magnitude = format.has_sign ? byte & 0x7F : byte;
  const int exponent = static_cast<int>(magnitude >> format.mantissa_bits);
  const unsigned mantissa = magnitude & ((1u << format.mantissa_bits) - 1);
  if (format.has_infinity && magnitude >= 0x7C) return mantissa != 0 ? nan : sign * infinity;
  const double unit = power_of_two(-format.mantissa_bits);
  // float8_e8m0fnu has no subnormals: its 0 is 2^-127.
  if (exponent == 0 && format.has_sign) return sign * mantissa * unit * power_of_two(1 - format.bias);
  return sign * (1 + mantissa * unit) * power_of_two(exponent - format.bias);
}

using Float8Table = std::array<double, 256>;

template <DType dtype>
constexpr Float8Table float8_table() {
  Float8Table table{};
  for (unsigned byte = 0; byte < 256; ++byte) table[byte] = decode_float8(float8_format(dtype), byte);
  return table;
}

// nullptr for all other types.
const Float8Table* find_float8_table(DType dtype) noexcept {
  static constexpr Float8Table e5m2 = float8_table<DType::float8_e5m2>();
  static constexpr Float8Table e4m3fn = float8_table<DType::float8_e4m3fn>();
  static constexpr Float8Table e5m2fnuz = float8_table<DType::float8_e5m2fnuz>();
  static constexpr Float8Table e4m3fnuz = float8_table<DType::float8_e4m3fnuz>();
  static constexpr Float8Table e8m0fnu = float8_table<DType::float8_e8m0fnu>();
  switch (dtype) {
    case DType::float8_e5m2:
      return &e5m2;
    case DType::float8_e4m3fn:
      return &e4m3fn;
    case DType::float8_e5m2fnuz:
      return &e5m2fnuz;
    case DType::float8_e4m3fnuz:
      return &e4m3fnuz;
    case DType::float8_e8m0fnu:
      return &e8m0fnu;
    default:
      return nullptr;
  }
}

// 256 possible values: count how often each occurs. Eight histograms, since increments of one counter wait for each
// other.
void add_float8(const Float8Table& table, std::span<const std::byte> bytes, ValueTotals& totals) noexcept {
  std::array<std::array<std::uint32_t, 256>, 8> histograms{};
  const std::size_t whole = bytes.size() / 8 * 8;
  for (std::size_t i = 0; i < whole; i += 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + i, sizeof word);
    for (unsigned lane = 0; lane < 8; ++lane) ++histograms[lane][word >> (8 * lane) & 0xFF];
  }
  for (const std::byte byte : bytes.subspan(whole)) ++histograms[0][std::to_integer<std::uint8_t>(byte)];
  for (std::size_t byte = 0; byte < 256; ++byte) {
    std::uint64_t times = 0;
    for (const auto& histogram : histograms) times += histogram[byte];
    if (times != 0) add_value(table[byte], times, totals);
  }
}

void absorb(const ValueTotals& part, std::uint64_t weight, ValueTotals& totals) {
  totals.nan_count += weight * part.nan_count;
  totals.inf_count += weight * part.inf_count;
  totals.zero_count += weight * part.zero_count;
  totals.min = std::min(totals.min, part.min);
  totals.max = std::max(totals.max, part.max);
  const auto times = static_cast<double>(weight);
  add_moments({.count = times * part.value_count,
               .sum = times * part.sum,
               .mean = part.mean,
               .mean_rest = part.mean_rest,
               .squared_deviations = times * part.squared_deviations},
              totals);
}

}  // namespace

std::span<const double> float8_values(DType dtype) noexcept {
  const Float8Table* const table = find_float8_table(dtype);
  return table == nullptr ? std::span<const double>{} : std::span<const double>(*table);
}

bool has_statistics(DType dtype) noexcept { return has_vector_kernel(dtype) || find_float8_table(dtype) != nullptr; }

void StatisticsAccumulator::add(std::span<const std::byte> bytes, std::uint64_t weight) noexcept {
  assert(has_statistics(dtype_));
  const std::size_t item = item_bytes(dtype_);
  assert(bytes.size() % item == 0);
  if (weight == 0) return;
  const Float8Table* const float8 = find_float8_table(dtype_);
  while (!bytes.empty()) {
    const auto slice = bytes.first(std::min(bytes.size(), slice_bytes_max));
    ValueTotals part;
    if (float8 != nullptr) {
      add_float8(*float8, slice, part);
    } else {
      add_dense(dtype_, slice.data(), slice.size() / item, part);
    }
    absorb(part, weight, totals_);
    bytes = bytes.subspan(slice.size());
  }
}

void StatisticsAccumulator::add_strided(const std::byte* first, std::uint64_t count, std::int64_t stride_bytes,
                                        std::uint64_t weight) noexcept {
  if (count == 0) return;
  const std::size_t item = item_bytes(dtype_);
  if (stride_bytes == 0) return add({first, item}, weight * count);
  RunGatherer gatherer(item, [this, weight](std::span<const std::byte> bytes) { add(bytes, weight); });
  gatherer.add_run(first, count, stride_bytes);
  gatherer.flush();
}

void StatisticsAccumulator::merge(const StatisticsAccumulator& other) noexcept {
  assert(dtype_ == other.dtype_);
  absorb(other.totals_, 1, totals_);
}

Statistics StatisticsAccumulator::result() const noexcept {
  Statistics result = totals_;
  if (totals_.value_count == 0) result.min = result.max = 0;
  return result;
}

Statistics strided_statistics(DType dtype, const std::byte* data, std::span<const std::int64_t> shape,
                              std::span<const std::int64_t> stride) noexcept {
  assert(shape.size() == stride.size());
  const Walk walk = plan_walk(item_bytes(dtype), data, shape, stride);
  if (walk.is_empty) return {};
  StatisticsAccumulator accumulator(dtype);
  visit_runs(walk, [&](std::span<const std::byte> bytes) { accumulator.add(bytes, walk.weight); });
  return accumulator.result();
}

std::uint64_t strided_work(std::span<const std::int64_t> shape, std::span<const std::int64_t> stride) noexcept {
  assert(shape.size() == stride.size());
  std::uint64_t work = 1;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0) return 0;
    if (stride[i] == 0) continue;
    if (__builtin_mul_overflow(work, static_cast<std::uint64_t>(shape[i]), &work)) work = UINT64_MAX;
  }
  return work;
}

}  // namespace tenon
