#include "mmap/lock.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cerrno>
#include <limits>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "mmap/locked_descriptors.h"
#include "mmap/standard_descriptors.h"

namespace tenon {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Waiting polls: F_OFD_SETLKW knows no time limit, and a signal to end it would be the whole process's business.
constexpr milliseconds shortest_pause{1};
constexpr milliseconds longest_pause{20};

struct flock byte_range(short type, std::uint64_t byte);
int open_for(const std::filesystem::path& path, LockMode mode);
bool try_lock(int descriptor, LockMode mode, std::uint64_t byte, const std::filesystem::path& path);
void unlock(int descriptor) noexcept;

}  // namespace

FileLock FileLock::acquire(const std::filesystem::path& path, LockMode mode, std::uint64_t byte, milliseconds timeout) {
  const auto deadline = steady_clock::now() + timeout;
  FileLock lock;
  lock.fork_generation_ = tenon::fork_generation();
  lock.descriptor_ = open_for(path, mode);
  for (milliseconds pause = shortest_pause; !try_lock(lock.descriptor_, mode, byte, path);) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
    if (left <= milliseconds::zero()) {
      throw Error(ErrorKind::busy, {.what = "another process holds the lock",
                                    .file = path.string(),
                                    .offset = byte,
                                    .got = "no lock within " + std::to_string(timeout.count()) + " ms",
                                    .hint = "try again when it has finished"});
    }
    std::this_thread::sleep_for(std::min(pause, left));
    pause = std::min(pause * 2, longest_pause);
  }
  return lock;
}

std::optional<FileLock> FileLock::try_acquire(const std::filesystem::path& path, LockMode mode, std::uint64_t byte) {
  FileLock lock;
  lock.fork_generation_ = tenon::fork_generation();
  lock.descriptor_ = open_for(path, mode);
  if (!try_lock(lock.descriptor_, mode, byte, path)) return std::nullopt;
  return lock;
}

void FileLock::hold(const File& file) {
  assert(file.is_open());
  locked_descriptors::add(file.descriptor());
  if (!try_lock(file.descriptor(), LockMode::exclusive, 0, file.path())) {
    throw Error(ErrorKind::busy, {.what = "a file just made is locked by somebody else", .file = file.path().string()});
  }
}

std::optional<std::uint64_t> FileLock::hold_any(const File& file, std::uint64_t first, std::uint64_t count,
                                                std::uint64_t start) {
  locked_descriptors::add(file.descriptor());
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t byte = first + (start + i) % count;
    if (try_lock(file.descriptor(), LockMode::exclusive, byte, file.path())) return byte;
  }
  return std::nullopt;
}

bool FileLock::is_locked(const File& file, std::uint64_t byte) {
  // A shared lock conflicts with exclusive ones only.
  struct flock range = byte_range(F_RDLCK, byte);
  if (::fcntl(file.descriptor(), F_OFD_GETLK, &range) != 0) throw_errno(errno, "cannot ask for the lock", file.path());
  return range.l_type != F_UNLCK;
}

FileLock::FileLock(FileLock&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), fork_generation_(other.fork_generation_) {}

FileLock& FileLock::operator=(FileLock&& other) noexcept {
  if (this != &other) {
    release();
    descriptor_ = std::exchange(other.descriptor_, -1);
    fork_generation_ = other.fork_generation_;
  }
  return *this;
}

FileLock::~FileLock() { release(); }

bool FileLock::is_on(const std::filesystem::path& path) const noexcept {
  struct stat locked {};
  struct stat present {};
  return is_held() && ::fstat(descriptor_, &locked) == 0 && ::stat(path.c_str(), &present) == 0 &&
         locked.st_dev == present.st_dev && locked.st_ino == present.st_ino;
}

bool FileLock::is_held() const noexcept { return descriptor_ >= 0 && fork_generation_ == tenon::fork_generation(); }

void FileLock::release() noexcept {
  if (is_held()) unlock(descriptor_);
  if (descriptor_ >= 0) locked_descriptors::close(std::exchange(descriptor_, -1));
}

