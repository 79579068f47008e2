#include "mmap/lock.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <optional>
#include <string>
#include <thread>

namespace tenon {
namespace {

using namespace std::chrono_literals;

// A forked process that runs `body` and then answers with its exit status; its pipe lets the two take turns.
class Child {
 public:
  explicit Child(const std::function<int(Child&)>& body) {
    if (::pipe(to_child_) != 0 || ::pipe(to_parent_) != 0) throw std::runtime_error("pipe");
    pid_ = ::fork();
    if (pid_ == 0) {
      // A child must see the end of the pipe when the parent dies.
      ::close(to_child_[1]);
      int status = 99;
      try {
        status = body(*this);
      } catch (const std::exception&) {
        status = 98;
      }
      ::_exit(status);
    }
  }
  // In the child.
  void say_ready() const { [[maybe_unused]] const auto put = ::write(to_parent_[1], "r", 1); }
  void wait_for_go() const {
    char c = 0;
    [[maybe_unused]] const auto got = ::read(to_child_[0], &c, 1);
  }
  // In the parent.
  void wait_until_ready() const {
    char c = 0;
    ASSERT_EQ(::read(to_parent_[0], &c, 1), 1);
  }
  void go() const { ASSERT_EQ(::write(to_child_[1], "g", 1), 1); }
  void kill() const { ASSERT_EQ(::kill(pid_, SIGKILL), 0); }
  int status() {
    int status = -1;
    EXPECT_EQ(::waitpid(pid_, &status, 0), pid_);
    for (const int descriptor : {to_child_[0], to_child_[1], to_parent_[0], to_parent_[1]}) ::close(descriptor);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  int to_child_[2]{};
  int to_parent_[2]{};
  pid_t pid_ = -1;
};

class LockTest : public ::testing::Test {
 protected:
  LockTest() {
    std::string name = (std::filesystem::temp_directory_path() / "tenon-lock-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    directory_ = name;
    path_ = directory_ / "lock";
    File::create(path_);
  }
  ~LockTest() override { std::filesystem::remove_all(directory_); }

  std::optional<FileLock> exclusive(std::uint64_t byte = 0) const {
    return FileLock::try_acquire(path_, LockMode::exclusive, byte);
  }
  std::optional<FileLock> shared(std::uint64_t byte = 0) const {
    return FileLock::try_acquire(path_, LockMode::shared, byte);
  }

  std::filesystem::path directory_;
  std::filesystem::path path_;
};

TEST_F(LockTest, ExclusiveKeepsOutEverybodyElseUntilReleased) {
  std::optional<FileLock> first = exclusive();
  ASSERT_TRUE(first && first->is_held());
  EXPECT_FALSE(exclusive());
  EXPECT_FALSE(shared());
  first->release();
  EXPECT_FALSE(first->is_held());
  EXPECT_TRUE(exclusive());
}

TEST_F(LockTest, SharedLocksLiveSideBySideAndKeepOutExclusive) {
  const auto first = shared();
  const auto second = shared();
  EXPECT_TRUE(first && second);
  EXPECT_FALSE(exclusive());
}

TEST_F(LockTest, BytesAreLockedApart) {
  const auto first = exclusive(0);
  EXPECT_TRUE(exclusive(1));
  EXPECT_TRUE(exclusive((std::uint64_t{1} << 62)));
  EXPECT_FALSE(exclusive(0));
}

TEST_F(LockTest, MoveCarriesTheLock) {
  FileLock first = *exclusive();
  FileLock second = std::move(first);
  EXPECT_FALSE(first.is_held());
  EXPECT_TRUE(second.is_held());
  EXPECT_FALSE(exclusive());
  second = FileLock();
  EXPECT_TRUE(exclusive());
}

TEST_F(LockTest, WaitEndsWithBusyWhenTheTimeIsOver) {
  const auto holder = exclusive();
  try {
    FileLock::acquire(path_, LockMode::shared, 0, 5ms);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::busy);
    EXPECT_EQ(error.facts().file, path_.string());
  }
}

TEST_F(LockTest, WaiterGetsTheLockWhenItIsReleased) {
  std::optional<FileLock> holder = exclusive();
  std::thread releaser([&] {
    std::this_thread::sleep_for(3ms);
    holder->release();
  });
  EXPECT_TRUE(FileLock::acquire(path_, LockMode::exclusive, 0, 60s).is_held());
  releaser.join();
}

TEST_F(LockTest, MissingFileIsNotFound) {
  try {
    FileLock::try_acquire(directory_ / "none", LockMode::shared, 0);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::not_found);
  }
}

TEST_F(LockTest, SharedNeedsReadPermissionOnly) {
  std::filesystem::permissions(path_, std::filesystem::perms::owner_read);
  EXPECT_TRUE(shared());
}

TEST_F(LockTest, AKilledHolderHoldsNothing) {
  Child holder([&](Child& self) {
    const auto lock = exclusive();
    self.say_ready();
    self.wait_for_go();
    return lock ? 0 : 1;
  });
  holder.wait_until_ready();
  EXPECT_FALSE(exclusive());
  holder.kill();
  EXPECT_EQ(holder.status(), -SIGKILL);
  EXPECT_TRUE(exclusive());
}

TEST_F(LockTest, AForkedChildNeitherHoldsNorKeepsAlive) {
  std::optional<FileLock> lock = exclusive();
  Child child([&](Child& self) {
    self.say_ready();
    self.wait_for_go();
    return lock->is_held() ? 1 : 0;
  });
  child.wait_until_ready();
  EXPECT_FALSE(exclusive()) << "the fork must not release the parent's lock";
  lock.reset();
  EXPECT_TRUE(exclusive()) << "the child keeps the lock alive";
  child.go();
  EXPECT_EQ(child.status(), 0);
}

TEST_F(LockTest, ReleaseInAForkedChildLeavesTheParentsLockAndTheChildsOtherFiles) {
  std::optional<FileLock> lock = exclusive();
  Child child([&](Child&) {
    const File innocent = File::open(path_);  // would get the number of a descriptor that fork() closed
    lock->release();
    return ::fcntl(innocent.descriptor(), F_GETFD) == -1 ? 1 : 0;
  });
  EXPECT_EQ(child.status(), 0);
  EXPECT_FALSE(exclusive());
}

TEST_F(LockTest, ForkReleasesEvenWhenDescriptorsAreExhausted) {
  std::optional<FileLock> lock = exclusive();
  const int lowest_free = ::dup(0);
  ::close(lowest_free);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(lowest_free);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const pid_t starved = ::fork();
  if (starved == 0) {
    ::pause();
    ::_exit(0);
  }
  ::setrlimit(RLIMIT_NOFILE, &before);
  lock.reset();
  EXPECT_TRUE(FileLock::acquire(path_, LockMode::exclusive, 0, 60s).is_held());
  ::kill(starved, SIGKILL);
  ::waitpid(starved, nullptr, 0);
}

TEST_F(LockTest, HoldLastsUntilTheFileIsClosed) {
  File file = File::create(directory_ / "x.tmp");
  const File observer = File::open(directory_ / "x.tmp");
  EXPECT_FALSE(FileLock::is_locked(observer));
  FileLock::hold(file);
  EXPECT_TRUE(FileLock::is_locked(observer));
  EXPECT_FALSE(FileLock::try_acquire(directory_ / "x.tmp", LockMode::exclusive, 0));
  File moved = std::move(file);
  EXPECT_TRUE(FileLock::is_locked(observer));
  moved.close();
  EXPECT_FALSE(FileLock::is_locked(observer));
}

TEST_F(LockTest, AFileHeldIsNotKeptLockedByAForkedChild) {
  File file = File::create(directory_ / "x.tmp");
  FileLock::hold(file);
  Child child([&](Child& self) {
    self.say_ready();
    self.wait_for_go();
    const std::string text = "stray";  // the child's File is of no use, and says so
    try {
      file.write_at(0, std::as_bytes(std::span(text)));
      return 1;
    } catch (const Error&) {
      return 0;
    }
  });
  child.wait_until_ready();
  const File observer = File::open(directory_ / "x.tmp");
  EXPECT_TRUE(FileLock::is_locked(observer));
  file.close();
  EXPECT_FALSE(FileLock::is_locked(observer));
  child.go();
  EXPECT_EQ(child.status(), 0);
  EXPECT_EQ(observer.size_bytes(), 0u);
}

TEST_F(LockTest, SharedLocksDoNotCountAsLocked) {
  const auto reader = shared();
  EXPECT_FALSE(FileLock::is_locked(File::open(path_)));
}

TEST_F(LockTest, ForkWhileOtherThreadsLockLeavesNoLockBehind) {
  std::thread locker([&] {
    for (int i = 0; i < 300; ++i) FileLock::acquire(path_, LockMode::exclusive, 0, 60s).release();
  });
  std::vector<pid_t> children;
  for (int i = 0; i < 20; ++i) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::pause();
      ::_exit(0);
    }
    children.push_back(pid);
  }
  locker.join();
  EXPECT_TRUE(FileLock::acquire(path_, LockMode::exclusive, 0, 60s).is_held());
  for (const pid_t pid : children) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
}

TEST(ForkGeneration, DiffersInAChildAndGrowsWithEachGeneration) {
  const std::uint64_t here = fork_generation();
  Child child([&](Child&) {
    if (fork_generation() != here + 1) return 1;
    Child grandchild([&](Child&) { return fork_generation() == here + 2 ? 0 : 1; });
    return grandchild.status();
  });
  EXPECT_EQ(child.status(), 0);
  EXPECT_EQ(fork_generation(), here);
}

}  // namespace
}  // namespace tenon
