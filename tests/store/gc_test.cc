// Forgetting, and giving space back beside readers, writers and kills.
#include "store/gc.h"

#include <sys/stat.h>

#include <thread>

#include "child.h"
#include "mmap/lock.h"
#include "store/catalog.h"
#include "store/live_ranges.h"
#include "store/sparse_copy.h"
#include "store_fixture.h"

namespace tenon::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::size_t big = 256 * 1024;

class GcTest : public StoreTest {
 protected:
  // Slot "own" is new each time, "base" has the bytes of `base_number`.
  static Draft& fill(DraftBuilder& builder, std::uint64_t own_number, std::uint64_t base_number) {
    builder.slot(pattern(big, own_number)).tensor("own").slot(pattern(big, base_number)).tensor("base");
    return builder.draft();
  }
  static SnapshotId commit(Store& store, std::uint64_t own_number, std::uint64_t base_number,
                           const char* ref = "main") {
    DraftBuilder builder;
    fill(builder, own_number, base_number);
    return store.commit(builder, {.ref = ref}).id;
  }
  static void forget(Store& store, const SnapshotId& id) { ASSERT_EQ(store.forget({.snapshots = {id}}).forgotten, 1u); }
  static void expect_content(const Snapshot& snapshot, std::uint64_t own_number, std::uint64_t base_number) {
    EXPECT_EQ(copy_of(snapshot["own"].bytes()), pattern(big, own_number));
    EXPECT_EQ(copy_of(snapshot["base"].bytes()), pattern(big, base_number));
  }
  std::uint64_t disk_bytes() const {
    std::uint64_t bytes = 0;
    for (const auto& entry : std::filesystem::directory_iterator(segments())) {
      struct stat status {};
      EXPECT_EQ(::stat(entry.path().c_str(), &status), 0);
      bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
    }
    return bytes;
  }
  std::size_t files_in_segments() const {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(segments()), std::filesystem::directory_iterator{}));
  }

  // A gc in a child that stops at a failpoint until let_go.
  Child gc_until(const char* failpoint) const {
    return Child([this, failpoint] {
      ::setenv("TENON_FAILPOINT", (std::string(failpoint) + ":" + base().string()).c_str(), 1);
      open().gc();
      return 0;
    });
  }
  Outcome gc_killed_at(const char* failpoint) const {
    return run_in_child([this, failpoint] {
      ::setenv("TENON_FAILPOINT", (std::string(failpoint) + ":kill").c_str(), 1);
      open().gc();
      return 0;
    });
  }
};

