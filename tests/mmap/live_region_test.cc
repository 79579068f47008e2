#include "mmap/live_region.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>

namespace tenon {
namespace {

using namespace std::chrono_literals;

class LiveRegionTest : public ::testing::Test {
 protected:
  LiveRegionTest() {
    std::string name = (std::filesystem::temp_directory_path() / "tenon-live-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    directory_ = name;
    path_ = directory_ / "live";
  }
  ~LiveRegionTest() override { std::filesystem::remove_all(directory_); }

  // A forked process that does `body`, then says so and waits to be killed.
  pid_t start(const std::function<void()>& body) {
    int ready[2];
    if (::pipe(ready) != 0) throw std::runtime_error("pipe");
    const pid_t pid = ::fork();
    if (pid == 0) {
      body();
      [[maybe_unused]] const auto put = ::write(ready[1], "r", 1);
      for (;;) ::pause();
    }
    ::close(ready[1]);
    char byte = 0;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    ::close(ready[0]);
    return pid;
  }
  static void kill(pid_t pid) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
  static LiveProcess named(const std::string& name) {
    LiveProcess process = this_process();
    process.name = name;
    process.topic = "main";
    process.mapped_bytes = 12345;
    process.subject[0] = std::byte{7};
    return process;
  }
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& process : LiveRegion::open(path_)->processes()) found.push_back(process.name);
    std::sort(found.begin(), found.end());
    return found;
  }

  std::filesystem::path directory_;
  std::filesystem::path path_;
};

using Names = std::vector<std::string>;

TEST_F(LiveRegionTest, IsOnlyThereOnceMade) {
  EXPECT_EQ(LiveRegion::open(path_), nullptr);
  const auto made = LiveRegion::open_or_make(path_);
  ASSERT_NE(made, nullptr);
  EXPECT_TRUE(made->is_writable());
  EXPECT_TRUE(made->is_current());
  EXPECT_NE(LiveRegion::open(path_), nullptr);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_), {}), 1) << "nothing else is left there";
}

TEST_F(LiveRegionTest, WhatIsNoRegionIsReplacedWhenOneIsMade) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{100}, std::size_t{139264}}) {
    std::filesystem::remove(path_);
    File::create(path_).write_at(0, std::vector<std::byte>(size, std::byte{0x5A}));
    EXPECT_EQ(LiveRegion::open(path_), nullptr) << size;
    EXPECT_NE(LiveRegion::open_or_make(path_), nullptr) << size;
    EXPECT_NE(LiveRegion::open(path_), nullptr) << size;
  }
}

TEST_F(LiveRegionTest, ASlotTellsWhatItsOwnerSaid) {
  const auto region = LiveRegion::open_or_make(path_);
  const auto slot = region->join();
  slot->write(named("worker"));
  for (const auto& reader : {region, LiveRegion::open(path_)}) {
    const auto all = reader->processes();
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].name, "worker");
    EXPECT_EQ(all[0].topic, "main");
    EXPECT_EQ(all[0].mapped_bytes, 12345u);
    EXPECT_EQ(all[0].subject[0], std::byte{7});
    EXPECT_EQ(all[0].pid, static_cast<std::uint32_t>(::getpid()));
    EXPECT_NE(all[0].pid_namespace, 0u);
  }
}

TEST_F(LiveRegionTest, LongTextIsCutNotSpilled) {
  const auto region = LiveRegion::open_or_make(path_);
  LiveProcess process = named(std::string(500, 'n'));
  process.topic = std::string(500, 't');
  const auto slot = region->join();
  slot->write(process);
  const auto all = region->processes();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].name, std::string(63, 'n'));
  EXPECT_EQ(all[0].topic, std::string(135, 't'));
}

TEST_F(LiveRegionTest, AskingAgainGivesTheSameSlot) {
  const auto region = LiveRegion::open_or_make(path_);
  const auto slot = region->join();
  EXPECT_EQ(slot, region->join());
}

