#include <sched.h>
#include <sys/mount.h>

#include <thread>

#include "store/live.h"
#include "store/published.h"
#include "store/segment.h"
#include "tenon/live.h"
#include "tenon/weights.h"
#include "tests/store/child.h"
#include "tests/store/store_fixture.h"

namespace tenon {
namespace {

using namespace std::chrono_literals;
using namespace tenon::testing;

class WatchTest : public StoreTest {
 protected:
  static Draft draft(std::uint64_t number) { return one_tensor(pattern(5000, number)); }
  SnapshotId commit(Store& store, std::uint64_t number, const std::string& ref = "main") const {
    const auto builder = one_tensor(pattern(5000, number));
    return store.commit(builder, {.ref = ref}).id;
  }
  std::filesystem::path live() const { return path() / "live"; }
};

TEST_F(WatchTest, GivesTheCurrentSnapshotFirstAndThenOnlyNews) {
  Store store = make();
  const SnapshotId first = commit(store, 1);
  Watch watch = store.watch();
  EXPECT_EQ(watch.poll()->id(), first);
  EXPECT_FALSE(watch.poll());
  EXPECT_FALSE(watch.next(1ms));
  commit(store, 2);
  const SnapshotId third = commit(store, 3);
  EXPECT_EQ(watch.poll()->id(), third) << "the newest, though two came";
  EXPECT_FALSE(watch.poll());
}

TEST_F(WatchTest, ACommitInAnotherProcessEndsTheWaiting) {
  Store store = make();
  commit(store, 1);
  Watch watch = store.watch();
  ASSERT_TRUE(watch.next(0ms));
  Child trainer([&] {
    Store own = open();
    commit(own, 2);
    return 0;
  });
  const auto next = watch.next(60s);
  ASSERT_TRUE(next);
  EXPECT_EQ(copy_of((*next)["w"].bytes()), pattern(5000, 2));
  EXPECT_EQ(trainer.wait(), succeeded);
}

TEST_F(WatchTest, WaitsForARefThatIsNotThereYet) {
  Store store = make();
  Watch watch = store.watch("later");
  EXPECT_FALSE(watch.next(1ms));
  const SnapshotId id = commit(store, 1, "later");
  EXPECT_EQ(watch.next(60s)->id(), id);
}

TEST_F(WatchTest, OtherRefsAreNoNews) {
  Store store = make();
  commit(store, 1);
  Watch watch = store.watch();
  ASSERT_TRUE(watch.poll());
  commit(store, 2, "side");
  EXPECT_FALSE(watch.next(1ms));
}

TEST_F(WatchTest, ARefThatIsMovedBackIsNews) {
  Store store = make();
  const SnapshotId first = commit(store, 1);
  commit(store, 2);
  Watch watch = store.watch();
  ASSERT_TRUE(watch.poll());
  store.set_ref("main", first);
  EXPECT_EQ(watch.next(60s)->id(), first);
}

TEST_F(WatchTest, IterationEndsWhenTheTimeIsOver) {
  Store store = make();
  const SnapshotId first = commit(store, 1);
  std::vector<SnapshotId> seen;
  for (const Snapshot& snapshot : store.watch("main", {.timeout = 1ms})) seen.push_back(snapshot.id());
  EXPECT_EQ(seen, std::vector{first});
}

TEST_F(WatchTest, IterationEndsWhenAskedToStop) {
  Store store = make();
  commit(store, 1);
  std::stop_source stop;
  std::size_t seen = 0;
  std::jthread stopper;
  for ([[maybe_unused]] const Snapshot& snapshot : store.watch("main", {.stop = stop.get_token()})) {
    ++seen;
    stopper = std::jthread([&] { stop.request_stop(); });
  }
  EXPECT_EQ(seen, 1u);
}

TEST_F(WatchTest, OutlivesTheLiveFileAndIsSeenAgain) {
  Store store = make();
  commit(store, 1);
  Watch watch = store.watch();
  ASSERT_TRUE(watch.next(0ms));
  ASSERT_TRUE(std::filesystem::remove(live()));
  const SnapshotId second = commit(store, 2);
  EXPECT_EQ(watch.next(60s)->id(), second);
  EXPECT_TRUE(std::filesystem::exists(live()));
  EXPECT_EQ(LiveRegion::open(live())->processes().size(), 1u);
}

TEST_F(WatchTest, NobodyButAWaitingProcessMakesTheLiveFile) {
  Store store = make();
  commit(store, 1);
  const Snapshot snapshot = open().snapshot();
  EXPECT_FALSE(std::filesystem::exists(live()));
  Watch watch = store.watch();
  ASSERT_TRUE(watch.next(0ms));
  EXPECT_TRUE(std::filesystem::exists(live()));
}

TEST_F(WatchTest, TheLiveRegionTellsWhatIsOpen) {
  Store store = make();
  const SnapshotId id = commit(store, 1);
  auto watch = std::make_unique<Watch>(store.watch("main", {.name = "worker 7"}));
  auto snapshot = watch->next(0ms);
  const auto region = LiveRegion::open(live());
  ASSERT_EQ(region->processes().size(), 1u);
  const LiveProcess process = region->processes()[0];
  EXPECT_EQ(process.name, "worker 7");
  EXPECT_EQ(process.topic, "main");
  EXPECT_EQ(process.mapped_bytes, 5000u);
  EXPECT_EQ(std::memcmp(&id, process.subject.data(), sizeof id), 0);
  const Snapshot again = store.snapshot();
  EXPECT_EQ(region->processes()[0].mapped_bytes, 10000u);
  watch.reset();
  snapshot.reset();
  EXPECT_EQ(region->processes()[0].mapped_bytes, 5000u) << "of the one that is still open";
}

TEST_F(WatchTest, AForkedChildThatLetsGoOfASnapshotDoesNotUndoItsParents) {
  Store store = make();
  commit(store, 1);
  Watch watch = store.watch();
  std::optional<Snapshot> snapshot = watch.next(0ms);
  const auto region = LiveRegion::open(live());
  EXPECT_EQ(run_in_child([&] {
              snapshot.reset();
              { const Watch gone = std::move(watch); }
              return 0;
            }),
            succeeded);
  ASSERT_EQ(region->processes().size(), 1u);
  EXPECT_EQ(region->processes()[0].mapped_bytes, 5000u);
}

TEST_F(WatchTest, IsRefusedInAForkedChild) {
  Store store = make();
  commit(store, 1);
  Watch watch = store.watch();
  EXPECT_EQ(
      run_in_child([&] { return error_of([&] { watch.poll(); })->kind() == ErrorKind::invalid_argument ? 0 : 1; }),
      succeeded);
}

TEST_F(WatchTest, ABundleIsGivenOnce) {
  Store store = make();
  commit(store, 1);
  store.bundle("main", base() / "one.tenon");
  Watch watch = Store::open(base() / "one.tenon").watch();
  EXPECT_TRUE(watch.next(1ms));
  EXPECT_FALSE(watch.next(1ms));
  EXPECT_FALSE(std::filesystem::exists(base() / "live"));
}

TEST_F(WatchTest, ANameThatIsNoRefIsRefused) {
  Store store = make();
  EXPECT_THAT(error_of([&] { store.watch("main~1"); }), IsError(ErrorKind::invalid_argument, "not a ref name"));
}

TEST_F(WatchTest, WhatIsGivenOutlivesForgettingAndGc) {
  Store store = make();
  commit(store, 1);
  Watch watch = store.watch();
  const auto first = watch.next(0ms);
  commit(store, 2);
  store.forget({.keep = {.last = 1}});
  store.gc();
  EXPECT_EQ(copy_of((*first)["w"].bytes()), pattern(5000, 1));
  EXPECT_EQ(copy_of((*watch.next(0ms))["w"].bytes()), pattern(5000, 2));
}

// ---- followers in other places; `has_region`: somebody who may write follows, too

class FollowerElsewhere : public WatchTest, public ::testing::WithParamInterface<bool> {
 protected:
  // In a child that `move` has put elsewhere: follows from the first snapshot to the second.
  void expect_follows(const std::function<bool()>& move) {
    std::filesystem::permissions(base(), std::filesystem::perms(0755));
    Store store = make();
    commit(store, 1);
    std::optional<Watch> beside;
    if (GetParam()) {
      beside = store.watch();
      ASSERT_TRUE(beside->next(0ms));
    }
    const Signal ready;
    Child follower([&] {
      if (!move()) return 2;
      Store own = open();
      Watch watch = own.watch();
      if (!watch.next(60s)) return 3;
      if (watch.poll()) return 4;
      ready.give();
      const auto next = watch.next(60s);
      return next && copy_of((*next)["w"].bytes()) == pattern(5000, 2) ? 0 : 5;
    });
    ready.await();
    if (GetParam()) {
      EXPECT_EQ(LiveRegion::open(live())->processes().size(), 1u) << "without a slot of its own";
    } else {
      EXPECT_FALSE(std::filesystem::exists(live()));
    }
    commit(store, 2);
    EXPECT_EQ(follower.wait(), succeeded);
  }
};

TEST_P(FollowerElsewhere, AnotherUserFollowsWithoutASlot) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
  expect_follows([] { return ::setresuid(65534, 65534, 65534) == 0; });
}

TEST_P(FollowerElsewhere, AReadOnlyMountIsFollowedWithoutASlot) {
  const auto remount = [this] {
    return ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
           ::mount(base().c_str(), base().c_str(), nullptr, MS_BIND, nullptr) == 0 &&
           ::mount(nullptr, base().c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr) == 0;
  };
  if (run_in_child([&] { return remount() ? 0 : 1; }) != succeeded) GTEST_SKIP() << "mounts are not to be had here";
  expect_follows(remount);
}

INSTANTIATE_TEST_SUITE_P(WithAndWithoutARegion, FollowerElsewhere, ::testing::Bool());

// ---- weights

class WeightsTest : public StoreTest {
 protected:
  // "small" and "large" change with their numbers; "fixed" never does.
  SnapshotId commit(Store& store, std::uint64_t small, std::uint64_t large) const {
    Bytes stitched = pattern(4 << 20, 77);
    const Bytes piece = pattern(70'000, large);
    std::copy(piece.begin(), piece.end(), stitched.begin() + (1 << 20));
    DraftBuilder builder;
    builder.slot(pattern(5000, small)).tensor("small");
    builder.slot(std::move(stitched)).tensor("large").tensor("head", DType::uint8, {100});
    builder.slot(pattern(90'000, 5)).tensor("fixed");
    return store.commit(builder).id;
  }
  static std::vector<std::string> names(const Snapshot& snapshot, const std::vector<std::uint32_t>& rows) {
    std::vector<std::string> found;
    for (const std::uint32_t row : rows) found.emplace_back(snapshot.row(row).name);
    return found;
  }
};

using Names = std::vector<std::string>;

TEST_F(WeightsTest, ChangedSinceNamesWhatToCopy) {
  Store store = make();
  commit(store, 1, 1);
  const Snapshot first = store.snapshot();
  commit(store, 2, 1);
  const Snapshot second = store.snapshot();
  commit(store, 2, 2);
  const Snapshot third = store.snapshot();
  EXPECT_EQ(names(second, second.changed_since(first)), Names{"small"});
  EXPECT_EQ(names(third, third.changed_since(second)), (Names{"large", "head"}));
  EXPECT_EQ(names(third, third.changed_since(first)), (Names{"small", "large", "head"}));
  EXPECT_EQ(names(first, first.changed_since(third)), (Names{"small", "large", "head"}));
  EXPECT_EQ(names(third, third.changed_since(third)), Names{});
}

TEST_F(WeightsTest, ChangedSinceSeesNewNamesAndGeometry) {
  Store store = make();
  store.commit(DraftBuilder{}.slot(pattern(4000)).tensor("a").tensor("b", DType::float32, {10, 10}));
  const Snapshot first = store.snapshot();
  store.commit(
      DraftBuilder{}.slot(pattern(4000)).tensor("a").tensor("b", DType::float32, {100}).tensor("c", DType::uint8, {1}));
  const Snapshot second = store.snapshot();
  EXPECT_EQ(names(second, second.changed_since(first)), (Names{"b", "c"}));
}

// The same bytes at another place: written whole again by a store that had nothing to compare with.
TEST_F(WeightsTest, ChangedSinceKnowsEqualBytesInAnotherPlace) {
  Store store = make();
  commit(store, 1, 1);
  Store other = Store::init(base() / "other.tenon", {.durability = Durability::relaxed});
  commit(other, 1, 1);
  EXPECT_EQ(other.snapshot().changed_since(store.snapshot()), std::vector<std::uint32_t>{});
}

TEST_F(WeightsTest, UpdateSwapsAndTellsWhatChanged) {
  Store store = make();
  const SnapshotId first = commit(store, 1, 1);
  WeightSet weights(store);
  EXPECT_EQ(weights.current().id(), first);
  EXPECT_FALSE(weights.update());
  const SnapshotId second = commit(store, 2, 1);
  const auto swap = weights.update(60s);
  ASSERT_TRUE(swap);
  EXPECT_EQ(swap->before.id(), first);
  EXPECT_EQ(swap->after.id(), second);
  EXPECT_EQ(names(swap->after, swap->changed), Names{"small"});
  EXPECT_EQ(swap->changed_bytes, 5000u);
  EXPECT_EQ(weights.current().id(), second);
  EXPECT_EQ(copy_of(weights["small"].bytes()), pattern(5000, 2));
}

TEST_F(WeightsTest, OldViewsStayUntilReleased) {
  Store store = make();
  commit(store, 1, 1);
  WeightSet weights(store);
  const View old = weights["small"];
  commit(store, 2, 1);
  ASSERT_TRUE(weights.update());
  store.forget({.keep = {.last = 1}});
  store.gc();
  EXPECT_EQ(copy_of(old.bytes()), pattern(5000, 1));
  EXPECT_EQ(copy_of(weights["small"].bytes()), pattern(5000, 2));
}

TEST_F(WeightsTest, WhatDidNotChangeStaysAtItsAddress) {
  Store store = make();
  commit(store, 1, 1);
  commit(store, 1, 2);  // "large" is stitched now
  WeightSet weights(store);
  const std::byte* const fixed = weights["fixed"].data();
  const std::byte* const large = weights["large"].data();
  commit(store, 2, 2);
  ASSERT_TRUE(weights.update());
  EXPECT_EQ(weights["fixed"].data(), fixed);
  EXPECT_EQ(weights["large"].data(), large) << "stitched together once";
  commit(store, 2, 3);
  ASSERT_TRUE(weights.update());
  EXPECT_EQ(weights["fixed"].data(), fixed);
  EXPECT_NE(weights["large"].data(), large);
}

// Whatever has become of its name: nobody says that another file is in its place.
TEST_F(WeightsTest, FilesOfWhatIsMappedAreNotLookedAtAgain) {
  Store store = make();
  commit(store, 1, 1);
  WeightSet weights(store);
  commit(store, 2, 1);
  const auto first = path() / "segments" / segment_file_name(1);
  std::filesystem::rename(first, base() / "aside");
  const auto swap = weights.update();
  std::filesystem::rename(base() / "aside", first);
  ASSERT_TRUE(swap);
  EXPECT_EQ(names(swap->after, swap->changed), Names{"small"});
  EXPECT_EQ(copy_of(weights["fixed"].bytes()), pattern(90'000, 5));
}

// Else the space of the old file would not come back while somebody follows.
TEST_F(WeightsTest, ASegmentThatGcHasThinnedIsMappedAnew) {
  Store store = make();
  const auto commit_half = [&](std::uint64_t number) {
    DraftBuilder builder;
    builder.slot(pattern(1 << 20, number)).tensor("half");
    builder.slot(pattern(90'000, 5)).tensor("fixed");
    return store.commit(builder).id;
  };
  const SnapshotId first = commit_half(1);
  WeightSet weights(store);
  commit_half(2);
  ASSERT_TRUE(weights.update());
  const std::byte* const before = weights["fixed"].data();
  store.forget({.snapshots = {first}});
  ASSERT_EQ(store.gc().segments_thinned, 1u);
  commit_half(3);
  const auto swap = weights.update();
  ASSERT_TRUE(swap);
  EXPECT_EQ(names(swap->after, swap->changed), Names{"half"});
  EXPECT_NE(weights["fixed"].data(), before);
  EXPECT_EQ(copy_of(weights["fixed"].bytes()), pattern(90'000, 5));
  EXPECT_EQ(copy_of(swap->before["fixed"].bytes()), pattern(90'000, 5));
}

TEST_F(WeightsTest, ThereMustBeARef) {
  Store store = make();
  EXPECT_THAT(error_of([&] { WeightSet{store}; }), IsError(ErrorKind::not_found, "no ref 'main'"));
}

// Readers take, check and drop without rest while the weights are swapped under them.
TEST_F(WeightsTest, ReadersBesideSwapsSeeWholeSnapshots) {
  constexpr std::uint64_t commits = 25;
  Store store = make();
  commit(store, 0, 0);
  WeightSet weights(store);
  std::atomic<bool> is_over{false};
  std::atomic<std::uint64_t> wrong{0}, reads{0};
  std::vector<Bytes> small;
  for (std::uint64_t i = 0; i <= commits; ++i) small.push_back(pattern(5000, i));
  std::vector<std::jthread> readers;
  for (int i = 0; i < 4; ++i) {
    readers.emplace_back([&] {
      std::size_t oldest = 0;
      while (!is_over) {
        const Snapshot now = weights.current();
        const auto bytes = now["small"].bytes();
        while (oldest <= commits && std::memcmp(bytes.data(), small[oldest].data(), bytes.size()) != 0) ++oldest;
        if (oldest > commits) ++wrong;
        ++reads;
      }
    });
  }
  for (std::uint64_t i = 1; i <= commits; ++i) {
    commit(store, i, i);
    ASSERT_TRUE(weights.update());
  }
  is_over = true;
  readers.clear();
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(reads, 0u);
}

TEST_F(WeightsTest, OptionsAskTheSystemAndChangeNoByte) {
  Store store = make();
  commit(store, 1, 1);
  commit(store, 1, 2);
  for (const Mode mode : {Mode::shared, Mode::private_, Mode::copy}) {
    const Snapshot snapshot = store.snapshot(
        "main", {.mode = mode, .prefault = true, .will_need = true, .huge_pages = true, .numa_interleave = true});
    EXPECT_EQ(copy_of(snapshot["small"].bytes()), pattern(5000, 1));
    EXPECT_EQ(copy_of(snapshot["fixed"].bytes()), pattern(90'000, 5));
  }
}

TEST_F(WeightsTest, LockingMoreThanIsAllowedIsALimit) {
  Store store = make();
  commit(store, 1, 1);
  std::filesystem::permissions(base(), std::filesystem::perms(0755));  // for another user
  EXPECT_EQ(run_in_child([&] {
              if (::geteuid() == 0 && ::setuid(65534) != 0) return 2;
              const rlimit little{4096, 4096};
              ::setrlimit(RLIMIT_MEMLOCK, &little);
              Store own = Store::open(path());
              const auto error = error_of([&] { own.snapshot("main", {.lock_on_fault = true}); });
              return error && error->kind() == ErrorKind::limit ? 0 : 1;
            }),
            succeeded);
}

// ---- what carries them

TEST(PublishedTest, EveryReaderGetsAWholeValueAndAllAreFreed) {
  struct Counted {
    explicit Counted(std::atomic<int>& living, std::uint64_t n) : count(&living), a(n), b(~n) { ++*count; }
    ~Counted() { --*count; }
    std::atomic<int>* count;
    std::uint64_t a, b;
  };
  std::atomic<int> living{0};
  {
    Published<std::shared_ptr<const Counted>> published(std::make_shared<const Counted>(living, 0));
    std::atomic<bool> is_over{false};
    std::atomic<int> wrong{0};
    std::vector<std::jthread> readers;
    for (int i = 0; i < 4; ++i) {
      readers.emplace_back([&] {
        std::uint64_t last = 0;
        while (!is_over) {
          const auto value = published.load();
          if (value->a != ~value->b || value->a < last) ++wrong;
          last = value->a;
        }
      });
    }
    for (std::uint64_t i = 1; i <= 20'000; ++i) published.store(std::make_shared<const Counted>(living, i));
    is_over = true;
    readers.clear();
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(living, 1);
  }
  EXPECT_EQ(living, 0);
}

}  // namespace
}  // namespace tenon
