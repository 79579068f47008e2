// A file that gets its name only when it is complete: what was there before stays until then, and a failure leaves no
// trace.
//
// Example: PendingFile pending(out);
//          write_all(pending.file());
//          pending.publish(sync);
//
// Errors: as File. Threads: as File, but publish is called once.
#pragma once

#include <filesystem>

#include "mmap/file.h"

namespace tenon {

class PendingFile {
 public:
  // Creates `<final_path>.<random>.tmp`.
  explicit PendingFile(std::filesystem::path final_path);
  PendingFile(const PendingFile&) = delete;
  PendingFile& operator=(const PendingFile&) = delete;
  ~PendingFile();

  File& file() noexcept { return file_; }

  // Replaces what has the name. With `sync` file and name are durable when it returns.
  void publish(bool sync);

 private:
  std::filesystem::path final_path_;
  std::filesystem::path pending_path_;
  File file_;
  bool is_published_ = false;
};

}  // namespace tenon