TEST_F(LiveRegionTest, ASlotThatIsGivenBackShowsNoMore) {
  const auto region = LiveRegion::open_or_make(path_);
  auto slot = region->join();
  slot->write(named("worker"));
  slot.reset();
  EXPECT_EQ(names(), Names{});
  slot = region->join();
  ASSERT_NE(slot, nullptr) << "and may be taken again";
  slot->write(named("again"));
  EXPECT_EQ(names(), Names{"again"});
}

TEST_F(LiveRegionTest, AKilledProcessIsGoneAndItsSlotIsTakenAgain) {
  ASSERT_NE(LiveRegion::open_or_make(path_), nullptr);
  std::vector<pid_t> children;
  for (std::uint32_t i = 0; i < 8; ++i) {
    children.push_back(start([&] {
      static const auto region = LiveRegion::open(path_);
      static const auto slot = region->join();
      slot->write(named("victim"));
    }));
  }
  EXPECT_EQ(names(), Names(8, "victim"));
  for (const pid_t child : children) kill(child);
  EXPECT_EQ(names(), Names{});
}

// All slots can be taken, then nobody else gets one, and all can be taken again after a kill.
TEST_F(LiveRegionTest, AFullRegionRefusesUntilSomebodyDies) {
  ASSERT_NE(LiveRegion::open_or_make(path_), nullptr);
  const auto take_all = [&] {
    static std::vector<std::shared_ptr<LiveRegion>> regions;
    static std::vector<std::shared_ptr<LiveRegion::Slot>> slots;
    for (std::uint32_t i = 0; i < LiveRegion::slot_count; ++i) {
      regions.push_back(LiveRegion::open(path_));
      slots.push_back(regions.back()->join());
      if (!slots.back()) ::_exit(9);
      slots.back()->write(named("all"));
    }
  };
  const pid_t child = start(take_all);
  EXPECT_EQ(LiveRegion::open(path_)->join(), nullptr);
  EXPECT_EQ(names().size(), LiveRegion::slot_count);
  kill(child);
  EXPECT_NE(LiveRegion::open(path_)->join(), nullptr);
}

// What a kill between two stores leaves: an odd sequence, and the lock free.
TEST_F(LiveRegionTest, ASlotTornByAKillConfusesNobodyAndIsUsedAgain) {
  const auto region = LiveRegion::open_or_make(path_);
  std::vector<std::byte> torn(LiveRegion::slot_count * 256, std::byte{0xFF});
  File::open(path_, File::Access::read_write).write_at(8192, torn);
  EXPECT_EQ(names(), Names{});
  const auto slot = region->join();
  EXPECT_EQ(names(), Names{}) << "not yet written by its new owner";
  slot->write(named("heir"));
  EXPECT_EQ(names(), Names{"heir"});
}

TEST_F(LiveRegionTest, AForkedChildDoesNotUndoItsParentsSlot) {
  const auto region = LiveRegion::open_or_make(path_);
  auto slot = region->join();
  slot->write(named("parent"));
  const pid_t child = start([&] {
    slot->write(named("child"));
    slot.reset();
    if (region->join() != nullptr || region->is_current()) ::_exit(9);
    static const auto own = LiveRegion::open(path_);
    static const auto own_slot = own->join();
    own_slot->write(named("own"));
  });
  EXPECT_EQ(names(), (Names{"own", "parent"}));
  kill(child);
  EXPECT_EQ(names(), Names{"parent"});
}

TEST_F(LiveRegionTest, AParentsSlotDiesWithItAlthoughItsChildLives) {
  ASSERT_NE(LiveRegion::open_or_make(path_), nullptr);
  int grandchild[2];
  ASSERT_EQ(::pipe(grandchild), 0);
  const pid_t parent = start([&] {
    static const auto region = LiveRegion::open(path_);
    static const auto slot = region->join();
    slot->write(named("parent"));
    const pid_t pid = ::fork();
    if (pid == 0)
      for (;;) ::pause();
    [[maybe_unused]] const auto put = ::write(grandchild[1], &pid, sizeof pid);
  });
  pid_t orphan = 0;
  ASSERT_EQ(::read(grandchild[0], &orphan, sizeof orphan), static_cast<ssize_t>(sizeof orphan));
  EXPECT_EQ(names(), Names{"parent"});
  kill(parent);
  // The child gives back what it inherited as soon as it runs.
  for (int tries = 0; tries < 1000 && !names().empty(); ++tries) std::this_thread::sleep_for(10ms);
  EXPECT_EQ(names(), Names{});
  ::kill(orphan, SIGKILL);
  ::close(grandchild[0]);
  ::close(grandchild[1]);
}

