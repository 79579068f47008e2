#include "mmap/standard_descriptors.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <cerrno>

namespace tenon::standard_descriptors {
namespace {

constexpr int first_other = 3;

// A child finds it free, whatever other threads of the parent were doing.
std::mutex& turns() {
  static std::mutex& mutex = *[] {
    static std::mutex& made = *new std::mutex;  // never destroyed: files are opened during static destruction too
    ::pthread_atfork([] { made.lock(); }, [] { made.unlock(); }, [] { made.unlock(); });
    return &made;
  }();
  return mutex;
}

bool is_closed(int descriptor) noexcept { return ::fcntl(descriptor, F_GETFD) == -1 && errno == EBADF; }

}  // namespace

int avoid(int descriptor) noexcept {
  if (descriptor < 0 || descriptor >= first_other) return descriptor;
  const int moved = ::fcntl(descriptor, F_DUPFD_CLOEXEC, first_other);
  const int error = errno;
  ::close(descriptor);
  errno = error;
  return moved;
}

// O_PATH: a read or write of that number fails as if it were closed still.
Reserved::Reserved() : turn_(turns()) {
  for (int wanted = 0; wanted < first_other; ++wanted) {
    if (!is_closed(wanted)) continue;
    const int taken = ::open("/", O_PATH | O_CLOEXEC);
    if (taken == wanted) {
      is_taken_[static_cast<std::size_t>(wanted)] = true;
    } else if (taken >= 0) {
      ::close(taken);  // another thread was faster, so the number is in use
    }
  }
}

Reserved::~Reserved() {
  for (int number = 0; number < first_other; ++number) {
    if (is_taken_[static_cast<std::size_t>(number)]) ::close(number);
  }
}

}  // namespace tenon::standard_descriptors
