// A file that a user asked for: written under a temporary name beside its place, and put there when it is whole.
#pragma once

#include <filesystem>
#include <optional>
#include <string_view>

#include "mmap/file.h"

namespace tenon {

// Owns the temporary file, `<out>.<random>.tmp`, which is gone when publish() was not reached. One thread.
class PendingFile {
 public:
  // Where `out` is a symbolic link, what it points at is replaced; a file that is replaced keeps its permissions.
  // Throws invalid_argument for a directory, device, FIFO or socket, which writing at any offset from several threads
  // cannot fill, and for what belongs to a store; not_found, io, full naming `out`.
  explicit PendingFile(const std::filesystem::path& out);
  PendingFile(const PendingFile&) = delete;
  PendingFile& operator=(const PendingFile&) = delete;
  ~PendingFile();

  // To be filled; its path is the temporary one.
  File& file() noexcept { return file_; }
  // Gives it its name; durable on return if `sync`. Once.
  void publish(bool sync);

 private:
  std::filesystem::path out_;
  std::filesystem::path place_;  // out_ with links followed
  std::filesystem::path pending_path_;
  File file_;
  bool is_published_ = false;
};

}  // namespace tenon
