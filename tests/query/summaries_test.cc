#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "tenon/summary.h"
#include "tests/store/store_fixture.h"

namespace tenon {
namespace {

using testing::bytes_of;
using testing::DraftBuilder;

class SummariesTest : public testing::StoreTest {
 protected:
  std::filesystem::path file() const { return path() / "summaries"; }
  // Counts how often values were read, by the polls.
  std::optional<Summary> get(Summaries& summaries, const Snapshot& snapshot, const SummaryRequest& request,
                             std::uint32_t row = 0) {
    return summaries.get(snapshot, row, request, [this] { ++readings_; });
  }
  static Draft numbers(std::vector<float> values, DraftBuilder& builder) {
    const auto count = static_cast<std::int64_t>(values.size());
    return builder.slot(bytes_of(values)).tensor("w", DType::float32, {count}).draft();
  }
  int readings_ = 0;
};

const SummaryRequest everything{.statistics = true, .l1 = true, .quantiles = {0.5}, .bins = 2};

TEST_F(SummariesTest, AreReadOnceForAllSnapshotsWithTheBytesAndAllProcesses) {
  Store store = make();
  DraftBuilder builder, again;
  store.commit(numbers({1, -2, 3}, builder));
  store.commit(numbers({1, -2, 3}, again));
  Summaries first(store);
  const auto summary = get(first, store.snapshot("main"), everything);
  EXPECT_EQ(summary->l1, 6.0);
  EXPECT_EQ(summary->quantiles, (std::vector<double>{1}));
  EXPECT_EQ(summary->histogram->counts, (std::vector<std::uint64_t>{1, 2}));
  const int readings = readings_;
  EXPECT_GT(readings, 0);
  get(first, store.snapshot("main~1"), everything);
  Summaries second(store);  // as another process would
  const auto same = get(second, store.snapshot("main~1"), everything);
  EXPECT_EQ(readings_, readings);
  EXPECT_EQ(same->l1, 6.0);
  EXPECT_EQ(same->quantiles, summary->quantiles);
  EXPECT_EQ(same->histogram->counts, summary->histogram->counts);
  EXPECT_EQ(same->histogram->range.low, -2);
}

TEST_F(SummariesTest, OfTheCommitReadNothing) {
  Store store = make();
  DraftBuilder builder;
  store.commit(numbers({1, -2, 3}, builder));
  Summaries summaries(store);
  EXPECT_EQ(get(summaries, store.snapshot("main"), {.statistics = true})->statistics->sum, 2);
  EXPECT_EQ(readings_, 0);
}

TEST_F(SummariesTest, OtherGeometryOverTheSameBytesIsReadAnew) {
  Store store = make();
  store.commit(DraftBuilder{}
                   .slot(bytes_of(std::vector<float>{1, 2, 3, 4}))
                   .tensor("all", DType::float32, {4})
                   .tensor("half", DType::float32, {2}, {.stride = {2}})
                   .tensor("as integers", DType::int32, {4}));
  Summaries summaries(store);
  const Snapshot snapshot = store.snapshot("main");
  EXPECT_EQ(get(summaries, snapshot, {.l1 = true}, 0)->l1, 10.0);
  EXPECT_EQ(get(summaries, snapshot, {.l1 = true}, 1)->l1, 4.0);
  EXPECT_EQ(get(summaries, snapshot, {.l1 = true}, 2)->l1,
            1.0 * 0x3F800000 + 0x40000000 + 1.0 * 0x40400000 + 0x40800000);
}

TEST_F(SummariesTest, WhatMayHaveBeenWrittenToIsReadEachTime) {
  Store store = make();
  DraftBuilder builder;
  store.commit(numbers({1, 2}, builder));
  Summaries summaries(store);
  const Snapshot snapshot = store.snapshot("main", {.mode = Mode::private_});
  EXPECT_EQ(get(summaries, snapshot, everything)->l1, 3.0);
  const float five = 5;
  std::memcpy(snapshot.view(0).mutable_data(), &five, sizeof five);
  const auto changed = get(summaries, snapshot, everything);
  EXPECT_EQ(changed->l1, 7.0);
  EXPECT_EQ(changed->statistics->sum, 7);
}

TEST_F(SummariesTest, AnswerWithoutAFileToWriteTo) {
  Store store = make();
  DraftBuilder builder;
  store.commit(numbers({1, -2, 3}, builder));
  store.bundle("main", base() / "b.tenon");
  std::filesystem::create_directory(file());  // which is no file, for any user
  for (const Store& readable : {store, Store::open(base() / "b.tenon")}) {
    Summaries summaries(readable);
    readings_ = 0;
    EXPECT_EQ(get(summaries, readable.snapshot("main"), everything)->l1, 6.0);
    EXPECT_GT(readings_, 0);
    const int readings = readings_;
    EXPECT_EQ(get(summaries, readable.snapshot("main"), everything)->l1, 6.0);
    EXPECT_EQ(readings_, readings);
  }
}

TEST_F(SummariesTest, DamageOfTheFileCostsAReadingAndNothingElse) {
  Store store = make();
  DraftBuilder builder;
  store.commit(numbers({1, -2, 3}, builder));
  const auto ask = [&] {
    Summaries summaries(store);
    readings_ = 0;
    EXPECT_EQ(get(summaries, store.snapshot("main"), {.l1 = true})->l1, 6.0);
    return readings_;
  };
  EXPECT_GT(ask(), 0);
  EXPECT_EQ(ask(), 0);
  const std::uint64_t size = std::filesystem::file_size(file());
  for (std::uint64_t at = 0; at < size; ++at) {
    std::filesystem::remove(file());
    EXPECT_GT(ask(), 0) << at;
    testing::flip_byte(file(), at);
    EXPECT_GT(ask(), 0) << at;
    EXPECT_EQ(ask(), 0) << at;
  }
  for (std::uint64_t cut = 0; cut < size; ++cut) {
    std::filesystem::resize_file(file(), cut);
    EXPECT_GT(ask(), 0) << cut;
    EXPECT_EQ(ask(), 0) << cut;
    ASSERT_EQ(std::filesystem::file_size(file()), size) << cut;
    std::filesystem::remove(file());
    EXPECT_GT(ask(), 0) << cut;
  }
}

TEST_F(SummariesTest, TheFileIsNoDamageToVerify) {
  Store store = make();
  DraftBuilder builder;
  store.commit(numbers({1, -2, 3}, builder));
  Summaries summaries(store);
  get(summaries, store.snapshot("main"), everything);
  ASSERT_TRUE(std::filesystem::exists(file()));
  EXPECT_EQ(damage(), std::vector<std::string>{});
}

TEST_F(SummariesTest, PairsAreReadOnce) {
  Store store = make();
  DraftBuilder builder, other;
  store.commit(numbers({3, 4}, builder));
  store.commit(numbers({3, 5}, other));
  const Snapshot older = store.snapshot("main~1"), newer = store.snapshot("main");
  const PairRequest request{.difference = true, .dot = true};
  for (int round = 0; round < 2; ++round) {
    Summaries summaries(store);
    readings_ = 0;
    const auto pair = summaries.pair(older, 0, newer, 0, request, [this] { ++readings_; });
    EXPECT_EQ(pair->dot, 29);
    EXPECT_EQ(pair->difference.l2, 1);
    EXPECT_EQ(pair->difference.count, 2u);
    EXPECT_EQ(pair->norm_a, 5);
    EXPECT_EQ(pair->changed_share(), 0.5);
    EXPECT_EQ(readings_ > 0, round == 0);
  }
}

TEST_F(SummariesTest, OfQuantizedRowsAreOfWhatTheyStandFor) {
  Store store = make();
  DraftBuilder builder;
  builder.slot({std::byte{1}, std::byte{3}, std::byte{5}, std::byte{6}}).tensor("q", DType::quint8, {2, 2});
  builder.draft().tensors.back().quantizer = "per_channel_affine(axis=0)";
  builder.slot(bytes_of(std::vector<double>{1, 10})).tensor("q.scales", DType::float64, {2});
  builder.slot(bytes_of(std::vector<std::int64_t>{1, 4})).tensor("q.zero_points", DType::int64, {2});
  builder.slot({std::byte{0xFE}}).tensor("t", DType::qint8, {1});
  builder.draft().tensors.back().quantizer = "per_tensor_affine(scale=0.5, zero_point=2)";
  store.commit(builder);
  Summaries summaries(store);
  const Snapshot snapshot = store.snapshot("main");
  EXPECT_EQ(get(summaries, snapshot, everything, 0)->l1, 0 + 2 + 10 + 20.0);
  EXPECT_EQ(get(summaries, snapshot, everything, 0)->statistics->max, 20);
  EXPECT_EQ(get(summaries, snapshot, everything, 3)->statistics->sum, -2);
}

TEST_F(SummariesTest, OfANegatedViewAreNegated) {
  Store store = make();
  DraftBuilder builder;
  Draft draft = numbers({1, 2, 4}, builder);
  draft.tensors[0].is_neg = true;
  store.commit(draft);
  Summaries summaries(store);
  const auto summary = get(summaries, store.snapshot("main"), everything);
  EXPECT_EQ(summary->statistics->min, -4);
  EXPECT_EQ(summary->quantiles, (std::vector<double>{-2}));
}

TEST_F(SummariesTest, WithoutNumbersThereAreNone) {
  Store store = make();
  store.commit(DraftBuilder{}.slot(testing::Bytes(8)).tensor("b", DType::bits8, {8}));
  Summaries summaries;
  EXPECT_FALSE(get(summaries, store.snapshot("main"), everything));
}

}  // namespace
}  // namespace tenon
