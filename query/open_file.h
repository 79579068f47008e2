// A foreign file that a statement named, opened and understood.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tenon/formats.h"

namespace tenon {

struct FileStamp {  // what changes when a file is written again
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;
  std::uint64_t inode = 0;
  friend bool operator==(const FileStamp&, const FileStamp&) = default;
};
// Throws not_found, io.
FileStamp stamp_of(const std::string& path);

struct OpenFile {
  std::string path;
  FileStamp stamp;
  FileFormat format;
  ImportedFile file;
  std::vector<std::uint32_t> order;  // of its tensors by name
};

}  // namespace tenon
