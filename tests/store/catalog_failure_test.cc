// Commits that the system refuses: the old state stands and can be written again; where a sync failed, the caller is
// told that the outcome is not known.
//
// This program's own pwrite and fdatasync stand before the C library's, also for LMDB, and fail when told to.

#include <errno.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "tests/store/catalog_fixture.h"
#include "tests/store/child.h"

namespace {

enum class Failure { none, refused, cut_short, done_yet_refused };

// The one call that fails, counted from when it is set up.
struct FaultPlan {
  Failure failure = Failure::none;
  int error = 0;
  int at_call = 0;
  bool from_then_on = false;
  int calls = 0;

  Failure next() {
    if (failure == Failure::none) return failure;
    const int call = calls++;
    return call == at_call || (from_then_on && call > at_call) ? failure : Failure::none;
  }
};

FaultPlan plan;

}  // namespace

// By their names for the linker: with 64-bit offsets the C library's header calls one by the other's name.
extern "C" {
ssize_t planned_pwrite(int descriptor, const void* bytes, size_t size, off_t offset) __asm__("pwrite");
ssize_t planned_pwrite64(int descriptor, const void* bytes, size_t size, off_t offset) __asm__("pwrite64");
int planned_fdatasync(int descriptor) __asm__("fdatasync");

ssize_t planned_pwrite(int descriptor, const void* bytes, size_t size, off_t offset) {
  const Failure failure = plan.next();
  if (failure == Failure::cut_short) size /= 2;
  if (failure != Failure::refused) {
    const ssize_t written = ::syscall(SYS_pwrite64, descriptor, bytes, size, offset);
    if (failure != Failure::done_yet_refused) return written;
  }
  errno = plan.error;
  return -1;
}

ssize_t planned_pwrite64(int descriptor, const void* bytes, size_t size, off_t offset) {
  return planned_pwrite(descriptor, bytes, size, offset);
}

int planned_fdatasync(int descriptor) {
  if (plan.next() == Failure::none) return static_cast<int>(::syscall(SYS_fdatasync, descriptor));
  errno = plan.error;
  return -1;
}
}

namespace tenon::testing {
namespace {

class CatalogFailureTest : public CatalogTest {
 protected:
  ~CatalogFailureTest() override { plan = {}; }

  // Commits snapshot `number` with the plan in force; true if it threw.
  static bool commit_fails(Catalog& catalog, std::uint64_t number, const FaultPlan& faults, bool& outcome_unknown) {
    CatalogWriter writer = catalog.write();
    write_rows(writer, number, 9000);
    plan = faults;
    bool failed = false;
    try {
      writer.commit(root_after(number + 1));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), faults.error == ENOSPC ? ErrorKind::full : ErrorKind::io);
      failed = true;
    }
    calls_ = plan.calls;
    plan = {};
    outcome_unknown = writer.outcome_unknown();
    return failed;
  }
  static int calls() { return calls_; }
  // A state whose outcome is not known is one of both, or reported as damage.
  bool shows_either(const CatalogRoot& one, const CatalogRoot& other) const try {
    const CatalogRoot root = open().read().root();
    return root == one || root == other;
  } catch (const Error& error) {
    return error.kind() == ErrorKind::corrupt;
  }

 private:
  static inline int calls_ = 0;
};

