#include "mmap/standard_descriptors.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <functional>

#include "mmap/file.h"
#include "mmap/lock.h"

namespace tenon {
namespace {

constexpr int threw = 97;

// In a child whose descriptors 0 to 2 are closed, which cannot tell why it failed: by its exit status only.
int without_standard_streams(const std::function<int()>& body) {
  const pid_t process = ::fork();
  if (process == 0) {
    for (const int number : {0, 1, 2}) ::close(number);
    int status = threw;
    try {
      status = body();
    } catch (const Error&) {
    }
    ::_exit(status);
  }
  int status = 0;
  ::waitpid(process, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

class StandardDescriptorsTest : public ::testing::Test {
 protected:
  StandardDescriptorsTest() {
    std::string name = (std::filesystem::temp_directory_path() / "tenon-descriptors-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    directory_ = name;
  }
  ~StandardDescriptorsTest() override { std::filesystem::remove_all(directory_); }

  std::filesystem::path directory_;
};

TEST_F(StandardDescriptorsTest, FilesAndLocksStayOffThem) {
  const int lowest = without_standard_streams([&] {
    const File made = File::create(directory_ / "f");
    const File opened = File::open(directory_ / "f");
    const auto tried = File::try_open(directory_ / "f", File::Access::read_write);
    const FileLock lock = FileLock::acquire(directory_ / "f", LockMode::exclusive, 0, std::chrono::milliseconds(100));
    for (const int number : {0, 1, 2}) {
      if (::fcntl(number, F_GETFD) != -1) return number;
    }
    const bool closes_on_exec = (::fcntl(made.descriptor(), F_GETFD) & FD_CLOEXEC) != 0;
    return closes_on_exec ? std::min({made.descriptor(), opened.descriptor(), tried->descriptor()}) : -1;
  });
  EXPECT_GE(lowest, 3);
  EXPECT_NE(lowest, threw);
}

TEST_F(StandardDescriptorsTest, AMissingFileIsStillNotFound) {
  EXPECT_EQ(0, without_standard_streams([&] { return File::try_open(directory_ / "none") ? 1 : 0; }));
}

TEST_F(StandardDescriptorsTest, WhileReservedOthersGetOtherNumbers) {
  EXPECT_EQ(0, without_standard_streams([&] {
              {
                const standard_descriptors::Reserved reserved;
                const int others = ::open("/", O_RDONLY | O_CLOEXEC);
                if (others < 3) return 1;
                if (::write(2, "x", 1) != -1 || errno != EBADF) return 2;
              }
              return ::open("/", O_RDONLY | O_CLOEXEC) == 0 ? 0 : 3;  // given back
            }));
}

TEST_F(StandardDescriptorsTest, ThoseInUseAreLeftAlone) {
  const standard_descriptors::Reserved reserved;
  EXPECT_GE(::fcntl(STDERR_FILENO, F_GETFL), 0);
  EXPECT_EQ(::fcntl(STDERR_FILENO, F_GETFL) & O_PATH, 0);
}

}  // namespace
}  // namespace tenon