TEST_F(LiveRegionTest, AnAnnouncementWakesAnotherProcess) {
  const auto region = LiveRegion::open_or_make(path_);
  const std::uint32_t seen = region->epoch("main");
  const pid_t child = ::fork();
  if (child == 0) {
    const auto own = LiveRegion::open(path_);
    while (own->epoch("main") == seen) own->wait("main", seen, 60s);
    ::_exit(0);
  }
  region->announce("other name");
  region->announce("main");
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(LiveRegionTest, WhatWasAnnouncedBeforeWaitingIsNotMissed) {
  const auto region = LiveRegion::open_or_make(path_);
  const std::uint32_t seen = region->epoch("main");
  region->announce("main");
  region->wait("main", seen, 3600s);  // returns
  EXPECT_NE(region->epoch("main"), seen);
}

TEST_F(LiveRegionTest, WaitingEndsWithItsTime) {
  const auto region = LiveRegion::open_or_make(path_);
  region->wait("main", region->epoch("main"), 1ms);  // returns
}

TEST_F(LiveRegionTest, AReaderWithoutWritePermissionWaitsToo) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
  const auto region = LiveRegion::open_or_make(path_);
  std::filesystem::permissions(directory_, std::filesystem::perms(0755));
  std::filesystem::permissions(path_, std::filesystem::perms(0644));
  const std::uint32_t seen = region->epoch("main");
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setresuid(65534, 65534, 65534) != 0) ::_exit(8);
    const auto own = LiveRegion::open(path_);
    if (!own || own->is_writable() || own->join() != nullptr) ::_exit(9);
    [[maybe_unused]] const auto put = ::write(ready[1], "r", 1);
    while (own->epoch("main") == seen) own->wait("main", seen, 60s);
    ::_exit(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  region->announce("main");
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(LiveRegionTest, DeletingTheFileHarmsNobody) {
  const auto region = LiveRegion::open_or_make(path_);
  const auto slot = region->join();
  std::filesystem::remove(path_);
  EXPECT_FALSE(region->is_current());
  slot->write(named("alone"));
  region->announce("main");
  EXPECT_EQ(region->processes().size(), 1u);
  const auto next = LiveRegion::open_or_make(path_);
  EXPECT_TRUE(next->is_current());
  EXPECT_EQ(next->processes().size(), 0u);
}

// Readers beside a writer that never rests see one of the two contents, whole.
TEST_F(LiveRegionTest, AReaderNeverSeesHalfOfWhatIsWritten) {
  const auto region = LiveRegion::open_or_make(path_);
  const auto slot = region->join();
  const LiveProcess one = named(std::string(60, 'a'));
  LiveProcess two = named(std::string(60, 'b'));
  two.mapped_bytes = 99;
  std::atomic<bool> is_over{false};
  std::thread writer([&] {
    while (!is_over) {
      slot->write(one);
      slot->write(two);
    }
  });
  const auto reader = LiveRegion::open(path_);
  int seen = 0;
  for (int i = 0; i < 2000; ++i) {
    for (const auto& process : reader->processes()) {
      ++seen;
      const bool is_one = process.name == one.name && process.mapped_bytes == one.mapped_bytes;
      const bool is_two = process.name == two.name && process.mapped_bytes == two.mapped_bytes;
      EXPECT_TRUE(is_one || is_two) << process.name << " " << process.mapped_bytes;
    }
  }
  is_over = true;
  writer.join();
  EXPECT_GT(seen, 0);
}

}  // namespace
}  // namespace tenon
