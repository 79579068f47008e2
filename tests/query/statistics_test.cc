#include "query/statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "query/summary_kernels.h"
#include "store/value_statistics.h"
#include "tests/store/store_fixture.h"

namespace tenon {
namespace {

using testing::Bytes;
using testing::error_of;
using testing::IsError;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

// Bytes of a tensor, whose shape may be changed to that of a view.
struct Tensor {
  DType dtype;
  Bytes bytes;
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> stride;
  std::uint64_t offset_bytes = 0;
  std::vector<ValueScale> scales{};
  std::uint32_t axis = 0;

  Values values() const { return {{dtype, bytes.data() + offset_bytes, shape, stride}, scales, axis, nullptr}; }
};

Tensor make(DType dtype, Bytes bytes, std::vector<std::int64_t> shape) {
  auto stride = testing::contiguous_stride(shape);
  return {dtype, std::move(bytes), std::move(shape), std::move(stride)};
}

template <typename T>
Tensor make(const std::vector<T>& values) {
  return make(NativeDType<T>::value, testing::bytes_of(values), {static_cast<std::int64_t>(values.size())});
}

// Values one by one in row-major order: a slow second opinion.
std::vector<double> list(const Tensor& tensor) {
  std::vector<double> found;
  const Values values = tensor.values();
  std::vector<std::int64_t> index(tensor.shape.size(), 0);
  std::int64_t count = 1;
  for (const auto size : tensor.shape) count *= size;
  for (std::int64_t n = 0; n < count; ++n) {
    std::int64_t at = 0;
    for (std::size_t d = 0; d < index.size(); ++d) at += index[d] * tensor.stride[d];
    double value = 0;
    expand_values(tensor.dtype, values.tensor.data + at * static_cast<std::int64_t>(item_bytes(tensor.dtype)), 1,
                  &value);
    if (!tensor.scales.empty()) {
      const auto& scale = tensor.scales[tensor.scales.size() > 1 ? static_cast<std::size_t>(index[tensor.axis]) : 0];
      value = (value - scale.zero_point) * scale.scale;
    }
    found.push_back(value);
    for (std::size_t d = index.size(); d-- > 0;) {
      if (++index[d] < tensor.shape[d]) break;
      index[d] = 0;
    }
  }
  return found;
}

void expect_near(double got, double wanted, double scale, const std::string& what) {
  if (std::isnan(wanted)) {
    EXPECT_TRUE(std::isnan(got)) << what << " is " << got;
  } else if (std::isinf(wanted)) {
    EXPECT_EQ(got, wanted) << what;
  } else {
    EXPECT_LE(std::abs(got - wanted), 1e-12 * scale + 1e-300) << what << ": " << got << " for " << wanted;
  }
}

double quantile_of(std::vector<double> values, double quantile) {
  std::erase_if(values, [](double value) { return std::isnan(value); });
  if (values.empty()) return nan;
  std::ranges::sort(values);
  const double at = quantile * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const double a = values[below], b = values[std::min(below + 1, values.size() - 1)];
  const double share = at - static_cast<double>(below);
  if (a == b) return a;
  return share < 0.5 ? a + (b - a) * share : b - (b - a) * (1 - share);
}

void expect_summary_of(const Tensor& tensor, const std::string& what) {
  const std::vector<double> all = list(tensor);
  const std::vector<double> wanted{0, 0.01, 0.25, 0.5, 0.9, 1};
  const Summary summary = summarize(tensor.values(), {.statistics = true, .l1 = true, .quantiles = wanted, .bins = 16});
  EXPECT_EQ(summary.count, all.size()) << what;
  long double sum = 0, magnitudes = 0;
  std::uint64_t nans = 0, infinities = 0, zeros = 0;
  double low = infinity, high = -infinity;
  for (const double value : all) {
    nans += std::isnan(value);
    infinities += std::isinf(value);
    zeros += value == 0;
    if (std::isnan(value)) continue;
    sum += static_cast<long double>(value);
    magnitudes += std::abs(static_cast<long double>(value));
    if (std::isinf(value)) continue;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  const auto scale = static_cast<double>(magnitudes);
  ASSERT_TRUE(summary.statistics && summary.l1 && summary.histogram) << what;
  EXPECT_EQ(summary.statistics->nan_count, nans) << what;
  EXPECT_EQ(summary.statistics->inf_count, infinities) << what;
  EXPECT_EQ(summary.statistics->zero_count, zeros) << what;
  expect_near(summary.statistics->sum, static_cast<double>(sum), scale, what + " sum");
  expect_near(*summary.l1, scale, scale, what + " l1");
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    expect_near(summary.quantiles[i], quantile_of(all, wanted[i]), 0, what + " quantile " + std::to_string(wanted[i]));
  }
  std::uint64_t binned = 0;
  for (const std::uint64_t count : summary.histogram->counts) binned += count;
  EXPECT_EQ(binned, all.size() - nans - infinities) << what;
  if (binned == 0) return;
  if (low == high) return;
  EXPECT_EQ(summary.histogram->range.low, low) << what;
  EXPECT_EQ(summary.histogram->range.high, high) << what;
}

std::vector<DType> all_with_values() {
  std::vector<DType> dtypes;
  for (const DTypeInfo& info : all_dtypes()) {
    if (has_statistics(info.dtype)) dtypes.push_back(info.dtype);
  }
  return dtypes;
}

// Random patterns hold NaNs and infinities of every kind where a type has them.
TEST(Summary, OfEveryTypeIsWhatAddingUpOneByOneGives) {
  const auto dtypes = all_with_values();
  ASSERT_EQ(dtypes.size(), 21u);
  for (const DType dtype : dtypes) {
    for (const std::int64_t count : {0, 1, 7, 5000}) {
      const auto bytes = testing::pattern(static_cast<std::size_t>(count) * item_bytes(dtype), 3);
      expect_summary_of(make(dtype, bytes, {count}),
                        std::string(dtype_info(dtype).name) + " x " + std::to_string(count));
    }
  }
}

TEST(Summary, OfOrdinaryFloatsOfManyPieces) {
  std::mt19937_64 random(5);
  std::normal_distribution<float> normal(1, 3);
  std::vector<float> values(1'500'001);
  for (float& value : values) value = normal(random);
  expect_summary_of(make(values), "1,500,001 floats");
}

TEST(Summary, QuantilesAreExactWhereAllValuesAreNearlyTheSame) {
  std::mt19937_64 random(6);
  std::vector<double> values(300'000);
  for (double& value : values) value = 1 + std::ldexp(static_cast<double>(random() % 1024), -52);
  expect_summary_of(make(values), "doubles of 1,024 neighbours");
}

TEST(Summary, QuantilesOfMoreEqualBeginningsThanAreCollected) {
  std::vector<float> values(4'500'000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 1 + std::ldexp(static_cast<float>(i * 7919 % 997), -23);
  expect_summary_of(make(values), "floats of 997 neighbours");
}

TEST(Summary, OfStridedTurnedAndExpandedViews) {
  Tensor tensor = make(DType::float32, testing::pattern(60 * 50 * 4, 2), {60, 50});
  tensor.shape = {25, 20};
  tensor.stride = {2, 150};
  tensor.offset_bytes = 4;
  expect_summary_of(tensor, "every second column of every third row, transposed");
  tensor.shape = {25, 3, 20};
  tensor.stride = {2, 0, 150};
  expect_summary_of(tensor, "expanded");
  tensor.shape = {50};
  tensor.stride = {-1};
  tensor.offset_bytes = 49 * 4;
  expect_summary_of(tensor, "backwards");
}

TEST(Summary, OfQuantizedTensorsIsOfWhatTheyStandFor) {
  Tensor tensor = make(DType::quint8, testing::pattern(6000), {20, 30, 10});
  tensor.scales = {{0.05, 128}};
  expect_summary_of(tensor, "per tensor");
  tensor.dtype = DType::qint8;
  tensor.axis = 1;
  tensor.scales.clear();
  for (int i = 0; i < 30; ++i) tensor.scales.push_back({0.01 * (i + 1), i - 15.0});
  expect_summary_of(tensor, "per channel");
}

TEST(Summary, HoldsWhatWasAskedForAndNothingElse) {
  const Tensor tensor = make<float>({1, 2, 3});
  const Summary l1 = summarize(tensor.values(), {.l1 = true});
  EXPECT_EQ(l1.l1, 6.0);
  EXPECT_FALSE(l1.statistics || l1.histogram);
  EXPECT_TRUE(l1.quantiles.empty());
  const Summary bins = summarize(tensor.values(), {.bins = 2});
  EXPECT_FALSE(bins.statistics || bins.l1);
}

TEST(Summary, TheSumOfMagnitudesKeepsItsDigits) {
  std::vector<double> values(200'001, 1e-9);
  values[0] = 1e9;
  const Summary summary = summarize(make(values).values(), {.l1 = true});
  EXPECT_NEAR(*summary.l1, 1e9 + 200'000 * 1e-9, 1e-6);
}

TEST(Summary, ANaNIsLeftOutOfTheSumOfMagnitudesAndAnInfinityIsNot) {
  std::vector<float> values(10'000, -1);
  values[5000] = static_cast<float>(nan);
  EXPECT_EQ(summarize(make(values).values(), {.l1 = true}).l1, 9999.0);
  values[6000] = static_cast<float>(-infinity);
  EXPECT_EQ(summarize(make(values).values(), {.l1 = true}).l1, infinity);
}

TEST(Summary, AnEdgeBelongsToTheBinAboveAndTheLastEdgeToTheLastBin) {
  const Tensor tensor = make<double>({0, 1, 2, 3, 4, 4, -1, 5, nan, infinity});
  const Summary summary = summarize(tensor.values(), {.bins = 4, .range = ValueRange{0, 4}});
  EXPECT_EQ(summary.histogram->counts, (std::vector<std::uint64_t>{1, 1, 1, 3}));
}

TEST(Summary, BinsOfAllFiniteDoublesDoNotOverflow) {
  const double most = std::numeric_limits<double>::max();
  const Summary summary = summarize(make<double>({-most, 0, most}).values(), {.bins = 2});
  EXPECT_EQ(summary.histogram->counts, (std::vector<std::uint64_t>{1, 2}));
}

TEST(Summary, OneValueLiesInTheMiddleOfARangeOfOne) {
  const Summary summary = summarize(make<float>({3, 3, 3}).values(), {.bins = 3});
  EXPECT_EQ(summary.histogram->counts, (std::vector<std::uint64_t>{0, 3, 0}));
  EXPECT_EQ(summary.histogram->range.low, 2.5);
}

TEST(Summary, WrongRequestsAreRefused) {
  const Tensor tensor = make<float>({1});
  const auto error = [&](const SummaryRequest& request) {
    return error_of([&] { summarize(tensor.values(), request); });
  };
  EXPECT_THAT(error({.quantiles = {1.5}}), IsError(ErrorKind::invalid_argument, "not a quantile"));
  EXPECT_THAT(error({.quantiles = {nan}}), IsError(ErrorKind::invalid_argument, "not a quantile"));
  EXPECT_THAT(error({.bins = 100'000}), IsError(ErrorKind::invalid_argument, "too many bins"));
  EXPECT_THAT(error({.bins = 2, .range = ValueRange{2, 1}}), IsError(ErrorKind::invalid_argument, "not a range"));
}

TEST(Summary, OfMoreElementsThanAnybodyWaitsForIsRefused) {
  Tensor tensor = make<float>({1, 2});
  tensor.shape = {std::int64_t{1} << 20, std::int64_t{1} << 20};
  tensor.stride = {1, 1};  // never followed
  EXPECT_THAT(error_of([&] { summarize(tensor.values(), {.l1 = true}); }), IsError(ErrorKind::limit, "too many"));
}

TEST(Summary, WhatThePollThrowsEndsTheReading) {
  const std::vector<float> values(1 << 22, 1);
  int calls = 0;
  const auto poll = [&] {
    if (++calls == 2) throw std::runtime_error("enough");
  };
  EXPECT_THROW(summarize(make(values).values(), {.l1 = true}, poll), std::runtime_error);
}

double product_of(const std::vector<double>& a, const std::vector<double>& b) {
  long double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!std::isnan(a[i]) && !std::isnan(b[i])) sum += static_cast<long double>(a[i]) * static_cast<long double>(b[i]);
  }
  return static_cast<double>(sum);
}

Bytes ordinary(DType dtype, std::size_t count, std::uint64_t number) {
  Bytes bytes = testing::pattern(count * item_bytes(dtype), number);
  const bool is_wide_float = dtype == DType::float32 || dtype == DType::float64;
  for (std::size_t i = 0; is_wide_float && i < count; ++i) {  // within a few orders of magnitude, and no NaN
    const double value = std::to_integer<int>(bytes[i]) - 100.25;
    const auto narrow = static_cast<float>(value);
    if (dtype == DType::float64) std::memcpy(bytes.data() + 8 * i, &value, 8);
    if (dtype == DType::float32) std::memcpy(bytes.data() + 4 * i, &narrow, 4);
  }
  return bytes;
}

TEST(PairSummary, OfEveryRealTypeIsWhatAddingUpOneByOneGives) {
  for (const DType dtype : all_with_values()) {
    if (dtype_info(dtype).kind == DTypeClass::complex) continue;
    const Tensor a = make(dtype, ordinary(dtype, 3001, 1), {3001}), b = make(dtype, ordinary(dtype, 3001, 2), {3001});
    const auto values_a = list(a), values_b = list(b);
    if (std::ranges::any_of(values_a, [](double v) { return std::isinf(v); })) continue;
    const auto pair = summarize_pair(a.values(), b.values(), {.difference = true, .dot = true});
    const std::string name(dtype_info(dtype).name);
    const double scale = pair->norm_a * pair->norm_b;
    expect_near(pair->dot, product_of(values_a, values_b), scale, name);
    double largest = 0;
    for (std::size_t i = 0; i < values_a.size(); ++i) {
      if (!std::isnan(values_a[i]) && !std::isnan(values_b[i])) {
        largest = std::max(largest, std::abs(values_b[i] - values_a[i]));
      }
    }
    EXPECT_EQ(pair->difference.max_abs, largest) << name;
    EXPECT_EQ(pair->difference.count, 3001u) << name;
  }
}

TEST(PairSummary, OfComplexNumbersTakesTheRealPartOfTheirProduct) {
  const Tensor a = make<std::complex<float>>({{1, 2}, {3, -1}}), b = make<std::complex<float>>({{2, 0}, {1, 1}});
  const auto pair = summarize_pair(a.values(), b.values(), {.dot = true});
  EXPECT_EQ(pair->dot, 2 + 3 - 1);
  EXPECT_EQ(pair->norm_a, std::sqrt(15.0));
}

TEST(PairSummary, ANaNTakesItsPairOut) {
  const Tensor a = make<float>({1, static_cast<float>(nan), 3}), b = make<float>({1, 2, static_cast<float>(nan)});
  const auto pair = summarize_pair(a.values(), b.values(), {.difference = true, .dot = true});
  EXPECT_EQ(pair->dot, 1);
  EXPECT_EQ(pair->norm_b, 1);
  EXPECT_EQ(pair->difference.changed_count, 2u);
  EXPECT_DOUBLE_EQ(pair->changed_share(), 2.0 / 3);
}

TEST(PairSummary, OfTwoTypesComparesValues) {
  const Tensor a = make<float>({1, 2, 3}), b = make<double>({1, 2.5, 3});
  const auto pair = summarize_pair(a.values(), b.values(), {.difference = true, .dot = true});
  EXPECT_EQ(pair->difference.changed_count, 1u);
  EXPECT_EQ(pair->difference.max_abs, 0.5);
  EXPECT_EQ(pair->dot, 15);
  EXPECT_NEAR(pair->cosine(), 15 / std::sqrt(14 * 16.25), 1e-15);
}

TEST(PairSummary, OfLargeTurnedAndExpandedTensors) {
  std::vector<float> numbers(1 << 20);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i % 1000);
  Tensor a = make(numbers), b = make(numbers);
  a.shape = b.shape = {1024, 1024};
  a.stride = {1024, 1};
  b.stride = {1, 1024};
  const auto turned = summarize_pair(a.values(), b.values(), {.difference = true, .dot = true});
  const auto values_a = list(a), values_b = list(b);
  expect_near(turned->dot, product_of(values_a, values_b), turned->dot, "turned");
  a.shape = b.shape = {1024, 3, 1024};
  a.stride = b.stride = {1024, 0, 1};
  b.offset_bytes = 0;
  const auto expanded = summarize_pair(a.values(), b.values(), {.difference = true, .dot = true});
  EXPECT_EQ(expanded->difference.count, 3u << 20);
  EXPECT_EQ(expanded->difference.changed_count, 0u);
  expect_near(expanded->dot, 3 * product_of(values_a, values_a), expanded->dot, "expanded");
}

TEST(PairSummary, OfTensorsWithScalesForEachChannel) {
  Tensor a = make(DType::qint8, testing::pattern(200, 1), {4, 50});
  Tensor b = make(DType::quint8, testing::pattern(200, 2), {4, 50});
  a.scales = {{0.5, 1}, {1, 2}, {2, 3}, {4, 4}};
  b.scales = {{0.25, 7}};
  const auto check = [&](const char* what) {
    const auto pair = summarize_pair(a.values(), b.values(), {.difference = true, .dot = true});
    expect_near(pair->dot, product_of(list(a), list(b)), pair->norm_a * pair->norm_b, what);
    EXPECT_EQ(pair->difference.count, 200u) << what;
  };
  check("one of them");
  b.scales = {{1, 0}, {2, 0}, {3, 0}, {4, 0}};
  check("both along one axis");
  b.axis = 1;
  b.scales.assign(50, {1, 0});
  for (std::size_t i = 0; i < 50; ++i) b.scales[i].scale = static_cast<double>(i);
  check("along two axes");
}

TEST(PairSummary, OfDifferentShapesIsNone) {
  EXPECT_FALSE(summarize_pair(make<float>({1, 2}).values(), make<float>({1}).values(), {.dot = true}));
}

TEST(Values, OfAForeignTensorAreReadWhereTheyLie) {
  testing::DraftBuilder builder;
  const Bytes bytes = testing::bytes_of(std::vector<float>{0, 1, 2, 3, 4, 5});
  std::uint64_t read = 0;
  builder.slot(bytes.size(), [&](std::uint64_t offset, std::span<std::byte> out) {
    read += out.size();
    std::memcpy(out.data(), bytes.data() + offset, out.size());
  });
  builder.tensor("w", DType::float32, {2}, {.stride = {2}, .offset_bytes = 4});
  const auto values = values_of(builder.draft(), 0, 100);
  EXPECT_EQ(summarize(*values, {.l1 = true}).l1, 4.0);
  EXPECT_EQ(read, 12u);
  EXPECT_THAT(error_of([&] { values_of(builder.draft(), 0, 8); }), IsError(ErrorKind::limit, "too large"));
}

TEST(Values, OutsideOfAForeignStorageAreRefused) {
  testing::DraftBuilder builder;
  builder.slot(Bytes(16)).tensor("w", DType::float32, {2, 2}, {.stride = {INT64_MAX / 2, 1}});
  EXPECT_THAT(error_of([&] { values_of(builder.draft(), 0, 100); }), IsError(ErrorKind::corrupt, "outside"));
}

}  // namespace
}  // namespace tenon