namespace {

struct flock byte_range(short type, std::uint64_t byte) {
  assert(byte <= static_cast<std::uint64_t>(std::numeric_limits<off_t>::max()));
  struct flock range {};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(byte);
  range.l_len = 1;
  return range;
}

int open_for(const std::filesystem::path& path, LockMode mode) {
  const int access = mode == LockMode::exclusive ? O_RDWR : O_RDONLY;
  const int descriptor = locked_descriptors::open(path.c_str(), access | O_CLOEXEC | O_NOCTTY);
  if (descriptor < 0) throw_errno(errno, "cannot open the file to lock", path);
  return descriptor;
}

bool try_lock(int descriptor, LockMode mode, std::uint64_t byte, const std::filesystem::path& path) {
  struct flock range = byte_range(mode == LockMode::exclusive ? F_WRLCK : F_RDLCK, byte);
  if (::fcntl(descriptor, F_OFD_SETLK, &range) == 0) return true;
  if (errno != EAGAIN && errno != EACCES) throw_errno(errno, "cannot lock", path, byte);
  return false;
}

// Before the close, because a child that fork() is just making still has the open file for a moment.
void unlock(int descriptor) noexcept {
  struct flock range {};
  range.l_type = F_UNLCK;
  range.l_whence = SEEK_SET;                       // length 0: to the end
  (void)::fcntl(descriptor, F_OFD_SETLK, &range);  // cannot fail on an open file; the close would release it too
}

// Never destroyed, since files are closed during static destruction too. The prepare handler takes the mutex, so that a
// child finds the list whole; the child handler neither allocates nor frees.
struct ForkRegistry {
  std::mutex mutex;
  std::vector<int> descriptors;
  std::atomic<std::uint64_t> generation{0};

  static ForkRegistry& instance() {
    static ForkRegistry& registry = *new ForkRegistry;
    return registry;
  }

 private:
  ForkRegistry() { ::pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child); }
  static void before_fork() { instance().mutex.lock(); }
  static void after_fork_in_parent() { instance().mutex.unlock(); }
  static void after_fork_in_child() {
    ForkRegistry& registry = instance();
    for (const int descriptor : registry.descriptors) park(descriptor);
    registry.descriptors.clear();
    registry.generation.fetch_add(1, std::memory_order_relaxed);
    registry.mutex.unlock();
  }
  // Closes the open file, yet keeps the number taken: the child's copy of its owner will close that number some day,
  // and must not hit a descriptor opened meanwhile. The close comes first so that there is room when descriptors are
  // exhausted.
  static void park(int descriptor) noexcept {
    ::close(descriptor);
    const int placeholder = ::eventfd(0, EFD_CLOEXEC);
    if (placeholder < 0 || placeholder == descriptor) return;
    ::dup3(placeholder, descriptor, O_CLOEXEC);
    ::close(placeholder);
  }
};

// Forks count from the start of the process, locks or not.
[[maybe_unused]] const ForkRegistry& registered_at_start = ForkRegistry::instance();

}  // namespace

std::uint64_t fork_generation() noexcept { return ForkRegistry::instance().generation.load(std::memory_order_relaxed); }

namespace locked_descriptors {

int open(const char* path, int flags) {
  ForkRegistry& registry = ForkRegistry::instance();
  const std::lock_guard guard(registry.mutex);
  registry.descriptors.reserve(registry.descriptors.size() + 1);  // what can throw comes before the open
  const int descriptor = standard_descriptors::avoid(::open(path, flags));
  if (descriptor >= 0) registry.descriptors.push_back(descriptor);
  return descriptor;
}

void add(int descriptor) {
  ForkRegistry& registry = ForkRegistry::instance();
  const std::lock_guard guard(registry.mutex);
  assert(std::count(registry.descriptors.begin(), registry.descriptors.end(), descriptor) == 0);
  registry.descriptors.push_back(descriptor);
}

void close(int descriptor) noexcept {
  ForkRegistry& registry = ForkRegistry::instance();
  const std::lock_guard guard(registry.mutex);
  std::erase(registry.descriptors, descriptor);
  ::close(descriptor);  // what matters was synced before; there is nobody to tell
}

}  // namespace locked_descriptors
}  // namespace tenon
