// The rules of forgetting, over histories made by hand.
#include "store/retention.h"

#include <stdlib.h>

#include "store_fixture.h"

namespace tenon::testing {
namespace {

constexpr std::int64_t hour_ns = 3600 * std::int64_t{1'000'000'000};

class RetentionTest : public ::testing::Test {
 protected:
  RetentionTest() {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
  }
  // Newest first: `count` snapshots, `hours` apart, the newest at the end of 1970-01-31; steps rise by 100.
  static std::vector<SnapshotInfo> history(std::size_t count, std::int64_t hours) {
    std::vector<SnapshotInfo> infos(count);
    for (std::size_t i = 0; i < count; ++i) {
      const auto age = static_cast<std::int64_t>(i);
      infos[i].created_at_ns = (31 * 24 - 1 - age * hours) * hour_ns;
      infos[i].step = 100 * static_cast<std::int64_t>(count - 1 - i);
    }
    return infos;
  }
  static std::vector<std::size_t> kept(std::span<const SnapshotInfo> infos, const KeepRules& rules) {
    std::vector<std::size_t> places;
    const auto reasons = reasons_to_keep(infos, rules);
    for (std::size_t i = 0; i < reasons.size(); ++i) {
      if (!reasons[i].empty()) places.push_back(i);
    }
    return places;
  }
  using Places = std::vector<std::size_t>;
};

TEST_F(RetentionTest, LastKeepsTheNewest) {
  const auto infos = history(5, 1);
  EXPECT_EQ(kept(infos, {.last = 2}), (Places{0, 1}));
  EXPECT_EQ(kept(infos, {.last = 9}).size(), 5u);
  EXPECT_EQ(reasons_to_keep(infos, {.last = 2})[1], std::vector<std::string>{"last 2"});
}

TEST_F(RetentionTest, OfAPeriodTheNewestIsKept) {
  const auto infos = history(100, 8);  // three a day
  EXPECT_EQ(kept(infos, {.daily = 3}), (Places{0, 3, 6}));
  EXPECT_EQ(kept(infos, {.hourly = 2}), (Places{0, 1}));
  // 1970-01-31 was a Saturday: the weeks before it end with the Sundays 25 and 18.
  EXPECT_EQ(kept(infos, {.weekly = 3}), (Places{0, 18, 39}));
  EXPECT_EQ(kept(infos, {.monthly = 2}), (Places{0, 93}));
  EXPECT_EQ(reasons_to_keep(infos, {.daily = 3})[3], std::vector<std::string>{"daily 1970-01-30"});
}

TEST_F(RetentionTest, PeriodsWithoutSnapshotsAreNotCounted) {
  EXPECT_EQ(kept(history(4, 24 * 5), {.daily = 3}), (Places{0, 1, 2}));
}

TEST_F(RetentionTest, OfEachIntervalOfStepsTheFirstIsKept) {
  const auto infos = history(10, 1);  // steps 900 to 0
  EXPECT_EQ(kept(infos, {.every = 300}), (Places{0, 3, 6, 9}));
  EXPECT_EQ(kept(infos, {.every = 250}), (Places{1, 4, 6, 9}));  // 0, 300, 500, 800
  auto without = infos;
  for (SnapshotInfo& info : without) info.step.reset();
  EXPECT_EQ(kept(without, {.every = 300}), Places{});
  EXPECT_THAT(error_of([&] { kept(infos, {.every = -1}); }), IsError(ErrorKind::invalid_argument, "steps"));
}

TEST_F(RetentionTest, TheBestAreKeptByTheirMetric) {
  auto infos = history(5, 1);
  const double losses[] = {3, 1, 2, 1, 5};
  for (std::size_t i = 0; i < 5; ++i) infos[i].meta = "{\"loss\": " + std::to_string(losses[i]) + "}";
  EXPECT_EQ(kept(infos, {.best = {parse_keep_best("min:loss")}}), (Places{1}));
  EXPECT_EQ(kept(infos, {.best = {parse_keep_best("min:loss:3")}}), (Places{1, 2, 3}));
  EXPECT_EQ(kept(infos, {.best = {parse_keep_best("max:loss:1"), parse_keep_best("min:loss")}}), (Places{1, 4}));
  EXPECT_EQ(kept(infos, {.best = {parse_keep_best("min:other")}}), Places{});
}

TEST_F(RetentionTest, RulesAreCombinedByUnion) {
  const auto infos = history(10, 24);
  EXPECT_EQ(kept(infos, {.last = 1, .daily = 2, .every = 500}), (Places{0, 1, 4, 9}));
  EXPECT_EQ(reasons_to_keep(infos, {.last = 1, .daily = 2})[0].size(), 2u);
}

TEST_F(RetentionTest, WhatIsNoRuleForTheBestIsRefused) {
  for (const char* text : {"", "loss", "min:", "avg:loss", "min:loss:0", "min:loss:x", "min::3"}) {
    EXPECT_THAT(error_of([&] { parse_keep_best(text); }), IsError(ErrorKind::invalid_argument, "rule for the best"))
        << text;
  }
}

class ForgetTest : public StoreTest {
 protected:
  static SnapshotId commit(Store& store, std::uint64_t number, const char* ref = "main") {
    return store.commit(one_tensor(pattern(64, number)), {.ref = ref}).id;
  }
};

TEST_F(ForgetTest, WhatOtherRefsHaveInTheirHistoryStays) {
  Store store = make();
  const auto a = commit(store, 1), b = commit(store, 2);
  store.set_ref("side", b);
  commit(store, 3), commit(store, 4);
  EXPECT_EQ(store.forget({.keep = {.last = 1}, .refs = {"main"}}).forgotten, 1u);
  EXPECT_EQ(store.log("side").size(), 2u);
  EXPECT_EQ(store.log("main").size(), 3u);
  EXPECT_EQ(store.resolve("main~2"), a);
}

TEST_F(ForgetTest, ADryRunChangesNothing) {
  Store store = make();
  for (std::uint64_t i = 0; i < 4; ++i) commit(store, i);
  const ForgetReport report = store.forget({.keep = {.last = 1}, .dry_run = true});
  EXPECT_EQ(report.forgotten, 3u);
  EXPECT_EQ(report.rows.size(), 4u);
  EXPECT_EQ(store.log().size(), 4u);
  EXPECT_EQ(store.reflog().size(), 4u);
}

TEST_F(ForgetTest, TheTagRuleKeepsWhatTagsPointToAndNoMore) {
  Store store = make();
  const auto a = commit(store, 1);
  commit(store, 2), commit(store, 3);
  store.create_tag("good", a);
  EXPECT_EQ(store.forget({.keep = {.tagged = true}}).forgotten, 1u);
  EXPECT_EQ(store.log().size(), 2u);
}

TEST_F(ForgetTest, WithoutARuleNothingIsForgotten) {
  Store store = make();
  commit(store, 1);
  EXPECT_THAT(error_of([&] { store.forget({}); }), IsError(ErrorKind::invalid_argument, "no rule"));
  EXPECT_THAT(error_of([&] { store.forget({.keep = {.last = 1}, .refs = {"mian"}}); }),
              IsError(ErrorKind::not_found, "no ref 'mian'"));
}

}  // namespace
}  // namespace tenon::testing
