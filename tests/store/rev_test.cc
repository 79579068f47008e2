// The rev grammar over real histories.
#include "store/rev.h"

#include <ctime>

#include "store/meta.h"
#include "store_fixture.h"
#include "tenon/rev_path.h"

namespace tenon::testing {
namespace {

std::string split(std::string_view argument) {
  const RevPath target = split_rev(argument);
  return target.rev + (target.has_path ? " | " + target.path : "");
}

TEST(RevPathTest, TheRevEndsAtTheFirstColon) {
  EXPECT_EQ(split("main"), "main");
  EXPECT_EQ(split("main~3:model/fc.weight"), "main~3 | model/fc.weight");
  EXPECT_EQ(split("main:a:b"), "main | a:b");
  EXPECT_EQ(split("main:"), "main | ");
  EXPECT_EQ(split(":w"), "main | w");
  EXPECT_EQ(split(""), "main");
}

TEST(RevPathTest, TheRevEndsAfterItsAtValue) {
  EXPECT_EQ(split("main@step:1200"), "main@step:1200");
  EXPECT_EQ(split("main@step:1200:model/fc"), "main@step:1200 | model/fc");
  EXPECT_EQ(split("main@min:val_loss:w"), "main@min:val_loss | w");
  EXPECT_EQ(split("main@2026-11-20T1530:w"), "main@2026-11-20T1530 | w");
}

TEST(RevPathTest, AnAtSignInThePathBelongsToThePath) { EXPECT_EQ(split("main:user@step:5"), "main | user@step:5"); }

class RevHistoryTest : public StoreTest {
 protected:
  // Snapshot i of ref main: step 100 * i, val_loss as given.
  std::vector<SnapshotId> commit_run(Store& store, const std::vector<double>& losses) const {
    std::vector<SnapshotId> ids;
    for (std::size_t i = 0; i < losses.size(); ++i) {
      DraftBuilder draft = one_tensor(pattern(64, i));
      draft.draft().step = static_cast<std::int64_t>(100 * i);
      draft.draft().meta = "{\"val_loss\": " + std::to_string(losses[i]) +
                           ", \"eval\": {\"acc\": " + std::to_string(i % 3) + "}, \"host\": \"gpu12\"}";
      ids.push_back(store.commit(draft).id);
    }
    return ids;
  }
  std::optional<Error> error_of_rev(const Store& store, std::string_view rev) const {
    return error_of([&] { store.resolve(rev); });
  }
  static std::string today() {
    const std::time_t now = std::time(nullptr);
    char text[16];
    std::strftime(text, sizeof text, "%Y-%m-%d", std::localtime(&now));
    return text;
  }
};

TEST_F(RevHistoryTest, AStepSelectsTheNewestSnapshotThatHasIt) {
  Store store = make();
  const auto ids = commit_run(store, {3, 2, 1});
  EXPECT_EQ(store.resolve("main@step:0"), ids[0]);
  EXPECT_EQ(store.resolve("main@step:100"), ids[1]);
  const auto again = commit_run(store, {5});  // step 0 once more
  EXPECT_EQ(store.resolve("main@step:0"), again[0]);
  EXPECT_THAT(error_of_rev(store, "main@step:150"), IsError(ErrorKind::not_found, "step 150"));
  EXPECT_EQ(error_of_rev(store, "main@step:150")->facts().hint, "the nearest: step:100 and step:200");
}

TEST_F(RevHistoryTest, MinAndMaxSelectByANumberOfTheMetadata) {
  Store store = make();
  const auto ids = commit_run(store, {3, 1, 2, 1});
  EXPECT_EQ(store.resolve("main@min:val_loss"), ids[3]);  // of equals the newest
  EXPECT_EQ(store.resolve("main@max:val_loss"), ids[0]);
  EXPECT_EQ(store.resolve("main@max:eval.acc"), ids[2]);
  EXPECT_THAT(error_of_rev(store, "main@min:host"), IsError(ErrorKind::not_found, "has a number 'host'"));
  EXPECT_THAT(error_of_rev(store, "main@min:val_los")->facts().hint, ::testing::HasSubstr("did you mean 'val_loss'?"));
}

TEST_F(RevHistoryTest, ADateSelectsTheNewestOfThatDayOrBefore) {
  Store store = make();
  const auto ids = commit_run(store, {3, 2});
  EXPECT_EQ(store.resolve("main@" + today()), ids[1]);
  EXPECT_EQ(store.resolve("main@2999-01-01T1530"), ids[1]);
  EXPECT_EQ(store.resolve("main@2999-01-01T153012~1"), ids[0]);
  EXPECT_THAT(error_of_rev(store, "main@2000-01-01"), IsError(ErrorKind::not_found, "no snapshot as old as that"));
}

TEST_F(RevHistoryTest, GenerationsAreCountedFromWhatWasSelected) {
  Store store = make();
  const auto ids = commit_run(store, {3, 2, 1});
  EXPECT_EQ(store.resolve("main@step:200~2"), ids[0]);
  EXPECT_EQ(store.resolve("main@min:val_loss~1"), ids[1]);
  EXPECT_EQ(store.resolve(to_hex(ids[1]) + "@step:0"), ids[0]);
  EXPECT_THAT(error_of_rev(store, "main@step:100~2"), IsError(ErrorKind::not_found, "no ancestor that far back"));
  EXPECT_THAT(error_of_rev(store, to_hex(ids[0]) + "@step:100"), IsError(ErrorKind::not_found, "step 100"));
}

TEST_F(RevHistoryTest, WhatIsNoValueIsRefused) {
  Store store = make();
  commit_run(store, {1});
  for (const char* rev : {"main@", "main@step:", "main@step:x", "main@min:", "main@2026", "main@2026-13-01",
                          "main@2026-11-20T25", "main@2026-11-20T1530x", "@step:1", "main@yesterday"}) {
    EXPECT_THAT(error_of_rev(store, rev), IsError(ErrorKind::invalid_argument, "not a rev")) << rev;
  }
}

TEST_F(RevHistoryTest, AMistypedIdIsSuggestedFromTheIdsThatBeginAlike) {
  Store store = make();
  const std::string id = to_hex(commit_run(store, {1})[0]);
  std::string mistyped = id;
  mistyped[20] = mistyped[20] == '0' ? '1' : '0';
  EXPECT_THAT(error_of_rev(store, mistyped)->facts().hint, ::testing::HasSubstr(id));
}

TEST(MetaTest, NumbersAreFoundByKeyAndByPath) {
  EXPECT_EQ(meta_number(R"({"a": 1.5})", "a"), 1.5);
  EXPECT_EQ(meta_number(R"({"a": {"b": 2}})", "a.b"), 2.0);
  EXPECT_EQ(meta_number(R"({"a.b": 3, "a": {"b": 2}})", "a.b"), 3.0);
  for (const char* meta : {"", "[1]", "{\"a\": \"1\"}", "{\"a\": null}", "{\"a\": true}", "{\"a\": 1"}) {
    EXPECT_EQ(meta_number(meta, "a"), std::nullopt) << meta;
  }
  EXPECT_EQ(meta_number_keys(R"({"x": 1, "y": {"z": 2}, "s": "t"})"), (std::vector<std::string>{"x", "y.z"}));
}

}  // namespace
}  // namespace tenon::testing