// Every write and sync of a commit fails in each way in turn.
TEST_F(CatalogFailureTest, AFailedCommitLeavesTheOldState) {
  Catalog::create(directory(), store_id, true);
  Catalog catalog(directory(), store_id, true);
  commit_each(catalog, 3, 9000);
  const Content before = content_of(catalog.read(), 5);

  struct Way {
    Failure failure;
    int error;
    bool from_then_on;
  };
  constexpr std::array ways = {Way{Failure::refused, EIO, false},          Way{Failure::refused, EIO, true},
                               Way{Failure::refused, ENOSPC, false},       Way{Failure::cut_short, EIO, false},
                               Way{Failure::done_yet_refused, EIO, false}, Way{Failure::done_yet_refused, EIO, true}};
  int unknown = 0;
  for (const Way& way : ways) {
    int failed = 0;
    for (int call = 0;; ++call) {
      const FaultPlan faults{
          .failure = way.failure, .error = way.error, .at_call = call, .from_then_on = way.from_then_on};
      bool outcome_unknown = false;
      const bool threw_error = commit_fails(catalog, 3, faults, outcome_unknown);
      if (threw_error) {
        ++failed;
        unknown += outcome_unknown ? 1 : 0;
        if (way.from_then_on && outcome_unknown) {  // the meta pages could not be put back for certain either
          EXPECT_TRUE(shows_either(before.root, root_after(4))) << call;
          break;
        }
        ASSERT_EQ(content_of(catalog.read(), 5), before) << call;
        ASSERT_EQ(content_of(open().read(), 5), before) << call;
        ASSERT_NO_THROW(catalog.check()) << call;
        continue;
      }
      // The calls that are left settle a commit that has happened.
      ASSERT_EQ(open().read().root(), root_after(4)) << call;
      CatalogWriter writer = catalog.write();
      writer.delete_snapshot(id_of(3));
      writer.delete_segment(3);
      writer.commit(before.root);
      if (calls() <= call) break;
    }
    EXPECT_GE(failed, 3) << "pages, sync and meta page, at least";
    std::filesystem::remove_all(directory());
    Catalog::create(directory(), store_id, true);
    Catalog fresh(directory(), store_id, true);
    commit_each(fresh, 3, 9000);
  }
  EXPECT_GT(unknown, 0);
}

TEST_F(CatalogFailureTest, ACatalogIsMadeWholeOrNotAtAll) {
  int failed = 0;
  for (int call = 0;; ++call) {
    plan = {.failure = Failure::refused, .error = ENOSPC, .at_call = call};
    try {
      Catalog::create(directory(), store_id, true);
    } catch (const Error& error) {
      plan = {};
      ++failed;
      EXPECT_EQ(error.kind(), ErrorKind::full);
      EXPECT_TRUE(list_directory(base()).empty()) << call;
      continue;
    }
    EXPECT_LE(plan.calls, call);
    break;
  }
  EXPECT_GE(failed, 5);
  plan = {};
  EXPECT_NO_THROW(open().check());
}

TEST_F(CatalogFailureTest, AFileSizeLimitIsReportedAsFull) {
  Catalog catalog = make();
  commit_each(catalog, 3, 9000);
  EXPECT_EQ(run_in_child([&] {
              ::signal(SIGXFSZ, SIG_IGN);
              const rlimit limit{256 << 10, 256 << 10};
              if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
              Catalog own = open();
              const Content before = content_of(own.read(), 5);
              CatalogWriter writer = own.write();
              write_rows(writer, 3, 1 << 20);
              if (kind_thrown_by([&] { writer.commit(root_after(4)); }) != ErrorKind::full) return 2;
              if (writer.outcome_unknown()) return 3;
              { const CatalogWriter gone = std::move(writer); }
              if (content_of(own.read(), 5) != before) return 4;
              commit_each(own, 4, 100, 3);
              return own.read().root() == root_after(4) ? 0 : 5;
            }),
            succeeded);
}

TEST_F(CatalogFailureTest, AFullDiskLeavesTheOldState) {
  if (::getuid() != 0) GTEST_SKIP() << "needs root, to mount";
  const std::string here = base();
  const Outcome outcome = run_in_child([&] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return 77;
    if (::mount("tenon", here.c_str(), "tmpfs", 0, "size=512k") != 0) return 77;
    Catalog catalog = make();
    std::uint64_t count = 0;
    for (bool is_full = false; !is_full; ++count) {
      if (count > 1000) return 1;
      CatalogWriter writer = catalog.write();
      write_rows(writer, count, 20'000);
      try {
        writer.commit(root_after(count + 1));
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::full || writer.outcome_unknown()) return 2;
        is_full = true;
        --count;
      }
    }
    if (count < 5 || catalog.read().root() != root_after(count) || catalog.read().snapshots().size() != count) return 3;
    catalog.check();
    return 0;
  });
  if (outcome == Outcome{77, 0}) GTEST_SKIP() << "may not mount here";
  EXPECT_EQ(outcome, succeeded);
}

}  // namespace
}  // namespace tenon::testing
