#include "store/value_statistics.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#include "store/value_elements.h"
#include "store/value_kernels.h"

namespace tenon {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr std::size_t slice_bytes_max = std::size_t{1} << 30;  // lanes that count have 32 bits
constexpr std::size_t gather_bytes = 16 * 1024;
constexpr std::size_t long_run_bytes = 1024;  // shorter runs are gathered first

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

template <std::size_t item>
void copy_strided(const std::byte* first, std::uint64_t count, std::int64_t stride_bytes, std::byte* out) noexcept {
  for (std::uint64_t i = 0; i < count; ++i, first += stride_bytes, out += item) std::memcpy(out, first, item);
}

void copy_strided(std::size_t item, const std::byte* first, std::uint64_t count, std::int64_t stride_bytes,
                  std::byte* out) noexcept {
  switch (item) {
    case 1:
      return copy_strided<1>(first, count, stride_bytes, out);
    case 2:
      return copy_strided<2>(first, count, stride_bytes, out);
    case 4:
      return copy_strided<4>(first, count, stride_bytes, out);
    case 8:
      return copy_strided<8>(first, count, stride_bytes, out);
    default:
      assert(item == 16);
      return copy_strided<16>(first, count, stride_bytes, out);
  }
}

// Collects short runs, so that the kernels get long ones.
class Gatherer {
 public:
  Gatherer(StatisticsAccumulator& accumulator, std::size_t item, std::uint64_t weight) noexcept
      : accumulator_(accumulator), item_(item), weight_(weight) {}

  // A run of `count` elements; those that lie densely and are many are not copied.
  void add_run(const std::byte* first, std::uint64_t count, std::int64_t stride_bytes) noexcept {
    const bool is_dense = stride_bytes == static_cast<std::int64_t>(item_);
    if (is_dense && count * item_ >= long_run_bytes) return accumulator_.add({first, count * item_}, weight_);
    while (count != 0) {
      const std::uint64_t room = (buffer_.size() - used_) / item_;
      const std::uint64_t taken = std::min(count, room);
      copy_strided(item_, first, taken, stride_bytes, buffer_.data() + used_);
      used_ += taken * item_;
      if (taken == room) flush();
      // No pointer is made past the last element of the run.
      if ((count -= taken) != 0) first += static_cast<std::int64_t>(taken) * stride_bytes;
    }
  }
  void flush() noexcept {
    accumulator_.add(std::span<const std::byte>(buffer_).first(used_), weight_);
    used_ = 0;
  }

 private:
  StatisticsAccumulator& accumulator_;
  const std::size_t item_;
  const std::uint64_t weight_;
  std::size_t used_ = 0;
  std::array<std::byte, gather_bytes> buffer_;
};

struct Dimension {
  std::uint64_t size;
  std::int64_t stride_bytes;  // positive
};

// The order of elements does not matter here, so dimensions may be turned round, sorted and merged at will.
struct Walk {
  const std::byte* first;
  std::uint64_t weight = 1;
  std::vector<Dimension> dimensions{};  // largest stride first; at least one
  bool is_empty = false;
};

Walk plan_walk(std::size_t item, const std::byte* data, std::span<const std::int64_t> shape,
               std::span<const std::int64_t> stride) {
  Walk walk{.first = data};
  std::vector<Dimension> sorted;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const auto size = static_cast<std::uint64_t>(shape[i]);
    const std::int64_t stride_bytes = stride[i] * static_cast<std::int64_t>(item);
    if (size == 0) walk.is_empty = true;
    if (size <= 1) continue;
    if (stride_bytes == 0) {
      walk.weight *= size;
      continue;
    }
    if (stride_bytes < 0) walk.first += (shape[i] - 1) * stride_bytes;
    sorted.push_back({.size = size, .stride_bytes = std::abs(stride_bytes)});
  }
  if (sorted.empty()) sorted.push_back({.size = 1, .stride_bytes = static_cast<std::int64_t>(item)});
  std::ranges::stable_sort(sorted, std::ranges::greater(), &Dimension::stride_bytes);
  for (const Dimension& inner : sorted) {
    Dimension* outer = walk.dimensions.empty() ? nullptr : &walk.dimensions.back();
    if (outer != nullptr && outer->stride_bytes == inner.stride_bytes * static_cast<std::int64_t>(inner.size)) {
      *outer = {.size = outer->size * inner.size, .stride_bytes = inner.stride_bytes};
    } else {
      walk.dimensions.push_back(inner);
    }
  }
  return walk;
}

void walk_runs(const std::byte* first, std::span<const Dimension> dimensions, Gatherer& gatherer) noexcept {
  const Dimension& outer = dimensions.front();
  if (dimensions.size() == 1) return gatherer.add_run(first, outer.size, outer.stride_bytes);
  for (std::uint64_t i = 0; i < outer.size; ++i) {
    walk_runs(first + static_cast<std::int64_t>(i) * outer.stride_bytes, dimensions.subspan(1), gatherer);
  }
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
  Gatherer gatherer(*this, item, weight);
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
  Gatherer gatherer(accumulator, item_bytes(dtype), walk.weight);
  walk_runs(walk.first, walk.dimensions, gatherer);
  gatherer.flush();
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
