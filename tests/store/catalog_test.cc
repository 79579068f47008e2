#include "store/catalog.h"

#include <grp.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>

#include "tests/store/catalog_fixture.h"
#include "tests/store/child.h"

namespace tenon::testing {
namespace {

using namespace std::chrono_literals;

TEST_F(CatalogTest, IsEmptyWhenCreated) {
  const Catalog catalog = make();
  const CatalogReader reader = catalog.read();
  EXPECT_EQ(reader.root(), CatalogRoot{});
  EXPECT_TRUE(reader.snapshots().empty());
  EXPECT_TRUE(reader.segments().empty());
  EXPECT_FALSE(reader.snapshot(id_of(0)));
  EXPECT_FALSE(reader.segment(0));
  EXPECT_TRUE(reader.hints(0).empty());
  EXPECT_NO_THROW(catalog.check());
}

TEST_F(CatalogTest, CreateLeavesNothingBesideItAndRefusesWhatIsThere) {
  const Catalog catalog = make();
  EXPECT_EQ(list_directory(base()), std::vector<std::string>{"catalog"});
  EXPECT_EQ(list_directory(directory()), (std::vector<std::string>{"data.mdb", "lock"}));
  EXPECT_EQ(kind_thrown_by([&] { Catalog::create(directory(), store_id, true); }), ErrorKind::conflict);
  EXPECT_EQ(list_directory(base()), std::vector<std::string>{"catalog"});
}

TEST_F(CatalogTest, GivesBackWhatWasCommittedDurablyOrNot) {
  for (const bool durable : {false, true}) {
    std::filesystem::remove_all(directory());
    Catalog::create(directory(), store_id, durable);
    Catalog catalog(directory(), store_id, durable);
    CatalogWriter writer = catalog.write();
    for (std::uint64_t n = 0; n < 20; ++n)
      write_rows(writer, n, n * 1000);  // in a leaf page, and in pages of their own
    writer.commit(root_after(20));
    EXPECT_EQ(writer.root(), root_after(20));
    { const CatalogWriter gone = std::move(writer); }

    const Catalog other(directory(), store_id, durable);
    const CatalogReader reader = other.read();
    EXPECT_EQ(reader.root(), root_after(20));
    EXPECT_EQ(reader.snapshots().size(), 20u);
    for (std::uint64_t n = 0; n < 20; ++n) {
      const auto row = reader.snapshot(id_of(n));
      ASSERT_TRUE(row);
      EXPECT_EQ(Row(row->begin(), row->end()), row_of(n, n * 1000));
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(row->data()) % 8, 0u);
      EXPECT_EQ(reader.segment(n), (SegmentRow{id_of(n + 1'000'000), 4096 + n}));
      EXPECT_EQ(reader.hints(n * 1000), (std::vector<StorageHint>{{n, n % 5}}));
      EXPECT_EQ(reader.segments()[n].first, n);
    }
    EXPECT_NO_THROW(other.check());
  }
}

TEST_F(CatalogTest, ForgetsWhatAWriterDidNotCommit) {
  Catalog catalog = make();
  commit_each(catalog, 3, 100);
  const Content before = content_of(catalog.read(), 5);
  {
    CatalogWriter writer = catalog.write();
    write_rows(writer, 3, 5000);
    writer.delete_snapshot(id_of(0));
  }
  EXPECT_EQ(content_of(catalog.read(), 5), before);
}

TEST_F(CatalogTest, DeletesRows) {
  Catalog catalog = make();
  commit_each(catalog, 4, 9000);
  CatalogWriter writer = catalog.write();
  writer.delete_snapshot(id_of(2));
  writer.delete_segment(2);
  writer.commit({.sequence = 5, .snapshot_count = 3});
  { const CatalogWriter gone = std::move(writer); }
  const CatalogReader reader = catalog.read();
  EXPECT_FALSE(reader.snapshot(id_of(2)));
  EXPECT_FALSE(reader.segment(2));
  EXPECT_EQ(reader.snapshots().size(), 3u);
  EXPECT_EQ(reader.segments().size(), 3u);
  EXPECT_NO_THROW(catalog.check());
}

TEST_F(CatalogTest, DeletingWhatIsNotThereIsDamage) {
  Catalog catalog = make();
  CatalogWriter writer = catalog.write();
  EXPECT_EQ(kind_thrown_by([&] { writer.delete_snapshot(id_of(1)); }), ErrorKind::corrupt);
  EXPECT_EQ(kind_thrown_by([&] { writer.delete_segment(1); }), ErrorKind::corrupt);
}

TEST_F(CatalogTest, AWriterSeesItsOwnChangesAndItsSpansOutliveThem) {
  Catalog catalog = make();
  commit_each(catalog, 2, 6000);
  CatalogWriter writer = catalog.write();
  const auto old_row = writer.snapshot(id_of(0));
  writer.put_snapshot(id_of(0), row_of(77, 6000));
  write_rows(writer, 2, 6000);
  ASSERT_TRUE(old_row);
  EXPECT_EQ(Row(old_row->begin(), old_row->end()), row_of(0, 6000));
  const auto new_row = writer.snapshot(id_of(0));
  EXPECT_EQ(Row(new_row->begin(), new_row->end()), row_of(77, 6000));
  EXPECT_EQ(writer.snapshots().size(), 3u);
  EXPECT_EQ(writer.segments().size(), 3u);
}

TEST_F(CatalogTest, RewritingRowsKeepsTheirNumber) {
  Catalog catalog = make();
  for (int round = 0; round < 3; ++round) {
    CatalogWriter writer = catalog.write();
    for (std::uint64_t n = 0; n < 5; ++n) write_rows(writer, n, 5000);
    writer.commit(root_after(5));
  }
  EXPECT_EQ(catalog.read().snapshots().size(), 5u);
  EXPECT_NO_THROW(catalog.check());
}

TEST_F(CatalogTest, RootCountThatDoesNotMatchIsDamage) {
  Catalog catalog = make();
  CatalogWriter writer = catalog.write();
  write_rows(writer, 0, 10);
  writer.commit(root_after(2));
  { const CatalogWriter gone = std::move(writer); }
  EXPECT_EQ(kind_thrown_by([&] { (void)catalog.read().snapshots(); }), ErrorKind::corrupt);
  EXPECT_EQ(kind_thrown_by([&] { catalog.check(); }), ErrorKind::corrupt);
}

TEST_F(CatalogTest, FindsSnapshotsByPrefix) {
  Catalog catalog = make();
  const SnapshotId a{0xab12'3400'0000'0000, 1};
  const SnapshotId b{0xab12'3f00'0000'0000, 2};
  const SnapshotId c{0xab13'0000'0000'0000, 0xff};
  const SnapshotId last{~0ull, ~0ull};
  CatalogWriter writer = catalog.write();
  for (const SnapshotId& id : {c, last, a, b}) writer.put_snapshot(id, row_of(1, 8));
  writer.put_segment(0xab12340000000000, {});
  writer.commit({.sequence = 1, .snapshot_count = 4});
  { const CatalogWriter gone = std::move(writer); }
  const CatalogReader reader = catalog.read();
  using Ids = std::vector<SnapshotId>;
  EXPECT_TRUE(reader.has_snapshot(a));
  EXPECT_FALSE(reader.has_snapshot({a.low, a.high + 1}));
  EXPECT_EQ(reader.snapshots_with_prefix("ab", 9), (Ids{a, b, c}));
  EXPECT_EQ(reader.snapshots_with_prefix("ab123", 9), (Ids{a, b}));
  EXPECT_EQ(reader.snapshots_with_prefix("ab123", 1), (Ids{a}));
  EXPECT_EQ(reader.snapshots_with_prefix("ab123f", 9), (Ids{b}));
  EXPECT_EQ(reader.snapshots_with_prefix("ab13", 0), Ids{});
  EXPECT_EQ(reader.snapshots_with_prefix("ac", 9), Ids{});
  EXPECT_EQ(reader.snapshots_with_prefix(to_hex(c), 9), Ids{c});
  EXPECT_EQ(reader.snapshots_with_prefix("ff", 9), Ids{last});
  EXPECT_EQ(reader.snapshots(), (Ids{a, b, c, last}));
  for (const char* wrong : {"", "a", "AB", "xy", "ab12 ", "000000000000000000000000000000000"}) {
    EXPECT_EQ(kind_thrown_by([&] { (void)reader.snapshots_with_prefix(wrong, 9); }), ErrorKind::invalid_argument)
        << wrong;
  }
}

TEST_F(CatalogTest, KeepsTheNewestHints) {
  Catalog catalog = make();
  CatalogWriter writer = catalog.write();
  for (std::uint64_t n = 1; n <= 6; ++n) writer.add_hint(5, {n, 10 * n});
  writer.add_hint(5, {4, 40});  // known already: moves to the front
  writer.commit({.sequence = 1});
  { const CatalogWriter gone = std::move(writer); }
  EXPECT_EQ(catalog.read().hints(5), (std::vector<StorageHint>{{4, 40}, {6, 60}, {5, 50}, {3, 30}}));
  EXPECT_TRUE(catalog.read().hints(6).empty());
}

TEST_F(CatalogTest, HoldsManyRefs) {
  Catalog catalog = make();
  CatalogRoot root{.sequence = 9};
  for (int i = 0; i < 3000; ++i) {
    root.refs.push_back({"ref-" + std::to_string(10'000 + i), id_of(static_cast<std::uint64_t>(i)), 1, i % 2 == 0});
  }
  catalog.write().commit(root);
  EXPECT_EQ(catalog.read().root(), root);
}

TEST_F(CatalogTest, BelongsToOneStore) {
  const Catalog catalog = make();
  const Catalog other(directory(), Digest{1, 2}, false);
  EXPECT_EQ(kind_thrown_by([&] { (void)other.read(); }), ErrorKind::corrupt);
}

TEST_F(CatalogTest, MissingFilesAreDamage) {
  Catalog catalog = make();
  commit_each(catalog, 2, 100);
  for (const std::filesystem::path& file : {data(), lock(), directory()}) {
    const std::filesystem::path aside = base() / "aside";
    std::filesystem::rename(file, aside);
    EXPECT_EQ(kind_thrown_by([&] { (void)catalog.read(); }), ErrorKind::corrupt) << file;
    EXPECT_EQ(kind_thrown_by([&] { (void)catalog.write(); }), ErrorKind::corrupt) << file;
    EXPECT_EQ(kind_thrown_by([&] { (void)open().read(); }), ErrorKind::corrupt) << file;
    std::filesystem::rename(aside, file);
  }
  EXPECT_EQ(content_of(catalog.read(), 2), content_of(open().read(), 2));
}

TEST_F(CatalogTest, AnOpenCatalogFollowsAReplacedDirectory) {
  Catalog catalog = make();
  commit_each(catalog, 3, 100);
  (void)catalog.read();
  const std::filesystem::path rebuilt = base() / "rebuilt";
  Catalog::create(rebuilt, store_id, false);
  {
    Catalog replacement(rebuilt, store_id, false);
    commit_each(replacement, 2, 500);
  }
  std::filesystem::rename(directory(), base() / "old");
  std::filesystem::rename(rebuilt, directory());
  EXPECT_EQ(catalog.read().root(), root_after(2));
  commit_each(catalog, 3, 500, 2);
  EXPECT_EQ(open().read().root(), root_after(3));
}

TEST_F(CatalogTest, WritersExcludeEverybodyAndReadersExcludeWriters) {
  Catalog one = make();
  Catalog two = open();
  {
    const CatalogWriter writer = one.write();
    EXPECT_EQ(kind_thrown_by([&] { (void)two.write(20ms); }), ErrorKind::busy);
    EXPECT_EQ(kind_thrown_by([&] { (void)two.read(20ms); }), ErrorKind::busy);
    EXPECT_EQ(kind_thrown_by([&] { (void)one.read(0ms); }), ErrorKind::busy);
  }
  const CatalogReader reader = one.read();
  EXPECT_NO_THROW((void)two.read(0ms));
  EXPECT_EQ(kind_thrown_by([&] { (void)two.write(20ms); }), ErrorKind::busy);
}

TEST_F(CatalogTest, ACommittedWriterKeepsTheLockUntilItEnds) {
  Catalog one = make();
  {
    CatalogWriter writer = one.write();
    writer.commit(root_after(0));
    EXPECT_EQ(kind_thrown_by([&] { (void)open().write(20ms); }), ErrorKind::busy);
  }
  EXPECT_NO_THROW((void)open().write(20ms));
}

TEST_F(CatalogTest, AWaitingWriterIsNotOvertakenForEver) {
  Catalog catalog = make();
  std::atomic<bool> stop = false;
  const auto read_on_and_on = [&] {
    const Catalog own = open();
    while (!stop) {
      const CatalogReader reader = own.read();
      std::this_thread::sleep_for(2ms);
    }
  };
  std::vector<std::thread> readers;
  for (int i = 0; i < 6; ++i) readers.emplace_back(read_on_and_on);
  EXPECT_NO_THROW(commit_each(catalog, 5, 100));
  stop = true;
  for (std::thread& reader : readers) reader.join();
}

TEST_F(CatalogTest, AReaderMayBeginASecondBatchWhileAWriterWaits) {
  Catalog catalog = make();
  auto reader = std::make_unique<CatalogReader>(catalog.read());
  std::thread writer([&] { commit_each(catalog, 1, 100); });
  std::this_thread::sleep_for(20ms);
  EXPECT_NO_THROW((void)catalog.read(10s));
  reader.reset();
  writer.join();
  EXPECT_EQ(catalog.read().root(), root_after(1));
}

TEST_F(CatalogTest, ThreadsShareOneCatalog) {
  Catalog catalog = make();
  constexpr std::uint64_t commits = 40;
  std::atomic<bool> done = false;
  std::atomic<int> inconsistent = 0;
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!done) {
        const CatalogReader reader = catalog.read();
        const std::uint64_t count = reader.root().snapshot_count;
        if (reader.root() != root_after(count) || reader.snapshots().size() != count) ++inconsistent;
      }
    });
  }
  std::vector<std::thread> writers;
  for (int i = 0; i < 2; ++i) {
    writers.emplace_back([&] {
      for (bool more = true; more;) {
        CatalogWriter writer = catalog.write();
        const std::uint64_t count = writer.root().snapshot_count;
        more = count < commits;
        if (!more) break;
        write_rows(writer, count, 3000);
        writer.commit(root_after(count + 1));
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(inconsistent, 0);
  EXPECT_EQ(catalog.read().root(), root_after(commits));
  EXPECT_NO_THROW(catalog.check());
}

TEST_F(CatalogTest, ProcessesShareOneCatalog) {
  { const Catalog catalog = make(); }
  constexpr std::uint64_t commits = 60;
  std::vector<Child> children;
  for (int i = 0; i < 4; ++i) {
    children.emplace_back([&] {
      Catalog catalog = open();
      while (true) {
        {
          CatalogWriter writer = catalog.write();
          const std::uint64_t count = writer.root().snapshot_count;
          if (count == commits) return 0;
          write_rows(writer, count, 3000);
          writer.commit(root_after(count + 1));
        }
        const CatalogReader reader = catalog.read();
        const std::uint64_t count = reader.root().snapshot_count;
        if (reader.root() != root_after(count) || reader.snapshots().size() != count) return 1;
      }
    });
  }
  for (Child& child : children) EXPECT_EQ(child.wait(), succeeded);
  EXPECT_EQ(open().read().root(), root_after(commits));
  EXPECT_NO_THROW(open().check());
}

TEST_F(CatalogTest, AForkedChildMustOpenItAgain) {
  Catalog catalog = make();
  commit_each(catalog, 2, 100);
  CatalogWriter writer = catalog.write();
  write_rows(writer, 2, 100);
  EXPECT_EQ(run_in_child([&] {
              if (kind_thrown_by([&] { (void)catalog.read(); }) != ErrorKind::invalid_argument) return 1;
              if (kind_thrown_by([&] { (void)catalog.write(); }) != ErrorKind::invalid_argument) return 2;
              if (kind_thrown_by([&] { catalog.check(); }) != ErrorKind::invalid_argument) return 3;
              if (kind_thrown_by([&] { writer.commit(root_after(3)); }) != ErrorKind::invalid_argument) return 4;
              if (kind_thrown_by([&] { (void)writer.snapshots(); }) != ErrorKind::invalid_argument) return 5;
              const CatalogWriter inherited = std::move(writer);
              return 0;
            }),
            succeeded);
  writer.commit(root_after(3));
  { const CatalogWriter gone = std::move(writer); }
  EXPECT_EQ(run_in_child([&] { return open().read().root() == root_after(3) ? 0 : 1; }), succeeded);
}

TEST_F(CatalogTest, AKilledWriterLeavesTheOldStateAndAFreeLock) {
  Catalog catalog = make();
  commit_each(catalog, 3, 100);
  const Content before = content_of(catalog.read(), 4);
  const Signal writing;
  Child child([&] {
    Catalog own = open();
    CatalogWriter writer = own.write();
    for (std::uint64_t n = 10; n < 200; ++n) write_rows(writer, n, 20'000);
    writing.give();
    ::pause();
    return 1;
  });
  writing.await();
  child.kill();
  EXPECT_EQ(child.wait(), (Outcome{0, SIGKILL}));
  EXPECT_EQ(content_of(catalog.read(0ms), 4), before);
  commit_each(catalog, 4, 100, 3);
  EXPECT_EQ(catalog.read().root(), root_after(4));
}

// LMDB leaves pages out that one transaction takes at the end of the file and gives back.
TEST_F(CatalogTest, TheFileIsAsLongAsItSaysAfterEveryCommit) {
  Catalog catalog = make();
  commit_each(catalog, 3, 100);
  {
    CatalogWriter writer = catalog.write();
    for (std::uint64_t n = 3; n < 300; ++n) writer.put_snapshot(id_of(n), row_of(n, 500));
    for (std::uint64_t n = 3; n < 300; ++n) writer.delete_snapshot(id_of(n));
    writer.commit(root_after(3));
  }
  EXPECT_EQ(open().read().snapshots().size(), 3u);
  EXPECT_NO_THROW(catalog.check());
}

// As the test before, but the writer is killed after LMDB's commit, before the file is as long as it says.
TEST_F(CatalogTest, AWriterKilledRightAfterItsCommitLeavesTheNewState) {
  Catalog catalog = make();
  commit_each(catalog, 3, 100);
  const std::vector<std::byte> watermark_before = read_file(lock(), 100);
  {
    CatalogWriter writer = catalog.write();
    for (std::uint64_t n = 3; n < 300; ++n) writer.put_snapshot(id_of(n), row_of(n, 500));
    for (std::uint64_t n = 4; n < 300; ++n) writer.delete_snapshot(id_of(n));
    writer.commit(root_after(4));
  }
  const std::vector<std::byte> bytes = read_file(data(), 1 << 24);
  const auto written_end = std::find_if(bytes.rbegin(), bytes.rend(), [](std::byte b) { return b != std::byte{0}; });
  const auto written = static_cast<std::uintmax_t>(bytes.rend() - written_end);
  const std::uintmax_t pages_end = (written + 4095) / 4096 * 4096;
  ASSERT_LT(pages_end, bytes.size());
  std::filesystem::resize_file(data(), pages_end);
  EXPECT_EQ(kind_thrown_by([&] { (void)open().read(); }), ErrorKind::corrupt);

  File::open(lock(), File::Access::read_write).write_at(0, watermark_before);
  EXPECT_EQ(open().read().root(), root_after(4));
  commit_each(catalog, 5, 500, 4);
  EXPECT_EQ(open().read().snapshots().size(), 5u);
  EXPECT_NO_THROW(catalog.check());
}

TEST_F(CatalogTest, ReadsWhereItMayNotWrite) {
  if (::getuid() != 0) GTEST_SKIP() << "needs root, to become another user";
  {
    Catalog catalog = make();
    commit_each(catalog, 3, 5000);
  }
  const Content wanted = content_of(open().read(), 3);
  std::filesystem::permissions(base(), std::filesystem::perms{0755});
  EXPECT_EQ(run_in_child([&] {
              constexpr uid_t nobody = 65534;
              if (::setgroups(0, nullptr) != 0 || ::setgid(nobody) != 0 || ::setuid(nobody) != 0) return 1;
              Catalog catalog = open();
              if (content_of(catalog.read(), 3) != wanted) return 2;
              return kind_thrown_by([&] { (void)catalog.write(); }) == ErrorKind::io ? 0 : 3;
            }),
            succeeded);
}

TEST_F(CatalogTest, ReadsOnAReadOnlyMount) {
  if (::getuid() != 0) GTEST_SKIP() << "needs root, to mount";
  {
    Catalog catalog = make();
    commit_each(catalog, 3, 5000);
  }
  const Content wanted = content_of(open().read(), 3);
  const std::string here = base();
  const Outcome outcome = run_in_child([&] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return 77;
    if (::mount(here.c_str(), here.c_str(), nullptr, MS_BIND, nullptr) != 0) return 77;
    if (::mount(here.c_str(), here.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) != 0) return 77;
    Catalog catalog = open();
    if (content_of(catalog.read(), 3) != wanted) return 2;
    return kind_thrown_by([&] { (void)catalog.write(); }) == ErrorKind::io ? 0 : 3;
  });
  if (outcome == Outcome{77, 0}) GTEST_SKIP() << "may not mount here";
  EXPECT_EQ(outcome, succeeded);
}

TEST_F(CatalogTest, LittleAddressSpaceIsEnough) {
  {
    Catalog catalog = make();
    commit_each(catalog, 3, 5000);
  }
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer itself needs more";
#endif
  EXPECT_EQ(run_in_child([&] {
              const rlimit limit{2ull << 30, 2ull << 30};
              if (::setrlimit(RLIMIT_AS, &limit) != 0) return 1;
              Catalog catalog = open();
              if (catalog.read().root() != root_after(3)) return 2;
              commit_each(catalog, 5, 5000, 3);
              return catalog.read().root() == root_after(5) ? 0 : 3;
            }),
            succeeded);
}

}  // namespace
}  // namespace tenon::testing
