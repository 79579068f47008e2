#include "store/value_statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace tenon {
namespace {

using Bytes = std::vector<std::byte>;
using Shape = std::vector<std::int64_t>;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

// --- A second, slow opinion on what every element is worth. ---

std::uint64_t bits_at(const std::byte* bytes, std::size_t size) {
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < size; ++i) bits |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
  return bits;
}

// IEEE-like: sign, exponent, mantissa; all ones in the exponent is infinity or NaN.
double decode_ieee(std::uint64_t bits, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double sign = (bits >> (exponent_bits + mantissa_bits) & 1) != 0 ? -1 : 1;
  const int exponent = static_cast<int>(bits >> mantissa_bits & ((1u << exponent_bits) - 1));
  const auto mantissa = static_cast<double>(bits & ((std::uint64_t{1} << mantissa_bits) - 1));
  if (exponent == (1 << exponent_bits) - 1) return mantissa == 0 ? sign * infinity : nan;
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp(std::ldexp(1, mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
}

// Types without infinity: as IEEE, with a bias of their own and one or two patterns for NaN.
double decode_float8(std::uint64_t bits, int mantissa_bits, int bias) {
  const double sign = (bits & 0x80) != 0 ? -1 : 1;
  const int exponent = static_cast<int>((bits & 0x7F) >> mantissa_bits);
  const auto mantissa = static_cast<double>(bits & ((1u << mantissa_bits) - 1));
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp(std::ldexp(1, mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
}

double value_at(DType dtype, const std::byte* at);

double magnitude_at(DType part, const std::byte* at) {
  const double real = value_at(part, at);
  const double imaginary = value_at(part, at + item_bytes(part));
  if (std::isnan(real) || std::isnan(imaginary)) return nan;
  return static_cast<double>(std::hypot(static_cast<long double>(real), static_cast<long double>(imaginary)));
}

double value_at(DType dtype, const std::byte* at) {
  const std::uint64_t bits = bits_at(at, std::min<std::size_t>(item_bytes(dtype), 8));
  switch (dtype) {
    case DType::uint8:
    case DType::uint16:
    case DType::uint32:
    case DType::uint64:
      return static_cast<double>(bits);
    case DType::int8:
      return static_cast<std::int8_t>(bits);
    case DType::int16:
      return static_cast<std::int16_t>(bits);
    case DType::int32:
      return static_cast<std::int32_t>(bits);
    case DType::int64:
      return static_cast<double>(static_cast<std::int64_t>(bits));
    case DType::bool8:
      return bits != 0 ? 1 : 0;
    case DType::float16:
      return decode_ieee(bits, 5, 10);
    case DType::bfloat16:
      return decode_ieee(bits, 8, 7);
    case DType::float32:
      return decode_ieee(bits, 8, 23);
    case DType::float64:
      return decode_ieee(bits, 11, 52);
    case DType::float8_e5m2:
      return decode_ieee(bits, 5, 2);
    case DType::float8_e4m3fn:
      return (bits & 0x7F) == 0x7F ? nan : decode_float8(bits, 3, 7);
    case DType::float8_e5m2fnuz:
      return bits == 0x80 ? nan : decode_float8(bits, 2, 16);
    case DType::float8_e4m3fnuz:
      return bits == 0x80 ? nan : decode_float8(bits, 3, 8);
    case DType::float8_e8m0fnu:
      return bits == 0xFF ? nan : std::ldexp(1, static_cast<int>(bits) - 127);
    case DType::complex32:
      return magnitude_at(DType::float16, at);
    case DType::complex64:
      return magnitude_at(DType::float32, at);
    case DType::complex128:
      return magnitude_at(DType::float64, at);
    default:
      ADD_FAILURE() << "no reference for " << dtype_info(dtype).name;
      return nan;
  }
}

struct Reference {
  Statistics statistics{};
  double sum_magnitudes = 0;  // what the error of a sum is measured against
};

Reference reference_of(const std::vector<double>& values) {
  Reference reference;
  Statistics& statistics = reference.statistics;
  long double sum = 0, squared_deviations = 0, sum_magnitudes = 0;
  double min = infinity, max = -infinity;
  for (const double value : values) {
    statistics.nan_count += std::isnan(value);
    statistics.inf_count += std::isinf(value);
    statistics.zero_count += value == 0;
    if (std::isnan(value)) continue;
    min = std::min(min, value);
    max = std::max(max, value);
    sum += static_cast<long double>(value);
    sum_magnitudes += std::abs(static_cast<long double>(value));
  }
  if (min <= max) statistics.min = min, statistics.max = max;
  statistics.sum = static_cast<double>(sum);
  const auto count = static_cast<long double>(values.size() - statistics.nan_count);
  const long double mean = sum / count;
  long double sum_deviations = 0;  // what the rounded mean is off by, count times
  for (const double value : values) {
    if (std::isnan(value)) continue;
    const long double deviation = static_cast<long double>(value) - mean;
    sum_deviations += deviation;
    squared_deviations += deviation * deviation;
  }
  if (count > 0) squared_deviations -= sum_deviations * sum_deviations / count;
  statistics.squared_deviations = static_cast<double>(squared_deviations);
  reference.sum_magnitudes = static_cast<double>(sum_magnitudes);
  return reference;
}

Reference reference_of(DType dtype, std::span<const std::byte> bytes, std::uint64_t weight = 1) {
  std::vector<double> values;
  for (std::size_t at = 0; at < bytes.size(); at += item_bytes(dtype)) {
    values.insert(values.end(), weight, value_at(dtype, bytes.data() + at));
  }
  return reference_of(values);
}

// --- Vocabulary. ---

bool same(double got, double wanted, double tolerance) {
  if (std::isnan(wanted)) return std::isnan(got);
  return got == wanted || std::abs(got - wanted) <= tolerance;
}

void expect_statistics(const Statistics& got, const Reference& wanted, const std::string& about = "") {
  const Statistics& reference = wanted.statistics;
  EXPECT_EQ(got.nan_count, reference.nan_count) << about;
  EXPECT_EQ(got.inf_count, reference.inf_count) << about;
  EXPECT_EQ(got.zero_count, reference.zero_count) << about;
  // Magnitudes of complex values are rounded more than once.
  EXPECT_PRED3(same, got.min, reference.min, 4e-16 * std::abs(reference.min)) << about;
  EXPECT_PRED3(same, got.max, reference.max, 4e-16 * std::abs(reference.max)) << about;
  EXPECT_PRED3(same, got.sum, reference.sum, 1e-13 * wanted.sum_magnitudes) << about;
  const double mean_error = 1e-14 * wanted.sum_magnitudes;
  EXPECT_PRED3(same, got.squared_deviations, reference.squared_deviations,
               1e-11 * reference.squared_deviations + mean_error * mean_error)
      << about;
}

Statistics statistics_of(DType dtype, std::span<const std::byte> bytes, std::uint64_t weight = 1) {
  StatisticsAccumulator accumulator(dtype);
  accumulator.add(bytes, weight);
  return accumulator.result();
}

template <typename T>
Bytes bytes_of(const std::vector<T>& values) {
  Bytes bytes(values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// The float type that `dtype` is made of; itself unless complex.
DType part_of(DType dtype) {
  switch (dtype) {
    case DType::complex32:
      return DType::float16;
    case DType::complex64:
      return DType::float32;
    case DType::complex128:
      return DType::float64;
    default:
      return dtype;
  }
}

// Random bits: all values of a type, NaN, infinities and subnormals among them. Large exponents of wide types are
// folded, so that no square overflows a double; every 16th element is then one of the special ones.
class RandomElements {
 public:
  explicit RandomElements(std::uint64_t seed) : random_(seed) {}

  Bytes operator()(DType dtype, std::size_t count, bool with_specials) {
    const DType part = part_of(dtype);
    const std::size_t item = item_bytes(part);
    Bytes bytes(count * item_bytes(dtype));
    for (std::size_t at = 0; at < bytes.size(); at += item) {
      std::uint64_t bits;
      do {
        bits = with_specials && random_() % 16 == 0 ? special(part) : plain(part);
        std::memcpy(bytes.data() + at, &bits, item);
      } while (!with_specials && !std::isfinite(value_at(part, bytes.data() + at)));
    }
    return bytes;
  }

 private:
  std::uint64_t plain(DType part) {
    const std::uint64_t bits = random_();
    if (part != DType::float64) return bits;
    const auto exponent = static_cast<int>(bits >> 52 & 0x3FF) - 512;
    return std::bit_cast<std::uint64_t>(std::ldexp(1 + static_cast<double>(bits & 0xFFFFF) / 0x100000, exponent / 2)) |
           (bits & 1) << 63;
  }
  // Zero, negative zero, infinities, NaNs and subnormals of the type; for others just bits.
  std::uint64_t special(DType part) {
    const auto pick = [&](std::initializer_list<std::uint64_t> all) { return *(all.begin() + random_() % all.size()); };
    switch (part) {
      case DType::float16:
        return pick({0, 0x8000, 0x7C00, 0xFC00, 0x7E00, 0xFC01, 1, 0x83FF});
      case DType::bfloat16:
        return pick({0, 0x8000, 0x7F80, 0xFF80, 0x7FC0, 0xFF81, 1, 0x807F});
      case DType::float32:
        return pick({0, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFF800001, 1, 0x807FFFFF});
      case DType::float64:
        return pick({0, 0x8000000000000000, 0x7FF0000000000000, 0xFFF0000000000000, 0x7FF8000000000000,
                     0xFFF0000000000001, 1, 0x800FFFFFFFFFFFFF});
      default:
        return pick({0, 0, 0x80, 0xFF, 0x7F, random_()});
    }
  }

  std::mt19937_64 random_;
};

std::vector<DType> dtypes_with_statistics() {
  std::vector<DType> dtypes;
  for (const DTypeInfo& info : all_dtypes()) {
    if (has_statistics(info.dtype)) dtypes.push_back(info.dtype);
  }
  return dtypes;
}

class EveryDType : public testing::TestWithParam<DType> {};

INSTANTIATE_TEST_SUITE_P(Statistics, EveryDType, testing::ValuesIn(dtypes_with_statistics()),
                         [](const auto& parameter) { return std::string(dtype_info(parameter.param).name); });

TEST(HasStatisticsTest, HoldsForNumbersOfWholeBytes) {
  for (const DTypeInfo& info : all_dtypes()) {
    const bool is_number = info.kind != DTypeClass::quantized && info.kind != DTypeClass::bits;
    const bool is_shell = info.bits < 8 || info.dtype == DType::float4_e2m1fn_x2 ||
                          (info.dtype >= DType::uint1 && info.dtype <= DType::int7);
    EXPECT_EQ(has_statistics(info.dtype), is_number && !is_shell) << info.name;
  }
  EXPECT_EQ(dtypes_with_statistics().size(), 21u);
}

TEST_P(EveryDType, NothingHasNoStatistics) { expect_statistics(statistics_of(GetParam(), {}), Reference()); }

TEST_P(EveryDType, FiniteValuesMatchTheReference) {
  RandomElements random(1);
  for (const std::size_t count : {1, 2, 3, 7, 8, 9, 15, 17, 31, 33, 63, 64, 65, 127, 129, 1000, 4097, 20000}) {
    const Bytes bytes = random(GetParam(), count, false);
    expect_statistics(statistics_of(GetParam(), bytes), reference_of(GetParam(), bytes), std::to_string(count));
  }
}

TEST_P(EveryDType, SpecialValuesMatchTheReference) {
  RandomElements random(2);
  for (const std::size_t count : {1, 2, 5, 16, 40, 64, 100, 1000, 20001}) {
    const Bytes bytes = random(GetParam(), count, true);
    expect_statistics(statistics_of(GetParam(), bytes), reference_of(GetParam(), bytes), std::to_string(count));
  }
}

TEST_P(EveryDType, OneSpecialElementIsFoundWhereverItIs) {
  RandomElements random(3);
  const std::size_t item = item_bytes(GetParam());
  const Bytes plain = random(GetParam(), 300, false);
  for (std::size_t at = 0; at < 300; at += 7) {
    Bytes bytes = plain;
    std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(at * item), item, std::byte{0xFF});
    expect_statistics(statistics_of(GetParam(), bytes), reference_of(GetParam(), bytes), std::to_string(at));
  }
}

TEST_P(EveryDType, BytesNeedNoAlignment) {
  RandomElements random(4);
  const Bytes bytes = random(GetParam(), 500, true);
  const Reference wanted = reference_of(GetParam(), bytes);
  for (const std::size_t shift : {1, 2, 3, 5, 8, 13}) {
    Bytes moved(shift + bytes.size());
    std::copy(bytes.begin(), bytes.end(), moved.begin() + static_cast<std::ptrdiff_t>(shift));
    expect_statistics(statistics_of(GetParam(), std::span(moved).subspan(shift)), wanted, std::to_string(shift));
  }
}

TEST_P(EveryDType, WeightCountsEveryElementSoOften) {
  const Bytes bytes = RandomElements(5)(GetParam(), 100, true);
  expect_statistics(statistics_of(GetParam(), bytes, 3), reference_of(GetParam(), bytes, 3));
  expect_statistics(statistics_of(GetParam(), bytes, 0), Reference());
}

TEST_P(EveryDType, PiecesAndMergedPartsEqualTheWhole) {
  const std::size_t item = item_bytes(GetParam());
  const Bytes bytes = RandomElements(6)(GetParam(), 9999, false);
  StatisticsAccumulator pieces(GetParam()), first(GetParam()), second(GetParam()), nothing(GetParam());
  for (std::size_t at = 0; at < bytes.size(); at += 1000 * item) {
    const auto piece = std::span(bytes).subspan(at, std::min(1000 * item, bytes.size() - at));
    pieces.add(piece);
    (at < 4000 * item ? first : second).add(piece);
  }
  second.merge(first);
  second.merge(nothing);
  nothing.merge(second);
  const Reference wanted = reference_of(GetParam(), bytes);
  for (const auto& accumulator : {pieces, second, nothing}) expect_statistics(accumulator.result(), wanted);
}

TEST_P(EveryDType, StridedElementsMatchGatheredOnes) {
  const std::size_t item = item_bytes(GetParam());
  const Bytes bytes = RandomElements(7)(GetParam(), 30000, true);
  for (const std::int64_t step : {1, 2, 3, 10, -1, -3}) {
    const std::uint64_t count = 2900;
    const std::size_t begin = step < 0 ? 29999 : 0;
    std::vector<double> values;
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::int64_t index = static_cast<std::int64_t>(begin) + static_cast<std::int64_t>(i) * step;
      values.push_back(value_at(GetParam(), bytes.data() + static_cast<std::size_t>(index) * item));
    }
    StatisticsAccumulator accumulator(GetParam());
    accumulator.add_strided(bytes.data() + begin * item, count, step * static_cast<std::int64_t>(item));
    expect_statistics(accumulator.result(), reference_of(values), "step " + std::to_string(step));
  }
}

TEST_P(EveryDType, StrideZeroRepeatsTheElement) {
  const Bytes bytes = RandomElements(8)(GetParam(), 1, false);
  StatisticsAccumulator accumulator(GetParam());
  accumulator.add_strided(bytes.data(), 10, 0, 2);
  accumulator.add_strided(bytes.data(), 0, 0, 2);
  expect_statistics(accumulator.result(), reference_of(GetParam(), bytes, 20));
}

// Every value there is, of the types that have few.
TEST(FewPatternsTest, AllPatternsOfUpTo16BitsMatchTheReference) {
  for (const DType dtype : dtypes_with_statistics()) {
    const std::size_t item = item_bytes(dtype);
    if (item > 2) continue;
    Bytes bytes(item << (8 * item));
    for (std::uint64_t i = 0; i < bytes.size() / item; ++i) std::memcpy(bytes.data() + i * item, &i, item);
    const std::string name(dtype_info(dtype).name);
    expect_statistics(statistics_of(dtype, bytes), reference_of(dtype, bytes), name);
    for (std::size_t at = 0; at < bytes.size(); at += 32 * item) {
      const auto part = std::span(bytes).subspan(at, 32 * item);
      expect_statistics(statistics_of(dtype, part), reference_of(dtype, part), name + " " + std::to_string(at));
    }
  }
}

// --- Values by hand. ---

TEST(StatisticsTest, NaNsAreCountedAndOtherwiseIgnored) {
  const Statistics got = statistics_of(DType::float32, bytes_of<float>({NAN, 3, NAN, -1, 0}));
  expect_statistics(
      got, {{.nan_count = 2, .zero_count = 1, .min = -1, .max = 3, .sum = 2, .squared_deviations = 26.0 / 3}, 4});
}

TEST(StatisticsTest, OnlyNaNsLeaveZeros) {
  const Statistics got = statistics_of(DType::float64, bytes_of(std::vector<double>(100, nan)));
  expect_statistics(got, {{.nan_count = 100}});
}

TEST(StatisticsTest, InfinitiesTakePart) {
  std::vector<float> values(1000, 1);
  values[500] = INFINITY;
  Statistics got = statistics_of(DType::float32, bytes_of(values));
  expect_statistics(got, {{.inf_count = 1, .min = 1, .max = infinity, .sum = infinity, .squared_deviations = nan}});
  values[501] = -INFINITY;
  got = statistics_of(DType::float32, bytes_of(values));
  expect_statistics(got, {{.inf_count = 2, .min = -infinity, .max = infinity, .sum = nan, .squared_deviations = nan}});
}

TEST(StatisticsTest, OnlyInfinitiesAreMinAndMax) {
  const Statistics got = statistics_of(DType::float32, bytes_of(std::vector<float>(77, -INFINITY)));
  expect_statistics(
      got, {{.inf_count = 77, .min = -infinity, .max = -infinity, .sum = -infinity, .squared_deviations = nan}});
}

TEST(StatisticsTest, NegativeZeroIsZero) {
  EXPECT_EQ(statistics_of(DType::float32, bytes_of(std::vector<float>(50, -0.0F))).zero_count, 50u);
  EXPECT_EQ(statistics_of(DType::float16, bytes_of(std::vector<std::uint16_t>(50, 0x8000))).zero_count, 50u);
}

TEST(StatisticsTest, SquaresOfFloatsNeitherOverflowNorVanish) {
  const auto with_both_signs = [](auto value, auto negative) {
    std::vector values(64, value);
    for (std::size_t i = 0; i < 64; i += 2) values[i] = negative;
    return bytes_of(values);
  };
  EXPECT_DOUBLE_EQ(statistics_of(DType::float32, with_both_signs(0x1p100F, -0x1p100F)).squared_deviations, 0x1p206);
  EXPECT_DOUBLE_EQ(statistics_of(DType::float32, with_both_signs(0x1p-149F, -0x1p-149F)).squared_deviations, 0x1p-292);
  const Bytes bfloat16s = with_both_signs(std::uint16_t{0x7F00}, std::uint16_t{0xFF00});  // 2^127
  EXPECT_DOUBLE_EQ(statistics_of(DType::bfloat16, bfloat16s).squared_deviations, 0x1p260);
}

TEST(StatisticsTest, FiniteDoublesWhoseSumOverflowsAreNotInfinities) {
  const Statistics got = statistics_of(DType::float64, bytes_of(std::vector<double>(100, 1e308)));
  expect_statistics(got, {{.min = 1e308, .max = 1e308, .sum = infinity, .squared_deviations = 0}});
}

TEST(StatisticsTest, SmallIntegersAddUpExactly) {
  const Statistics shorts = statistics_of(DType::int16, bytes_of(std::vector<std::int16_t>(1000001, -32768)));
  EXPECT_EQ(shorts.sum, -32768.0 * 1000001);
  EXPECT_EQ(shorts.squared_deviations, 0);
  const Statistics words = statistics_of(DType::uint16, bytes_of(std::vector<std::uint16_t>(1000001, 65535)));
  EXPECT_EQ(words.sum, 65535.0 * 1000001);
  EXPECT_EQ(words.squared_deviations, 0);
  const Statistics bytes = statistics_of(DType::uint8, bytes_of(std::vector<std::uint8_t>(1000001, 255)));
  EXPECT_EQ(bytes.sum, 255.0 * 1000001);
  EXPECT_EQ(bytes.squared_deviations, 0);
}

TEST(StatisticsTest, WideIntegersAreRoundedToDouble) {
  const std::uint64_t largest = std::numeric_limits<std::uint64_t>::max();
  EXPECT_EQ(statistics_of(DType::uint64, bytes_of(std::vector<std::uint64_t>(33, largest))).max, 0x1p64);
  const std::int64_t least = std::numeric_limits<std::int64_t>::min();
  EXPECT_EQ(statistics_of(DType::int64, bytes_of(std::vector<std::int64_t>(33, least))).min, -0x1p63);
}

TEST(StatisticsTest, AnyByteOtherThanZeroIsTrue) {
  const Statistics got = statistics_of(DType::bool8, bytes_of(std::vector<std::uint8_t>(100, 0xFF)));
  expect_statistics(got, {{.min = 1, .max = 1, .sum = 100, .squared_deviations = 0}});
}

TEST(StatisticsTest, ComplexValuesCountByMagnitude) {
  std::vector<float> parts;
  for (int i = 0; i < 100; ++i) parts.insert(parts.end(), {-3, 4});
  expect_statistics(statistics_of(DType::complex64, bytes_of(parts)),
                    {{.min = 5, .max = 5, .sum = 500, .squared_deviations = 0}});
}

TEST(StatisticsTest, ComplexValueWithANaNPartIsNaN) {
  std::vector<double> parts;
  for (int i = 0; i < 50; ++i) parts.insert(parts.end(), {infinity, nan});
  for (int i = 0; i < 50; ++i) parts.insert(parts.end(), {-infinity, 1});
  const Statistics got = statistics_of(DType::complex128, bytes_of(parts));
  EXPECT_EQ(got.nan_count, 50u);
  EXPECT_EQ(got.inf_count, 50u);
  EXPECT_EQ(got.min, infinity);
}

TEST(StatisticsTest, MagnitudesOfHugeAndTinyComplexValuesAreRight) {
  std::vector<double> parts;
  for (int i = 0; i < 64; ++i) parts.insert(parts.end(), {i % 2 == 0 ? 3e300 : 3e-310, i % 2 == 0 ? 4e300 : 4e-310});
  const Statistics got = statistics_of(DType::complex128, bytes_of(parts));
  EXPECT_NEAR(got.max / 5e300, 1, 1e-15);
  EXPECT_NEAR(got.min / 5e-310, 1, 1e-12);  // subnormal: fewer digits
}

// --- Precision: that of a sum of doubles, not of floats. ---

TEST(PrecisionTest, SmallValuesAreNotLostBesideALargeOne) {
  std::vector<float> values(100000, 1e-3F);
  values[0] = 1e8F;
  const Bytes bytes = bytes_of(values);
  const double wanted = 1e8 + 99999 * static_cast<double>(1e-3F);
  EXPECT_NEAR(statistics_of(DType::float32, bytes).sum, wanted, 1e-2);  // floats would lose all 100
}

TEST(PrecisionTest, HalfPrecisionSumsAreExact) {
  std::mt19937_64 random(9);
  std::vector<std::uint16_t> halves(1 << 18);
  std::int64_t wanted = 0;  // in units of 2^-24, of which every float16 is a multiple
  for (auto& half : halves) {
    half = static_cast<std::uint16_t>(random() % 0x7C00 | (random() & 0x8000));
    const Bytes one = bytes_of<std::uint16_t>({half});
    wanted += static_cast<std::int64_t>(std::ldexp(value_at(DType::float16, one.data()), 24));
  }
  EXPECT_EQ(statistics_of(DType::float16, bytes_of(halves)).sum, std::ldexp(static_cast<double>(wanted), -24));
}

TEST(PrecisionTest, ManyEqualBFloat16sAddUpExactly) {
  const Bytes bytes = bytes_of(std::vector<std::uint16_t>(1 << 20, 0x3F81));  // 1 + 2^-7
  EXPECT_EQ(statistics_of(DType::bfloat16, bytes).sum, 1.0078125 * (1 << 20));
  EXPECT_EQ(statistics_of(DType::bfloat16, bytes).squared_deviations, 0);
}

// --- Deviations: right also where the values lie far from zero. ---

double deviation_error(DType dtype, const Bytes& bytes) {
  const double got = statistics_of(dtype, bytes).squared_deviations;
  const double wanted = reference_of(dtype, bytes).statistics.squared_deviations;
  return std::abs(got - wanted) / wanted;
}

// Of `count` values near `center`, a few thousandths of a millionth of it apart.
template <typename T>
std::vector<T> near(double center, double spread, std::size_t count) {
  std::mt19937_64 random(11);
  std::vector<T> values(count);
  for (T& value : values) value = static_cast<T>(center + std::uniform_real_distribution<>(-spread, spread)(random));
  return values;
}

TEST(DeviationTest, FourLargeNeighboursHaveTheirVariance) {
  const Statistics floats = statistics_of(DType::float64, bytes_of<double>({1e9, 1e9 + 1, 1e9 + 2, 1e9 + 3}));
  EXPECT_EQ(floats.squared_deviations, 5);
  EXPECT_DOUBLE_EQ(std_of(floats, 4), std::sqrt(1.25));
  const std::int64_t now_us = 1'764'000'000'000'000;
  const Statistics times =
      statistics_of(DType::int64, bytes_of<std::int64_t>({now_us, now_us + 1, now_us + 2, now_us + 3}));
  EXPECT_EQ(times.squared_deviations, 5);
}

TEST(DeviationTest, ManyLargeNeighboursHaveTheirVariance) {
  for (const std::size_t count : {5, 100, 4096, 100'000}) {
    EXPECT_LT(deviation_error(DType::float64, bytes_of(near<double>(1e9, 1, count))), 1e-12) << count;
    EXPECT_LT(deviation_error(DType::float64, bytes_of(near<double>(-1e12, 1, count))), 1e-9) << count;
    EXPECT_LT(deviation_error(DType::float32, bytes_of(near<float>(1e6, 10, count))), 1e-12) << count;
    EXPECT_LT(deviation_error(DType::int64, bytes_of(near<std::int64_t>(1.7e15, 1e3, count))), 1e-12) << count;
    EXPECT_LT(deviation_error(DType::int32, bytes_of(near<std::int32_t>(2e9, 1e3, count))), 1e-12) << count;
    EXPECT_LT(deviation_error(DType::uint16, bytes_of(near<std::uint16_t>(65'000, 3, count))), 1e-12) << count;
  }
}

TEST(DeviationTest, ValuesThatDriftFromBlockToBlockKeepTheirVariance) {
  std::vector<double> values(200'000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 1e9 + static_cast<double>(i) * 1e-3;
  EXPECT_LT(deviation_error(DType::float64, bytes_of(values)), 1e-11);
}

TEST(DeviationTest, NaNsBesideLargeNeighboursTakeNoPart) {
  std::vector<double> values = near<double>(1e9, 1, 10'000);
  for (std::size_t i = 0; i < values.size(); i += 37) values[i] = nan;
  EXPECT_LT(deviation_error(DType::float64, bytes_of(values)), 1e-12);
}

TEST(DeviationTest, MergedPartsHaveTheVarianceOfTheWhole) {
  const Bytes bytes = bytes_of(near<double>(1e9, 1, 30'000));
  StatisticsAccumulator first(DType::float64), second(DType::float64);
  first.add(std::span(bytes).first(8 * 777));
  second.add(std::span(bytes).subspan(8 * 777));
  first.merge(second);
  const double wanted = reference_of(DType::float64, bytes).statistics.squared_deviations;
  EXPECT_NEAR(first.result().squared_deviations / wanted, 1, 1e-12);
}

TEST(DeviationTest, NormsAreThoseOfTheValues) {
  const Statistics small = statistics_of(DType::float64, bytes_of<double>({3, nan, 4}));
  EXPECT_DOUBLE_EQ(norm_of(small, 3), 5);
  EXPECT_DOUBLE_EQ(mean_of(small, 3), 3.5);
  EXPECT_DOUBLE_EQ(norm_of(statistics_of(DType::float64, bytes_of(std::vector<double>(64, 0x1p660))), 64), 0x1p663);
  EXPECT_EQ(norm_of(statistics_of(DType::float64, bytes_of<double>({1, -infinity})), 2), infinity);
  EXPECT_TRUE(std::isnan(norm_of(statistics_of(DType::float64, {}), 0)));
}

// --- Tensors with strides. ---

// The elements of a strided tensor one by one, in row-major order.
std::vector<double> elements_of(DType dtype, const std::byte* data, const Shape& shape, const Shape& stride) {
  std::vector<double> values;
  const auto visit = [&](const auto& self, std::size_t dimension, std::int64_t index) -> void {
    if (dimension == shape.size()) {
      values.push_back(value_at(dtype, data + index * static_cast<std::int64_t>(item_bytes(dtype))));
      return;
    }
    for (std::int64_t i = 0; i < shape[dimension]; ++i) self(self, dimension + 1, index + i * stride[dimension]);
  };
  visit(visit, 0, 0);
  return values;
}

struct Geometry {
  const char* name;
  Shape shape;
  Shape stride;
  std::uint64_t work;
  std::int64_t offset = 0;  // elements
};

void PrintTo(const Geometry& geometry, std::ostream* out) { *out << geometry.name; }

class StridedTest : public testing::TestWithParam<Geometry> {};

INSTANTIATE_TEST_SUITE_P(
    Statistics, StridedTest,
    testing::Values(Geometry{"Scalar", {}, {}, 1}, Geometry{"OneElement", {1, 1}, {7, 9}, 1},
                    Geometry{"ZeroSize", {5, 0, 3}, {3, 3, 1}, 0}, Geometry{"ZeroSizeExpanded", {5, 0}, {0, 1}, 0},
                    Geometry{"Contiguous", {10, 20, 30}, {600, 30, 1}, 6000},
                    Geometry{"Transposed", {30, 20}, {1, 30}, 600}, Geometry{"Permuted", {7, 50, 9}, {9, 63, 1}, 3150},
                    Geometry{"ColumnSlice", {90, 3}, {60, 1}, 270}, Geometry{"EveryThird", {40, 30}, {180, 3}, 1200},
                    Geometry{"LongRows", {9, 600}, {1000, 1}, 5400}, Geometry{"Expanded", {4, 25, 6}, {0, 1, 0}, 25},
                    Geometry{"AllExpanded", {4, 5}, {0, 0}, 1}, Geometry{"Window", {100, 8}, {1, 1}, 800},
                    Geometry{"WindowOfRows", {50, 4, 16}, {16, 16, 1}, 3200},
                    Geometry{"Reversed", {10, 30}, {-30, -1}, 300, 299},
                    Geometry{"OddSizes", {3, 5, 7, 11}, {1155, 77, 11, 1}, 1155}),
    [](const auto& parameter) { return std::string(parameter.param.name); });

TEST_P(StridedTest, MatchesTheElementsOneByOne) {
  const Geometry& geometry = GetParam();
  for (const DType dtype : dtypes_with_statistics()) {
    const Bytes bytes = RandomElements(10)(dtype, 20000, true);
    const std::byte* data = bytes.data() + geometry.offset * static_cast<std::int64_t>(item_bytes(dtype));
    const Reference wanted = reference_of(elements_of(dtype, data, geometry.shape, geometry.stride));
    expect_statistics(strided_statistics(dtype, data, geometry.shape, geometry.stride), wanted,
                      std::string(dtype_info(dtype).name));
  }
}

TEST_P(StridedTest, WorkCountsNoRepetition) {
  EXPECT_EQ(strided_work(GetParam().shape, GetParam().stride), GetParam().work);
}

TEST(StridedWorkTest, SaturatesInsteadOfWrapping) {
  const Shape shape = {std::int64_t{1} << 40, std::int64_t{1} << 40, 3};
  EXPECT_EQ(strided_work(shape, Shape{1, 1, 1}), std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(strided_work(shape, Shape{0, 0, 1}), 3u);
}

TEST(StridedWorkTest, HugeExpandedTensorCostsOneElement) {
  const std::vector<float> one = {2};
  const std::int64_t many = std::int64_t{1} << 50;
  const Statistics got =
      strided_statistics(DType::float32, std::as_bytes(std::span(one)).data(), Shape{many, 8}, Shape{0, 0});
  EXPECT_EQ(got.sum, 0x1p54);
  EXPECT_EQ(got.squared_deviations, 0);
}

}  // namespace
}  // namespace tenon
