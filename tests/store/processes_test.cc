#include <sched.h>
#include <sys/prctl.h>

#include <algorithm>

#include "tenon/doctor.h"
#include "tenon/live.h"
#include "tests/store/child.h"
#include "tests/store/store_fixture.h"

namespace tenon {
namespace {

using namespace std::chrono_literals;
using namespace tenon::testing;

constexpr std::size_t size_bytes = 4 << 20;

class ProcessesTest : public StoreTest {
 protected:
  Store make_filled() const {
    Store store = make();
    store.commit(one_tensor(pattern(size_bytes)));
    return store;
  }
  static void touch(const Snapshot& snapshot) {
    volatile std::byte sink{};
    for (const std::byte byte : snapshot["w"].bytes()) sink = byte;
    (void)sink;
  }
  // A process that opens the store, does `body`, and waits to be killed.
  Child user(const Signal& ready, const std::function<void(Store&)>& body) const {
    return Child([&] {
      Store store = open();
      body(store);
      ready.give();
      for (;;) ::pause();
      return 0;
    });
  }
  static std::optional<StoreProcess> find(const Store& store, pid_t pid) {
    for (const StoreProcess& process : store.processes()) {
      if (process.pid == static_cast<std::uint32_t>(pid)) return process;
    }
    return std::nullopt;
  }
};

TEST_F(ProcessesTest, NobodyUsesAFreshStore) { EXPECT_TRUE(make().processes().empty()); }

TEST_F(ProcessesTest, WhoMapsIsFoundWithWhatItHasTouched) {
  const Store store = make_filled();
  const Signal ready;
  const Child child = user(ready, [](Store& own) {
    static const Snapshot snapshot = own.snapshot();
    touch(snapshot);
  });
  ready.await();
  const auto process = find(store, child.process());
  ASSERT_TRUE(process && process->memory);
  EXPECT_GE(process->memory->mapped_bytes, size_bytes);
  EXPECT_GE(process->memory->resident_bytes, size_bytes);
  EXPECT_GE(process->memory->proportional_bytes, size_bytes / 2);
  EXPECT_EQ(process->memory->private_bytes, 0u);
  EXPECT_EQ(process->ref, "") << "there is no live region";
}

TEST_F(ProcessesTest, TwoThatShareOnePageEachPayForHalf) {
  const Store store = make_filled();
  const Signal first_ready, second_ready;
  const auto read = [](Store& own) {
    static const Snapshot snapshot = own.snapshot();
    touch(snapshot);
  };
  const Child first = user(first_ready, read);
  first_ready.await();
  const Child second = user(second_ready, read);
  second_ready.await();
  const auto a = find(store, first.process()), b = find(store, second.process());
  ASSERT_TRUE(a && a->memory && b && b->memory);
  const std::uint64_t sum = a->memory->proportional_bytes + b->memory->proportional_bytes;
  EXPECT_GE(sum, size_bytes);
  EXPECT_LE(sum, size_bytes + size_bytes / 50);
}

TEST_F(ProcessesTest, PagesWrittenToAreCountedAsCopied) {
  const Store store = make_filled();
  const Signal ready;
  const Child child = user(ready, [](Store& own) {
    static const Snapshot snapshot = own.snapshot("main", {.mode = Mode::private_});
    touch(snapshot);
    std::memset(snapshot["w"].mutable_data(), 7, size_bytes / 4);
  });
  ready.await();
  const auto process = find(store, child.process());
  ASSERT_TRUE(process && process->memory);
  EXPECT_EQ(process->memory->private_bytes, size_bytes / 4);
}

TEST_F(ProcessesTest, WhoFollowsSaysWhatItHasOpen) {
  const Store store = make_filled();
  const Signal ready;
  const Child child = user(ready, [](Store& own) {
    static Watch watch = own.watch("main", {.name = "worker 3"});
    static const auto snapshot = watch.next(0ms);
  });
  ready.await();
  const auto process = find(store, child.process());
  ASSERT_TRUE(process);
  EXPECT_EQ(process->name, "worker 3");
  EXPECT_EQ(process->ref, "main");
  EXPECT_EQ(process->snapshot, store.resolve("main"));
  EXPECT_EQ(process->snapshot_bytes, size_bytes);
}

TEST_F(ProcessesTest, OneOfAnotherPidNamespaceIsTheSameProcess) {
  if (run_in_child([] { return ::unshare(CLONE_NEWPID) == 0 ? 0 : 1; }) != succeeded)
    GTEST_SKIP() << "a PID namespace of its own is not to be had here";
  const Store store = make_filled();
  const Signal ready;
  Child outer([&] {
    if (::unshare(CLONE_NEWPID) != 0) return 1;
    Child inner([&] {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      Store own = open();
      Watch watch = own.watch("main", {.name = "inner"});
      const auto snapshot = watch.next(0ms);
      ready.give();
      for (;;) ::pause();
      return 0;
    });
    return inner.wait().status;
  });
  ready.await();
  std::size_t found = 0;
  for (const StoreProcess& process : store.processes()) {
    if (process.name != "inner") continue;
    ++found;
    EXPECT_EQ(process.inner_pid, 1u);
    EXPECT_GT(process.pid, 1u);
    EXPECT_TRUE(process.memory);
  }
  EXPECT_EQ(found, 1u);
}

TEST_F(ProcessesTest, ADeadOneIsNotAmongThem) {
  const Store store = make_filled();
  const Signal ready;
  Child child = user(ready, [](Store& own) {
    static Watch watch = own.watch();
    static const auto snapshot = watch.next(0ms);
  });
  ready.await();
  EXPECT_EQ(store.processes().size(), 1u);
  child.kill();
  child.wait();
  EXPECT_EQ(store.processes().size(), 0u);
}

// Its files have no names any more, yet they are what it pays for.
TEST_F(ProcessesTest, WhoHasOnlyWhatGcTookIsFoundToo) {
  Store store = make_filled();
  const Signal ready;
  const Child child = user(ready, [](Store& own) {
    static const Snapshot snapshot = own.snapshot();
    touch(snapshot);
  });
  ready.await();
  store.commit(one_tensor(pattern(size_bytes, 2)));
  store.forget({.keep = {.last = 1}});
  const GcReport report = store.gc();
  ASSERT_EQ(report.segments_removed + report.segments_thinned, 1u);
  const auto process = find(store, child.process());
  ASSERT_TRUE(process && process->memory);
  EXPECT_GE(process->memory->resident_bytes, size_bytes);
}

// ---- doctor

std::optional<Finding> finding(const std::filesystem::path& path, std::string_view topic) {
  for (const Finding& one : examine(path)) {
    if (one.topic == topic) return one;
  }
  return std::nullopt;
}

using DoctorTest = StoreTest;

TEST_F(DoctorTest, FindsNothingWrongWithAFreshStore) {
  make();
  for (const Finding& one : examine(path())) EXPECT_NE(one.verdict, Verdict::warning) << one.topic << ": " << one.what;
  EXPECT_EQ(finding(path(), "catalog lock")->what, "free");
  EXPECT_EQ(finding(path(), "left by killed writers")->what, "nothing");
}

TEST_F(DoctorTest, TellsWhatAKilledWriterLeft) {
  make();
  File::create(segments() / "0123.tmp").write_at(0, pattern(5000));
  const auto found = finding(path(), "left by killed writers");
  EXPECT_EQ(found->verdict, Verdict::note);
  EXPECT_EQ(found->what, "1 files, 4 KiB");
}

TEST_F(DoctorTest, TellsOfAFolderThatIsNoStore) {
  EXPECT_TRUE(finding(base(), "file system"));
  EXPECT_FALSE(finding(base(), "catalog lock"));
}

TEST_F(DoctorTest, WhereThereIsNothingItSaysSo) {
  EXPECT_THAT(error_of([&] { examine(base() / "nothing"); }), IsError(ErrorKind::not_found, "nothing to examine"));
}

}  // namespace
}  // namespace tenon
