// Copies of stores that are in use.
#include <atomic>
#include <thread>

#include "store/format.h"
#include "tests/store/child.h"
#include "tests/store/store_fixture.h"

namespace tenon::testing {
namespace {

using ::testing::IsEmpty;

class CloneTest : public StoreTest {
 protected:
  static SnapshotId commit(Store& store, std::uint64_t number) {
    DraftBuilder builder;
    builder.slot(pattern(100'000, number)).tensor("own").slot(pattern(100'000, 99)).tensor("base");
    return store.commit(builder).id;
  }
  std::filesystem::path copy() const { return base() / "copy.tenon"; }
};

TEST_F(CloneTest, ACloneHasHistoryRefsAndWhatWasForgotten) {
  Store store = make();
  const auto a = commit(store, 1), b = commit(store, 2);
  commit(store, 3);
  store.create_tag("good", a);
  store.forget({.snapshots = {b}});
  EXPECT_EQ(store.clone(copy()).snapshots, 2u);
  Store other = Store::open(copy());
  EXPECT_EQ(other.log().size(), 2u);
  EXPECT_EQ(other.resolve("good"), a);
  EXPECT_EQ(copy_of(other.snapshot("main")["own"].bytes()), pattern(100'000, 3));
  EXPECT_THAT(damage_of(copy()), IsEmpty());
  other.undo();
  EXPECT_EQ(other.log().size(), 3u);
  EXPECT_EQ(store.log().size(), 2u);
}

TEST_F(CloneTest, AThinnedSegmentIsClonedWithItsHoles) {
  Store store = make();
  const auto a = commit(store, 1);
  commit(store, 2);
  store.forget({.snapshots = {a}});
  store.gc();
  store.clone(copy());
  EXPECT_THAT(damage_of(copy()), IsEmpty());
  EXPECT_EQ(Store::open(copy()).du().segment_bytes, store.du().segment_bytes);
}

TEST_F(CloneTest, ADamagedStoreIsNotCloned) {
  Store store = make();
  commit(store, 1);
  flip_byte(segment(1), Segment::open(segment(1))->storages()[0].offset);
  EXPECT_THAT(error_of([&] { store.clone(copy()); }), IsError(ErrorKind::corrupt, "damaged"));
  EXPECT_FALSE(file_exists(copy()));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(base()), std::filesystem::directory_iterator{}), 1);
}

TEST_F(CloneTest, WhatIsThereIsNotReplaced) {
  Store store = make();
  EXPECT_THAT(error_of([&] { store.clone(path()); }), IsError(ErrorKind::conflict, "there already"));
}

TEST_F(CloneTest, StoreWithADamagedJournalIsNotCopiedInPart) {
  Store store = make();
  commit(store, 0);
  store.create_tag("v1", store.resolve("main"));
  flip_byte(journal(), sizeof(format::JournalHeader) + 20);
  const auto out = base() / "copy.tenon";
  EXPECT_THAT(error_of([&] { store.clone(out); }), IsError(ErrorKind::corrupt, "journal is damaged"));
  EXPECT_FALSE(file_exists(out));
}

// Copied last is what came while the rest was, and no lock is held meanwhile: a commit would wait for 60 s and give up.
TEST_F(CloneTest, CommitsGoOnWhileTheRestIsCopied) {
  Store store = make();
  commit(store, 0);
  Child child([this] {
    ::setenv("TENON_FAILPOINT", ("clone.copying_rest:" + base().string()).c_str(), 1);
    open().clone(base() / "copy.tenon");
    return 0;
  });
  while (!file_exists(base() / "clone.copying_rest.reached")) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  commit(store, 1);
  File::create(base() / "clone.copying_rest.go");
  EXPECT_EQ(child.wait(), succeeded);
  EXPECT_THAT(damage_of(base() / "copy.tenon"), IsEmpty());
  EXPECT_EQ(Store::open(base() / "copy.tenon").log().size(), 1u);
}

TEST_F(CloneTest, CommitsForgettingAndGcGoOnMeanwhile) {
  Store store = make();
  commit(store, 0);
  std::atomic<bool> is_done = false;
  std::thread writer([&] {
    Store mine = open();
    for (std::uint64_t i = 1; !is_done; ++i) {
      commit(mine, i);
      mine.forget({.keep = {.last = 2}});
      if (i % 3 == 0) mine.gc();
    }
  });
  for (int i = 0; i < 5; ++i) {
    const auto out = base() / ("copy" + std::to_string(i) + ".tenon");
    EXPECT_FALSE(error_of([&] { store.clone(out); }));
    EXPECT_THAT(damage_of(out), IsEmpty());
    EXPECT_THAT(damage(), IsEmpty());
  }
  is_done = true;
  writer.join();
}

}  // namespace
}  // namespace tenon::testing
