#include "tools/histogram.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

namespace tenon::tools {
namespace {

// A vector of doubles as a tensor.
class Doubles {
 public:
  explicit Doubles(std::vector<double> values)
      : values_(std::move(values)), shape_{static_cast<std::int64_t>(values_.size())} {}
  Elements elements() const {
    return Elements(Selection({.dtype = DType::float64, .shape = shape_, .stride = stride_}),
                    std::as_bytes(std::span(values_)));
  }

 private:
  std::vector<double> values_;
  std::vector<std::int64_t> shape_;
  std::vector<std::int64_t> stride_{1};
};

TEST(Statistics, NansAreCountedAndOtherwiseIgnored) {
  const Doubles values({3, NAN, 0, -4, INFINITY});
  const auto statistics = compute_statistics(values.elements());
  ASSERT_TRUE(statistics);
  EXPECT_EQ(statistics->nan_count, 1u);
  EXPECT_EQ(statistics->inf_count, 1u);
  EXPECT_EQ(statistics->zero_count, 1u);
  EXPECT_EQ(statistics->min, -4);
  EXPECT_EQ(statistics->max, INFINITY);
}

TEST(Statistics, SummaryIsOfThePopulation) {
  const Doubles values({1, 2, 3, 4, NAN});
  const Summary summary = summarize(*compute_statistics(values.elements()), 5);
  EXPECT_EQ(summary.mean, 2.5);
  EXPECT_DOUBLE_EQ(*summary.std, std::sqrt(1.25));
  EXPECT_DOUBLE_EQ(*summary.norm, std::sqrt(30.0));
}

TEST(Statistics, LargeNeighboursHaveTheirDeviation) {
  const Doubles values({1e9, 1e9 + 1, 1e9 + 2, 1e9 + 3});
  EXPECT_DOUBLE_EQ(*summarize(*compute_statistics(values.elements()), 4).std, std::sqrt(1.25));
}

TEST(Statistics, NothingIsToldWhereThereAreOnlyNans) {
  const Doubles values({NAN, NAN});
  const Summary summary = summarize(*compute_statistics(values.elements()), 2);
  EXPECT_FALSE(summary.min || summary.max || summary.mean || summary.std || summary.norm);
}

TEST(Statistics, EqualValuesHaveNoNegativeVariance) {
  const Doubles values(std::vector<double>(1000, 0.1));
  EXPECT_NEAR(*summarize(*compute_statistics(values.elements()), 1000).std, 0, 1e-16);
}

TEST(Histogram, CountsEveryFiniteValueOnce) {
  std::vector<double> values(1000);
  std::iota(values.begin(), values.end(), 0);
  values.push_back(NAN);
  values.push_back(-INFINITY);
  const auto histogram = compute_histogram(Doubles(values).elements(), 10, 1 << 20);
  ASSERT_TRUE(histogram);
  EXPECT_EQ(histogram->counts, std::vector<std::uint64_t>(10, 100));
  EXPECT_EQ(histogram->sampled, 1000u);
  EXPECT_EQ(histogram->low, 0);
  EXPECT_EQ(histogram->high, 999);
}

TEST(Histogram, TheWholeRangeOfDoublesHasBins) {
  const auto histogram = compute_histogram(Doubles({-1.7e308, 0, 1.7e308}).elements(), 3, 10);
  ASSERT_TRUE(histogram);
  EXPECT_EQ(histogram->counts, std::vector<std::uint64_t>(3, 1));
}

TEST(Histogram, SamplesAreEvenlySpaced) {
  std::vector<double> values(100);
  std::iota(values.begin(), values.end(), 0);
  const auto histogram = compute_histogram(Doubles(values).elements(), 2, 10);
  ASSERT_TRUE(histogram);
  EXPECT_EQ(histogram->sampled, 10u);
  EXPECT_EQ(histogram->high, 90);
}

TEST(Histogram, NeedsTwoDifferentValues) {
  EXPECT_FALSE(compute_histogram(Doubles({}).elements(), 8, 10));
  EXPECT_FALSE(compute_histogram(Doubles({5, 5, NAN}).elements(), 8, 10));
}

TEST(Histogram, DrawsFewAsMoreThanNone) {
  const Histogram histogram{.low = 0, .high = 1, .counts = {0, 1, 1000, 500}, .sampled = 1501};
  EXPECT_EQ(draw(histogram, 2), (std::vector<std::string>{"  █ ", " ▁██"}));
}

}  // namespace
}  // namespace tenon::tools
