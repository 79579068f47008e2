// Many processes on one store: what they see of each other, and what is left when they are killed.
//
// TENON_TEST_THOROUGH=1 makes the kills hundreds; TENON_TEST_SHARED_BYTES=2147483648 shares that much memory instead of
// the usual 32 MiB.

#include <grp.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <array>
#include <atomic>
#include <chrono>
#include <fstream>
#include <iostream>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "tests/store/child.h"
#include "tests/store/damage.h"
#include "tests/store/store_fixture.h"

namespace tenon::testing {
namespace {

using namespace std::chrono_literals;

constexpr int not_allowed = 77;  // exit status of a child that may not do what it is to try

// A checkpoint that tells by its step what must be in it: one storage that every step shares, one that is new with
// every step, and a small one of few values.
DraftBuilder checkpoint(std::int64_t step) {
  const auto number = static_cast<std::uint64_t>(step);
  DraftBuilder draft;
  draft.slot(pattern(20'000, 1)).tensor("embedding");
  draft.slot(pattern(5'000 + number % 7, 1000 + number)).tensor("layers.0.weight");
  draft.slot(pattern(64, number % 3)).tensor("layers.0.bias");
  draft.message("step " + std::to_string(step));
  draft.draft().step = step;
  return draft;
}

bool is_whole_checkpoint(const Snapshot& snapshot) {
  const DraftBuilder wanted = checkpoint(snapshot.info().step.value());
  if (snapshot.info().message != wanted.draft().message || snapshot.size() != wanted.draft().tensors.size())
    return false;
  for (const TensorDraft& tensor : wanted.draft().tensors) {
    if (!std::ranges::equal(snapshot[tensor.name].bytes(), wanted.draft().slots[tensor.slot].source.memory))
      return false;
  }
  return true;
}

// From now on, in a mount namespace of its own.
bool leave_mount_namespace() {
  return ::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

bool become_nobody() {
  constexpr uid_t nobody = 65534;
  return ::setgroups(0, nullptr) == 0 && ::setgid(nobody) == 0 && ::setuid(nobody) == 0;
}

template <typename Action>
bool throws_kind(ErrorKind kind, const Action& action) {
  const std::optional<Error> error = error_of(action);
  return error && error->kind() == kind;
}

class ProcessTest : public StoreTest {
 protected:
  // Steps in first-parent order, newest first, each snapshot read whole.
  static std::vector<std::int64_t> steps_read(const Store& store, std::string_view ref) {
    std::vector<std::int64_t> steps;
    for (const SnapshotInfo& info : store.log(ref)) {
      if (!is_whole_checkpoint(store.snapshot(to_hex(info.id)))) return {};
      steps.push_back(info.step.value());
    }
    return steps;
  }
};

TEST_F(ProcessTest, EightProcessesCommitToOneRefAndReadIt) {
  { const Store store = make(); }
  constexpr int processes = 8;
  constexpr int commits = 6;
  std::vector<Child> children;
  for (int process = 0; process < processes; ++process) {
    children.emplace_back([&, process] {
      Store store = open();
      for (int i = 0; i < commits; ++i) {
        const std::int64_t step = process * 100 + i;
        store.commit(checkpoint(step));
        store.commit(checkpoint(step), {.ref = "own-" + std::to_string(process)});
        if (!is_whole_checkpoint(store.snapshot("main"))) return 1;
        if (store.snapshot("own-" + std::to_string(process)).info().step != step) return 2;
        if (!is_whole_checkpoint(store.snapshot("main~" + std::to_string(i)))) return 3;
      }
      return 0;
    });
  }
  for (Child& child : children) EXPECT_EQ(child.wait(), succeeded);

  const Store store = open();
  std::vector<std::int64_t> steps = steps_read(store, "main");
  ASSERT_EQ(steps.size(), std::size_t{processes} * commits);
  std::ranges::reverse(steps);
  std::map<std::int64_t, std::int64_t> next_of_process;
  for (const std::int64_t step : steps) EXPECT_EQ(step % 100, next_of_process[step / 100]++) << "each in its own order";
  for (int process = 0; process < processes; ++process) {
    EXPECT_EQ(steps_read(store, "own-" + std::to_string(process)).size(), std::size_t{commits});
  }
  EXPECT_THAT(damage(), ::testing::IsEmpty());
}

// Each round all processes start from the same tip, wait for each other, and try to move it.
template <typename Move>
void expect_one_winner(const StoreTest&, const std::filesystem::path& path, int rounds, const Move& move) {
  constexpr int processes = 6;
  for (int round = 0; round < rounds; ++round) {
    const std::optional<SnapshotId> tip = [&]() -> std::optional<SnapshotId> {
      if (round == 0) return std::nullopt;
      return Store::open(path).resolve("main");
    }();
    const Signal start;
    std::vector<Child> children;
    for (int process = 0; process < processes; ++process) {
      children.emplace_back([&, process] {
        Store store = Store::open(path);
        start.await();
        try {
          move(store, round * 10 + process, tip);
        } catch (const Error& error) {
          return error.kind() == ErrorKind::conflict ? 1 : 2;
        }
        return 0;
      });
    }
    for (int process = 0; process < processes; ++process) start.give();
    std::map<int, int> endings;
    for (Child& child : children) ++endings[child.wait().status];
    EXPECT_EQ(endings, (std::map<int, int>{{0, 1}, {1, processes - 1}})) << "round " << round;
  }
}

TEST_F(ProcessTest, OfCommitsWithTheSameExpectedTipExactlyOneWins) {
  { const Store store = make(); }
  expect_one_winner(*this, path(), 6, [](Store& store, int number, std::optional<SnapshotId> tip) {
    CommitOptions options;
    options.expected_tip = tip;
    store.commit(checkpoint(number), options);
  });
  EXPECT_EQ(open().log("main").size(), 6u);
  EXPECT_THAT(damage(), ::testing::IsEmpty());
}

TEST_F(ProcessTest, OfRefMovesWithTheSameExpectedTipExactlyOneWins) {
  {
    Store store = make();
    for (int number = 0; number < 60; ++number) {
      store.commit(checkpoint(number), {.ref = "target-" + std::to_string(number)});
    }
  }
  expect_one_winner(*this, path(), 6, [](Store& store, int number, std::optional<SnapshotId> tip) {
    store.set_ref("main", store.resolve("target-" + std::to_string(number)), std::optional(tip));
  });
  EXPECT_THAT(damage(), ::testing::IsEmpty());
}

TEST_F(ProcessTest, ReadsAndCommitsFromSeveralPidNamespaces) {
  if (::getuid() != 0) GTEST_SKIP() << "needs root, for new PID namespaces";
  {
    Store store = make();
    store.commit(checkpoint(0));
  }
  const auto commit_as_process_one = [&](int number) {
    if (::getpid() != 1) return 1;
    Store store = open();
    for (int i = 0; i < 5; ++i) {
      if (!is_whole_checkpoint(store.snapshot())) return 2;
      if (store.log().empty()) return 3;
      store.commit(checkpoint(number * 10 + i));
    }
    return 0;
  };
  std::vector<Child> children;
  for (int number = 1; number <= 3; ++number) {
    children.emplace_back([&, number] {
      if (::unshare(CLONE_NEWPID) != 0) return not_allowed;
      const Outcome inner = run_in_child([&] { return commit_as_process_one(number); });
      return inner.signal == 0 ? inner.status : 99;
    });
  }
  for (Child& child : children) {
    const Outcome outcome = child.wait();
    if (outcome.status == not_allowed) GTEST_SKIP() << "new PID namespaces are not allowed here";
    EXPECT_EQ(outcome, succeeded);
  }
  EXPECT_EQ(steps_read(open(), "main").size(), 16u);
  EXPECT_THAT(damage(), ::testing::IsEmpty());
}

TEST_F(ProcessTest, AnotherUserReadsAndMayNotWrite) {
  if (::getuid() != 0) GTEST_SKIP() << "needs root, to become another user";
  {
    Store store = make();
    for (int step = 0; step < 3; ++step) store.commit(checkpoint(step));
  }
  std::filesystem::permissions(base(), std::filesystem::perms{0755});
  EXPECT_EQ(run_in_child([&] {
              if (!become_nobody()) return 1;
              Store store = open();
              if (!is_whole_checkpoint(store.snapshot())) return 2;
              if (steps_read(store, "main").size() != 3) return 3;
              if (!throws_kind(ErrorKind::io, [&] { store.commit(checkpoint(3)); })) return 4;
              if (!throws_kind(ErrorKind::io, [&] { store.create_tag("v1", store.resolve("main")); })) return 5;
              return damage().empty() ? 0 : 6;
            }),
            succeeded);
  EXPECT_EQ(steps_read(open(), "main").size(), 3u);
}

TEST_F(ProcessTest, AReadOnlyMountIsReadWhileAnotherMountIsWritten) {
  if (::getuid() != 0) GTEST_SKIP() << "needs root, to mount";
  Store writer = make();
  writer.commit(checkpoint(0));
  const std::string here = base();
  const Signal mounted;
  const Signal stop;
  Child reader([&] {
    const bool is_mounted =
        leave_mount_namespace() && ::mount(here.c_str(), here.c_str(), nullptr, MS_BIND, nullptr) == 0 &&
        ::mount(here.c_str(), here.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) == 0;
    mounted.give();
    if (!is_mounted) return not_allowed;
    Store store = open();
    for (std::int64_t step = 0; step < 20; step = store.snapshot().info().step.value()) {
      if (!is_whole_checkpoint(store.snapshot())) return 1;
      const std::vector<std::int64_t> steps = steps_read(store, "main");
      if (steps.empty() || steps.front() + 1 != static_cast<std::int64_t>(steps.size())) return 2;
    }
    return throws_kind(ErrorKind::io, [&] { store.commit(checkpoint(99)); }) ? 0 : 3;
  });
  mounted.await();
  for (int step = 1; step <= 20; ++step) writer.commit(checkpoint(step));
  const Outcome outcome = reader.wait();
  if (outcome.status == not_allowed) GTEST_SKIP() << "may not mount here";
  EXPECT_EQ(outcome, succeeded);
}

TEST_F(ProcessTest, AForkedChildKeepsItsSnapshotsAndOpensTheStoreAnew) {
  Store store = make();
  store.commit(checkpoint(0));
  const Snapshot shared = store.snapshot();
  const Snapshot own = store.snapshot("main", {.mode = Mode::private_});
  const View view = shared["embedding"];
  (void)store.log();  // the catalog is open, too
  EXPECT_EQ(run_in_child([&] {
              if (!throws_kind(ErrorKind::invalid_argument, [&] { (void)store.snapshot(); })) return 1;
              if (!throws_kind(ErrorKind::invalid_argument, [&] { store.commit(checkpoint(1)); })) return 2;
              if (!throws_kind(ErrorKind::invalid_argument, [&] { (void)store.refs(); })) return 3;
              if (!throws_kind(ErrorKind::invalid_argument, [&] { (void)store.log(); })) return 4;
              if (!throws_kind(ErrorKind::invalid_argument, [&] { store.delete_ref("main"); })) return 5;
              if (!is_whole_checkpoint(shared) || view.data() != shared["embedding"].data()) return 6;
              own["embedding"].mutable_data()[0] ^= std::byte{1};
              if (is_whole_checkpoint(own)) return 7;
              Store again = open();
              again.commit(checkpoint(1));
              return is_whole_checkpoint(again.snapshot()) ? 0 : 8;
            }),
            succeeded);
  EXPECT_TRUE(is_whole_checkpoint(own)) << "the child's writes are its own";
  EXPECT_EQ(store.snapshot().info().step, 1);
  store.commit(checkpoint(2));
  EXPECT_EQ(steps_read(open(), "main"), (std::vector<std::int64_t>{2, 1, 0}));
}

TEST_F(ProcessTest, AForkDuringACommitHoldsUpNobody) {
  Store store = make();
  Child* sleeper = nullptr;
  DraftBuilder draft;
  draft.slot(100'000, [&](std::uint64_t, std::span<std::byte> out) {
    std::ranges::fill(out, std::byte{5});
    if (sleeper == nullptr) sleeper = new Child([] { return ::pause(); });  // has whatever the commit holds
  });
  draft.tensor("w");
  store.commit(draft);
  const std::unique_ptr<Child> ended_later(sleeper);
  ASSERT_NE(sleeper, nullptr);
  Store other = open();
  EXPECT_FALSE(error_of([&] { other.commit(checkpoint(1)); }));
  EXPECT_EQ(other.log().size(), 2u);
}

// ---- Memory ----

// Proportional set size of this process: each page counts divided by the number of processes that map it.
std::uint64_t proportional_bytes() {
  std::ifstream rollup("/proc/self/smaps_rollup");
  for (std::string word; rollup >> word;) {
    if (word != "Pss:") continue;
    std::uint64_t kib = 0;
    rollup >> kib;
    return kib * 1024;
  }
  throw std::runtime_error("no Pss in /proc/self/smaps_rollup");
}

std::uint64_t shared_bytes() {
  const char* const text = std::getenv("TENON_TEST_SHARED_BYTES");
  return text == nullptr ? 32 << 20 : std::stoull(text);
}

TEST_F(ProcessTest, OneCopyInMemoryServesAllProcesses) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers have memory of their own for every page";
#endif
  constexpr std::size_t processes = 8;
  const std::uint64_t bytes = shared_bytes();
  {
    constexpr std::uint64_t slots = 16;
    DraftBuilder draft;
    for (std::uint64_t slot = 0; slot < slots; ++slot) {
      draft.slot(bytes / slots, [slot](std::uint64_t offset, std::span<std::byte> out) {
        for (std::size_t i = 0; i < out.size(); i += 512) out[i] = static_cast<std::byte>((offset + i) * 7 + slot);
      });
      draft.tensor("w" + std::to_string(slot));
    }
    Store store = make();
    store.commit(draft, {.statistics = false});
    store.commit(checkpoint(0), {.ref = "small"});
  }
  struct Report {
    std::array<std::uint64_t, processes> bare{};
    std::array<std::uint64_t, processes> mapped{};
  };
  const Shared<Report> report;
  std::array<Signal, 3> reached;
  std::array<Signal, 3> go_on;
  const auto meet = [&](std::size_t point) {
    reached[point].give();
    go_on[point].await();
  };
  std::vector<Child> children;
  for (std::size_t process = 0; process < processes; ++process) {
    children.emplace_back([&, process] {
      (void)open().snapshot("small");  // what a process needs once, whatever it maps
      meet(0);
      report->bare[process] = proportional_bytes();
      meet(1);
      const Snapshot snapshot = open().snapshot();
      std::uint64_t sum = 0;
      for (std::uint32_t slot = 0; slot < snapshot.slot_count(); ++slot) {
        const auto storage = snapshot.slot_bytes(slot);
        for (std::size_t i = 0; i < storage.size(); i += 512) sum += std::to_integer<std::uint64_t>(storage[i]);
      }
      meet(2);
      report->mapped[process] = proportional_bytes();
      meet(0);  // nobody unmaps before all have measured
      return sum > 0 ? 0 : 1;
    });
  }
  for (const std::size_t point : {0, 1, 2, 0}) {
    for (std::size_t process = 0; process < processes; ++process) reached[point].await();
    for (std::size_t process = 0; process < processes; ++process) go_on[point].give();
  }
  for (Child& child : children) EXPECT_EQ(child.wait(), succeeded);
  std::uint64_t bare = 0;
  std::uint64_t mapped = 0;
  for (std::size_t process = 0; process < processes; ++process) {
    bare += report->bare[process];
    mapped += report->mapped[process];
  }
  RecordProperty("proportional_bytes", std::to_string(mapped - bare));
  EXPECT_GE(mapped, bytes) << "all of it is mapped";
  std::cout << "bytes: " << bytes << ", mapped beyond bare processes: " << mapped - bare << "\n";
  EXPECT_LE(mapped, bare + bytes + bytes / 100);
}

// ---- Kills ----

// What a child got a commit's return for, told through memory that outlives it.
struct Acknowledged {
  static constexpr std::size_t most = 1 << 14;
  std::atomic<std::uint32_t> count = 0;
  std::array<std::pair<std::int64_t, SnapshotId>, most> commits{};
  void add(std::int64_t step, const SnapshotId& id) {
    commits[count] = {step, id};
    ++count;
  }
};

// Until so many more have been acknowledged.
void wait_for_commits(const Acknowledged& acknowledged, std::uint32_t more) {
  const std::uint32_t wanted = acknowledged.count + more;
  while (acknowledged.count < wanted) std::this_thread::sleep_for(200us);
}

TEST_F(ProcessTest, KilledWritersLeaveWhatWasAcknowledgedAndNothingHalf) {
  { const Store store = Store::init(path(), {.durability = Durability::full}); }
  const Shared<Acknowledged> acknowledged;
  std::mt19937 random(7);
  const int rounds = is_thorough() ? 400 : 12;
  std::int64_t step = 0;
  std::uint64_t killed = 0;
  for (int round = 0; round < rounds; ++round) {
    const std::int64_t first = step += 1'000'000;
    Child writer([&] {
      Store store = open();
      for (std::int64_t next = first;; ++next) acknowledged->add(next, store.commit(checkpoint(next)).id);
      return 1;
    });
    wait_for_commits(*acknowledged, std::uniform_int_distribution<std::uint32_t>(0, 3)(random));
    std::this_thread::sleep_for(std::chrono::microseconds(std::uniform_int_distribution<>(0, 20'000)(random)));
    writer.kill();
    killed += writer.wait().signal == SIGKILL ? 1 : 0;

    const std::uint32_t count = acknowledged->count;
    if (count == 0) continue;
    const Store store = open();
    const auto& [last_step, last_id] = acknowledged->commits[count - 1];
    const Snapshot last = store.snapshot(to_hex(last_id));
    ASSERT_TRUE(is_whole_checkpoint(last) && last.info().step == last_step) << "round " << round;
    ASSERT_TRUE(is_whole_checkpoint(store.snapshot())) << "round " << round;
    ASSERT_THAT(damage(), ::testing::IsEmpty()) << "round " << round;
  }
  EXPECT_EQ(killed, static_cast<std::uint64_t>(rounds));
  ASSERT_GT(acknowledged->count, 0u);

  Store store = open();
  store.commit(checkpoint(1));
  const std::vector<std::int64_t> steps = steps_read(store, "main");
  const std::set<std::int64_t> found(steps.begin(), steps.end());
  for (std::uint32_t i = 0; i < acknowledged->count; ++i)
    EXPECT_TRUE(found.contains(acknowledged->commits[i].first)) << i;
  // Of a killed commit at most one more a round is there, whole.
  EXPECT_LE(steps.size(), acknowledged->count + static_cast<std::size_t>(rounds) + 1);
  EXPECT_THAT(damage(), ::testing::IsEmpty());
}

// 0 if none of the numbers 0 to 2 is an open file, else the first that is, plus one.
int first_standard_descriptor_in_use() {
  for (const int number : {0, 1, 2}) {
    if (::fcntl(number, F_GETFD) != -1) return number + 1;
  }
  return 0;
}

TEST_F(ProcessTest, AProcessWithoutStandardStreamsHasNoFileOfTheStoreInTheirPlace) {
  const Outcome outcome = run_in_child([this] {
    for (const int number : {0, 1, 2}) ::close(number);
    Store store = Store::init(path(), {.durability = Durability::full});
    int in_use = 0;
    DraftBuilder draft;
    draft.slot(100, [&](std::uint64_t, std::span<std::byte>) { in_use = first_standard_descriptor_in_use(); })
        .tensor("w");
    store.commit(draft);
    if (in_use != 0) return in_use;
    store.set_ref("other", store.resolve("main"));
    const auto log = store.log();
    return first_standard_descriptor_in_use();
  });
  EXPECT_EQ(outcome, succeeded);
  EXPECT_THAT(damage(), ::testing::IsEmpty());
}

}  // namespace
}  // namespace tenon::testing
