// Open-file-description locks (F_OFD_SETLK): the kernel releases them when the holder dies, they work across PID
// namespaces and users, and a shared one needs read permission only.
//
// Fork: such a lock belongs to the open file, which a child inherits and so would keep alive. All descriptors held by
// FileLock are therefore closed in a forked child (pthread_atfork); a FileLock inherited by a child is released there,
// and is_held() says false. Their numbers stay taken until the child's own copies close them. Threads: one FileLock
// belongs to one thread at a time. Two FileLocks of one process on one file exclude each other.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>

#include "mmap/file.h"

namespace tenon {

enum class LockMode : std::uint8_t { shared, exclusive };

class FileLock {
 public:
  FileLock() = default;
  // Opens `path` (which must exist) and waits for the lock on byte `byte` of it up to `timeout`; then throws busy.
  // Exclusive locks need write permission.
  static FileLock acquire(const std::filesystem::path& path, LockMode mode, std::uint64_t byte,
                          std::chrono::milliseconds timeout);
  static std::optional<FileLock> try_acquire(const std::filesystem::path& path, LockMode mode, std::uint64_t byte);
  // Locks byte 0 of a file already open for writing, exclusively, on that very descriptor: held until the descriptor is
  // closed. REQUIRES: nobody else can have it locked. A forked child closes the descriptor.
  static void hold(const File& file);
  // Locks one of the bytes [first, first + count), the first free one from first + start on, round: exclusively, on the
  // file's own descriptor and until it is closed. Which one; nullopt if all are taken. REQUIRES: open for writing, and
  // asked once for a file. A forked child closes the descriptor.
  static std::optional<std::uint64_t> hold_any(const File& file, std::uint64_t first, std::uint64_t count,
                                               std::uint64_t start);
  // True if somebody holds that byte of the file exclusively, through another descriptor than this one.
  static bool is_locked(const File& file, std::uint64_t byte = 0);

  FileLock(FileLock&&) noexcept;
  FileLock& operator=(FileLock&&) noexcept;
  ~FileLock();
  bool is_held() const noexcept;
  // True if `path` still leads to the file that is locked: who waited for a lock may have got that of a file replaced
  // meanwhile.
  bool is_on(const std::filesystem::path& path) const noexcept;
  void release() noexcept;

 private:
  int descriptor_ = -1;
  std::uint64_t fork_generation_ = 0;
};

// Counts forks in this process's ancestry since start: differs between a process and its forked child. Cheap; no system
// call.
std::uint64_t fork_generation() noexcept;

}  // namespace tenon
