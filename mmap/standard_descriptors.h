// Descriptors 0 to 2 belong to the standard streams, also in a process that was started with some of them closed: the
// next open() would get such a number, and what is printed would go into a file of ours.
#pragma once

#include <array>
#include <mutex>

namespace tenon::standard_descriptors {

// The same open file under a number from 3 on, with O_CLOEXEC; the old number is closed. Passes on a descriptor that
// needs no move, and -1. -1 and errno on failure, the file being closed.
int avoid(int descriptor) noexcept;

// While one lives, those of 0 to 2 that are closed are taken, by something that can be neither read nor written, so
// that what others open gets other numbers. One at a time in a process; a fork waits for its end.
class Reserved {
 public:
  Reserved();
  Reserved(const Reserved&) = delete;
  Reserved& operator=(const Reserved&) = delete;
  ~Reserved();

 private:
  std::unique_lock<std::mutex> turn_;
  std::array<bool, 3> is_taken_{};
};

}  // namespace tenon::standard_descriptors