TEST_F(GcTest, AForgottenSnapshotIsOutOfHistoryAndComesBackUntilGc) {
  Store store = make();
  const auto a = commit(store, 1, 100), b = commit(store, 2, 100), c = commit(store, 3, 100);
  forget(store, b);
  ASSERT_EQ(store.log().size(), 2u);
  EXPECT_EQ(store.log()[1].id, a);
  EXPECT_EQ(store.resolve("main~1"), a);
  EXPECT_THAT(error_of([&] { store.snapshot(to_hex(b)); }), IsError(ErrorKind::not_found, "was forgotten"));
  EXPECT_THAT(error_of([&] { store.create_tag("t", b); }), IsError(ErrorKind::not_found, "was forgotten"));
  EXPECT_THAT(damage(), IsEmpty());
  store.undo();
  EXPECT_EQ(store.log().size(), 3u);
  expect_content(store.snapshot(to_hex(b)), 2, 100);
  forget(store, b);
  EXPECT_EQ(store.gc().snapshots, 1u);
  EXPECT_THAT(error_of([&] { store.undo(); }), IsError(ErrorKind::not_found, "gc has taken"));
  EXPECT_EQ(store.log()[0].id, c);
  EXPECT_EQ(store.log()[1].id, a);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(GcTest, WhatNobodyNeedsIsUnlinkedAndWhatIsNeededInPartIsThinned) {
  Store store = make();
  const auto a = commit(store, 1, 100);
  const auto b = commit(store, 2, 100);  // its base is in a's segment
  commit(store, 3, 100);
  forget(store, a);
  forget(store, b);
  const std::uint64_t before = disk_bytes();
  const GcReport report = store.gc();
  EXPECT_EQ(report.segments_removed, 1u);
  EXPECT_EQ(report.segments_thinned, 1u);
  EXPECT_EQ(report.freed_bytes, before - disk_bytes());
  EXPECT_FALSE(file_exists(segment(2)));
  EXPECT_TRUE(LiveRanges(*Segment::open(segment(1))).is_sparse());
  expect_content(store.snapshot("main"), 3, 100);
  expect_content(open().snapshot("main", {.mode = Mode::copy}), 3, 100);
  EXPECT_THAT(damage(), IsEmpty());
  EXPECT_EQ(store.gc().freed_bytes, 0u);
}

TEST_F(GcTest, AThinnedSegmentIsThinnedAgainAndGoesWithItsLastUser) {
  Store store = make();
  const auto a = commit(store, 1, 100), b = commit(store, 2, 100);
  DraftBuilder other;  // of another layout and structure
  other.slot(pattern(big, 3)).tensor("other").draft().structure = pattern(10);
  const auto c = commit(store, 4, 200);  // of the first layout, which stays in the first segment
  store.commit(other);
  forget(store, a);
  store.gc();
  EXPECT_EQ(Segment::open(segment(1))->storages()[1].nbytes, big);
  forget(store, b);
  EXPECT_EQ(store.gc().segments_thinned, 1u);
  EXPECT_EQ(Segment::open(segment(1))->storages()[1].nbytes, 0u);
  expect_content(open().snapshot(to_hex(c)), 4, 200);
  forget(store, c);
  EXPECT_EQ(store.gc().segments_removed, 2u);
  EXPECT_EQ(files_in_segments(), 1u);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(GcTest, ALayoutThatOthersShareStays) {
  Store store = make();
  const auto a = commit(store, 1, 100);
  commit(store, 2, 200);  // shares nothing with it but the layout
  forget(store, a);
  store.gc();
  expect_content(open().snapshot("main"), 2, 200);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(GcTest, AnOpenSnapshotStaysReadableInEveryMode) {
  Store store = make();
  const auto a = commit(store, 1, 100);
  std::vector<Snapshot> held;
  for (const Mode mode : {Mode::shared, Mode::private_, Mode::copy})
    held.push_back(store.snapshot(to_hex(a), {.mode = mode}));
  commit(store, 2, 100);
  commit(store, 3, 300);
  forget(store, a);
  store.gc();
  for (const Snapshot& snapshot : held) {
    expect_content(snapshot, 1, 100);
    Bytes read;
    snapshot.read_verified(
        0, [&](std::span<const std::byte> piece) { read.insert(read.end(), piece.begin(), piece.end()); });
    EXPECT_EQ(read, pattern(big, 1));
  }
}

TEST_F(GcTest, RefsAndTagsProtectTheirTips) {
  Store store = make();
  const auto a = commit(store, 1, 100), b = commit(store, 2, 100);
  store.create_tag("good", a);
  const ForgetReport report = store.forget({.snapshots = {a, b}});
  EXPECT_EQ(report.forgotten, 0u);
  EXPECT_EQ(report.rows[0].reasons, std::vector<std::string>{"tag good"});
  EXPECT_EQ(report.rows[1].reasons, std::vector<std::string>{"tip of main"});
}

TEST_F(GcTest, ForgottenSnapshotsStayForgottenAfterRepair) {
  Store store = make();
  commit(store, 1, 100);
  const auto b = commit(store, 2, 100), c = commit(store, 3, 100);
  commit(store, 4, 100);
  forget(store, b);
  store.gc();
  forget(store, c);  // not yet taken
  const auto before = store.log();
  std::filesystem::remove_all(catalog());
  const RepairReport report = Store::repair(path());
  EXPECT_THAT(report.dropped, IsEmpty());
  EXPECT_EQ(report.snapshots, 2u);
  EXPECT_EQ(report.forgotten, 1u);
  Store again = open();
  ASSERT_EQ(again.log().size(), before.size());
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_EQ(again.log()[i].id, before[i].id);
  EXPECT_THAT(error_of([&] { again.snapshot(to_hex(c)); }), IsError(ErrorKind::not_found, "was forgotten"));
  EXPECT_THAT(damage(), IsEmpty());
  again.undo();
  expect_content(again.snapshot(to_hex(c)), 3, 100);
  EXPECT_THAT(damage(), IsEmpty());
}

// --- races

TEST_F(GcTest, ACommitThatCameAfterMarkingKeepsWhatItReuses) {
  Store store = make();
  const auto a = commit(store, 1, 100);
  store.create_tag("keep", a);
  commit(store, 2, 200);
  store.delete_ref("keep");
  forget(store, a);
  Child gc = gc_until("gc.after_mark");
  wait_for("gc.after_mark");
  commit(store, 3, 100, "side");  // finds base 100 in a's segment, by hint
  let_go("gc.after_mark");
  EXPECT_EQ(gc.wait(), succeeded);
  expect_content(open().snapshot("side"), 3, 100);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(GcTest, ACommitOfWhichGcTookWhatItReusesStartsOver) {
  for (const std::uint64_t other :
       {std::uint64_t{200}, std::uint64_t{1}}) {  // unlinked; thinned, as own 1 stays in use
    std::filesystem::remove_all(path());
    std::filesystem::remove(base() / "commit.before_lock.reached");
    std::filesystem::remove(base() / "commit.before_lock.go");
    Store store = make();
    const auto a = commit(store, 1, 100);
    commit(store, 2, other);
    Child committer([&] {
      ::setenv("TENON_FAILPOINT", ("commit.before_lock:" + base().string()).c_str(), 1);
      Store mine = open();
      DraftBuilder builder;
      fill(builder, 3, 100);
      mine.commit(builder, {.ref = "side"});
      return 0;
    });
    wait_for("commit.before_lock");
    forget(store, a);
    store.gc();
    let_go("commit.before_lock");
    EXPECT_EQ(committer.wait(), succeeded);
    expect_content(open().snapshot("side"), 3, 100);
    EXPECT_THAT(damage(), IsEmpty()) << other;
  }
}

TEST_F(GcTest, ForgettingThatIsUndoneWhileGcMarkedIsUndone) {
  Store store = make();
  const auto a = commit(store, 1, 100);
  commit(store, 2, 100);
  commit(store, 3, 300);
  forget(store, a);
  Child gc = gc_until("gc.after_mark");
  wait_for("gc.after_mark");
  store.undo();
  let_go("gc.after_mark");
  EXPECT_EQ(gc.wait(), succeeded);
  expect_content(open().snapshot(to_hex(a)), 1, 100);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(GcTest, WhatIsForgottenWhileGcMarkedWaitsForTheNext) {
  Store store = make();
  const auto a = commit(store, 1, 100), b = commit(store, 2, 100);
  commit(store, 3, 300);
  forget(store, a);
  Child gc = gc_until("gc.after_mark");
  wait_for("gc.after_mark");
  forget(store, b);
  let_go("gc.after_mark");
  EXPECT_EQ(gc.wait(), succeeded);
  EXPECT_THAT(damage(), IsEmpty());
  EXPECT_EQ(open().undo().action, "forget");
  expect_content(open().snapshot(to_hex(b)), 2, 100);
  EXPECT_EQ(open().log().size(), 2u);
}

TEST_F(GcTest, HistoryLeadsToWhatIsForgottenInTheGapAndComesBack) {
  Store store = make();
  const auto a = commit(store, 1, 100), b = commit(store, 2, 100);
  commit(store, 3, 300);
  forget(store, b);
  Child gc = gc_until("gc.after_mark");
  wait_for("gc.after_mark");
  forget(store, a);
  let_go("gc.after_mark");
  EXPECT_EQ(gc.wait(), succeeded);
  Store again = open();
  EXPECT_EQ(again.log().size(), 1u);
  again.undo();
  EXPECT_EQ(again.resolve("main~1"), a);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(GcTest, ADamagedSegmentThatNobodyNeedsGoes) {
  Store store = make();
  const auto a = commit(store, 1, 100), b = commit(store, 2, 100), c = commit(store, 3, 100);
  commit(store, 4, 100);
  forget(store, b);
  flip_byte(segment(2), 0);
  EXPECT_EQ(store.gc().segments_removed, 1u);
  EXPECT_FALSE(file_exists(segment(2)));
  forget(store, a);
  forget(store, c);
  flip_byte(segment(1), 0);  // what remains needs it: nothing is taken from a store that is not whole
  EXPECT_THAT(error_of([&] { store.gc(); }), IsError(ErrorKind::corrupt, "not a segment"));
  EXPECT_TRUE(file_exists(segment(3)));
}

TEST_F(GcTest, WhatIsLeftOfATakenSnapshotIsNoDamageThoughItsLayoutIsGone) {
  Store store = make();
  const auto a = commit(store, 1, 100);  // has the layout
  const auto b = commit(store, 2, 100);  // its segment: own 2
  DraftBuilder other;                    // needs own 2 alone, nothing of the layout
  other.slot(pattern(big, 2)).tensor("mine").draft().structure = pattern(10);
  store.commit(other);
  forget(store, a);
  forget(store, b);
  store.gc();
  EXPECT_FALSE(file_exists(segment(1)));
  EXPECT_TRUE(file_exists(segment(2)));
  EXPECT_THAT(damage(), IsEmpty());
  EXPECT_THAT(Store::repair(path()).dropped, IsEmpty());
  EXPECT_THAT(damage(), IsEmpty());
  EXPECT_EQ(copy_of(open().snapshot("main")["mine"].bytes()), pattern(big, 2));
}

TEST_F(GcTest, AReaderThatCameWhileFilesGoSeesAllOrNothing) {
  Store store = make();
  const auto a = commit(store, 1, 100);
  commit(store, 2, 100);
  commit(store, 3, 300);
  forget(store, a);
  Child gc = gc_until("gc.before_unlink");
  wait_for("gc.before_unlink");
  expect_content(open().snapshot("main"), 3, 300);  // by its head, without a lock
  let_go("gc.before_unlink");
  EXPECT_EQ(gc.wait(), succeeded);
  EXPECT_THAT(error_of([&] { open().snapshot(to_hex(a)); }), IsError(ErrorKind::not_found, ""));
}

TEST_F(GcTest, AKillAnywhereIsMendedByTheNextGc) {
  for (const char* failpoint : {"gc.before_mark", "gc.after_mark", "gc.before_unlink"}) {
    for (const bool repaired : {false, true}) {
      std::filesystem::remove_all(path());
      Store store = make();
      const auto a = commit(store, 1, 100), b = commit(store, 2, 100);
      commit(store, 3, 100);
      forget(store, a);
      forget(store, b);
      EXPECT_EQ(gc_killed_at(failpoint), (Outcome{0, SIGKILL})) << failpoint;
      EXPECT_THAT(damage(), IsEmpty()) << failpoint;
      if (repaired) {
        EXPECT_THAT(Store::repair(path()).dropped, IsEmpty()) << failpoint;
      }
      Store again = open();
      commit(again, 4, 100);
      again.gc();
      EXPECT_THAT(damage(), IsEmpty()) << failpoint;
      EXPECT_EQ(again.log().size(), 2u) << failpoint;
      EXPECT_FALSE(file_exists(segment(2))) << failpoint;
      EXPECT_TRUE(Segment::open(segment(1))->has_section(format::SectionKind::live)) << failpoint;
      expect_content(again.snapshot("main~1"), 3, 100);
    }
  }
}

TEST_F(GcTest, RowsAreDeletedInBatchesWhereTheDiskIsFull) {
  Store store = make();
  std::vector<SnapshotId> ids;
  for (std::uint64_t i = 0; i < 40; ++i) ids.push_back(commit(store, i, 100));
  ids.pop_back();
  store.forget({.snapshots = ids});
  EXPECT_TRUE(file_exists(path() / "ballast"));
  EXPECT_EQ(store.gc().snapshots, 39u);
  EXPECT_EQ(store.log().size(), 1u);
  EXPECT_TRUE(file_exists(path() / "ballast"));
}

TEST_F(GcTest, WhatKilledWritersLeftIsSweptWhenItIsOldAndNobodyHoldsIt) {
  Store store = make();
  commit(store, 1, 100);
  const auto old = segments() / "0123.tmp", held = segments() / "4567.tmp", fresh = segments() / "89ab.tmp";
  for (const auto& path : {old, held, fresh}) File::create(path);
  const File holder = File::open(held, File::Access::read_write);
  FileLock::hold(holder);
  const auto long_ago = std::filesystem::file_time_type::clock::now() - std::chrono::hours(1);
  std::filesystem::last_write_time(old, long_ago);
  std::filesystem::last_write_time(held, long_ago);
  File::create(heads() / "main.0123456789abcdef.tmp");
  store.gc();
  EXPECT_FALSE(file_exists(old));
  EXPECT_TRUE(file_exists(held));
  EXPECT_TRUE(file_exists(fresh));
  EXPECT_FALSE(file_exists(heads() / "main.0123456789abcdef.tmp"));
}

TEST_F(GcTest, ASegmentThatTheCatalogDoesNotKnowIsNotTouchedUnlessItWasForgotten) {
  Store store = make();
  commit(store, 1, 100);
  commit(store, 2, 100);
  {
    Catalog opened(catalog(), store_id(), false);
    CatalogWriter writer = opened.write();
    writer.delete_segment(1);
    writer.commit(writer.root());
  }
  store.gc();
  EXPECT_TRUE(file_exists(segment(1)));  // what lost a row is repair's to mend
  EXPECT_THAT(Store::repair(path()).dropped, IsEmpty());
  EXPECT_THAT(damage(), IsEmpty());
}

// --- what it costs

TEST_F(GcTest, UsageSaysWhatForgettingEachSnapshotFrees) {
  Store store = make();
  const auto gone = commit(store, 7, 100);
  std::vector<SnapshotId> ids;
  ids.push_back(commit(store, 1, 100));
  ids.push_back(commit(store, 2, 7));
  ids.push_back(commit(store, 3, 200));
  commit(store, 4, 200);
  forget(store, gone);
  store.gc();
  const DiskUsage usage = store.du();
  EXPECT_EQ(usage.segment_bytes, disk_bytes());
  EXPECT_EQ(usage.reclaimable_bytes, 0u);
  for (const SnapshotId& id : ids) {
    const auto row = std::find_if(usage.snapshots.begin(), usage.snapshots.end(),
                                  [&](const SnapshotUsage& u) { return u.info.id == id; });
    ASSERT_NE(row, usage.snapshots.end());
    const auto copy = base() / "copy.tenon";
    std::filesystem::remove_all(copy);
    ASSERT_EQ(std::system(("cp -a --sparse=always " + path().string() + " " + copy.string()).c_str()), 0);
    Store other = Store::open(copy);
    forget(other, id);
    EXPECT_EQ(other.du().reclaimable_bytes, row->freed_bytes);
    EXPECT_EQ(other.gc({.dry_run = true}).freed_bytes, row->freed_bytes);
    EXPECT_EQ(other.gc().freed_bytes, row->freed_bytes);
    EXPECT_EQ(other.du().segment_bytes, usage.segment_bytes - row->freed_bytes);
    EXPECT_THAT(damage_of(copy), IsEmpty());
  }
}

TEST_F(GcTest, AfterForgettingAllButTheLastAStoreIsAsSmallAsItsLastSnapshot) {
  Store store = make();
  for (std::uint64_t i = 0; i < 10; ++i) commit(store, i, 100 + i / 3);
  store.forget({.keep = {.last = 1}});
  store.gc();
  EXPECT_EQ(store.log().size(), 1u);
  EXPECT_LE(disk_bytes(), 2 * big * 106 / 100);
  expect_content(open().snapshot("main"), 9, 103);
}

// Zeros are never taken for bytes, whoever thinned the segment.
TEST_F(GcTest, ASnapshotThatNeedsWhatIsAHoleIsRefused) {
  Store store = make();
  commit(store, 1, 100);
  commit(store, 2, 100);  // has "base" from segment 1
  const auto whole = Segment::open(segment(1));
  SparseCopy(*whole, KeptParts{.layout = true, .structure = true}, false).take_place();
  for (const Mode mode : {Mode::shared, Mode::private_, Mode::copy}) {
    EXPECT_THAT(error_of([&] { open().snapshot("main", {.mode = mode}); }),
                IsError(ErrorKind::not_found, "gc has taken bytes of slot"));
  }
}

// --- damaged segments in the history

TEST_F(GcTest, ReflogTellsWhichMutationIsUnreadableAndGoesOn) {
  Store store = make();
  commit(store, 1, 100);
  commit(store, 2, 100);
  store.create_tag("t", commit(store, 3, 100));
  flip_byte(segment(2), section_begin(2, format::SectionKind::commit));
  const auto log = store.reflog();
  ASSERT_EQ(log.size(), 4u);
  EXPECT_EQ(log[1].action, "commit");
  EXPECT_EQ(log[2].action, "unreadable");
  EXPECT_EQ(log[2].sequence, 2u);
  EXPECT_THAT(log[2].error, HasSubstr(segment_file_name(2)));
  EXPECT_EQ(log[3].action, "commit");
  EXPECT_EQ(store.reflog("main").size(), 3u);  // it may have been of any ref
}

TEST_F(GcTest, UndoGoesOnBehindAnUnreadableMutationThatWasUndone) {
  Store store = make();
  for (std::uint64_t number : {1, 2, 3}) commit(store, number, 100);
  store.undo();
  store.undo();
  flip_byte(segment(3), section_begin(3, format::SectionKind::commit));
  EXPECT_EQ(store.undo().sequence, 1u);
  EXPECT_THAT(store.refs(), IsEmpty());
}

TEST_F(GcTest, UndoRefusesAnUnreadableMutationOnWhichARefStandsAndPassesItOverAfterRepair) {
  Store store = make();
  commit(store, 1, 100);
  const auto second = commit(store, 2, 100);
  commit(store, 3, 100);
  flip_byte(segment(3), section_begin(3, format::SectionKind::commit));
  EXPECT_THAT(error_of([&] { store.undo(); }), IsError(ErrorKind::corrupt, "cannot be read"));
  Store::repair(path());
  EXPECT_EQ(open().resolve("main"), second);
  EXPECT_EQ(open().undo().sequence, 2u);
}

// The child of a fork inside a gc or a commit has the same objects; what they write is the parent's.
TEST_F(GcTest, AForkedChildLeavesTheParentsUnfinishedFilesAlone) {
  Store store = make();
  commit(store, 1, 100);
  const auto whole = Segment::open(segment(1));
  auto copy = std::make_unique<SparseCopy>(*whole, KeptParts{.ranges = {{4096, 4096}}}, false);
  auto writer = std::make_unique<SegmentWriter>(segments(), store_id());
  const auto temporary = writer->temporary_path();
  ASSERT_EQ(files_in_segments(), 3u);
  EXPECT_EQ(run_in_child([&] {
              copy.reset();
              writer.reset();
              return 0;
            }),
            succeeded);
  EXPECT_EQ(files_in_segments(), 3u);
  EXPECT_TRUE(file_exists(temporary));
  copy.reset();
  writer.reset();
  EXPECT_EQ(files_in_segments(), 1u);
}

// --- undo of the rest

TEST_F(GcTest, UndoGoesBackStepByStep) {
  Store store = make();
  const auto a = commit(store, 1, 100), b = commit(store, 2, 100);
  store.create_tag("t", a);
  store.set_ref("main", a);
  store.delete_ref("t");
  EXPECT_EQ(store.undo(true).action, "delete");
  EXPECT_EQ(store.undo().action, "delete");
  EXPECT_EQ(store.resolve("t"), a);
  EXPECT_TRUE(store.refs()[1].is_tag);
  EXPECT_EQ(store.undo().action, "set ref");
  EXPECT_EQ(store.resolve("main"), b);
  EXPECT_EQ(store.undo().action, "create tag");
  EXPECT_EQ(store.undo().action, "commit");
  EXPECT_EQ(store.resolve("main"), a);
  EXPECT_EQ(store.undo().action, "commit");
  EXPECT_THAT(store.refs(), IsEmpty());
  EXPECT_THAT(error_of([&] { store.undo(); }), IsError(ErrorKind::not_found, "nothing to undo"));
  EXPECT_THAT(damage(), IsEmpty());
  const auto log = store.reflog();
  ASSERT_EQ(log.size(), 10u);
  EXPECT_EQ(log[0].action, "delete");
  EXPECT_EQ(log[0].undoes, 1u);
  EXPECT_EQ(store.reflog("t").size(), 4u);
  EXPECT_EQ(store.reflog("main", 1)[0].sequence, 10u);
  EXPECT_THAT(Store::repair(path()).dropped, IsEmpty());
  EXPECT_THAT(open().refs(), IsEmpty());
}

TEST_F(GcTest, WhatIsInNoHistoryIsForgottenOnRequest) {
  Store store = make();
  const auto a = commit(store, 1, 100), b = commit(store, 2, 100);
  store.set_ref("main", a);
  const ForgetReport report = store.forget({.unreachable = true});
  EXPECT_EQ(report.forgotten, 1u);
  EXPECT_EQ(report.rows[0].info.id, b);
}

// --- another store helps

TEST_F(GcTest, DamagedStoragesAreTakenFromAStoreThatHasThem) {
  Store store = make();
  commit(store, 1, 100);
  const auto copy = base() / "copy.tenon";
  ASSERT_EQ(std::system(("cp -a " + path().string() + " " + copy.string()).c_str()), 0);
  const std::uint64_t offset = Segment::open(segment(1))->storages()[1].offset;
  flip_byte(segment(1), offset + 100'000);
  EXPECT_EQ(damage().size(), 1u);
  const RepairReport report = Store::repair(path(), {.from = copy});
  EXPECT_EQ(report.mended.size(), 1u);
  EXPECT_THAT(report.dropped, IsEmpty());
  EXPECT_THAT(damage(), IsEmpty());
  flip_byte(segment(1), 0);  // the header: the whole segment
  EXPECT_EQ(Store::repair(path(), {.from = copy}).mended.size(), 1u);
  EXPECT_THAT(damage(), IsEmpty());
  expect_content(open().snapshot("main"), 1, 100);
}

TEST_F(GcTest, PartsOfTheDataCoverAllOfIt) {
  Store store = make();
  for (std::uint64_t i = 0; i < 6; ++i) commit(store, i, 100 + i);
  std::uint64_t read = 0;
  for (std::uint32_t part = 1; part <= 3; ++part)
    read += Store::verify(path(), {.read_data = true, .part = part, .parts = 3}).read_bytes;
  EXPECT_EQ(read, Store::verify(path(), {.read_data = true}).read_bytes);
  EXPECT_EQ(read, 12 * big);
  EXPECT_THAT(error_of([&] { Store::verify(path(), {.part = 4, .parts = 3}); }),
              IsError(ErrorKind::invalid_argument, "no such part"));
}

}  // namespace
}  // namespace tenon::testing
