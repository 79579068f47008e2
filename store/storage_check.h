// One stored storage against its digests.
#pragma once

#include <cstdint>
#include <functional>

#include "mmap/file.h"
#include "store/segment.h"

namespace tenon {

struct StorageCheck {
  // Calls with the place in the file and what is wrong there.
  std::function<void(std::uint64_t offset, const char* what)> damaged;
  std::function<void(std::uint64_t bytes)> read;  // progress
};

// Reads every byte of a storage that is there through `file` and holds it against its leaves, and the leaves against
// its key. A storage that gc has taken (of no bytes) is in order.
void check_storage(const Segment& segment, const File& file, const format::StorageEntry& entry,
                   const StorageCheck& check);
bool is_storage_whole(const Segment& segment, const File& file, const format::StorageEntry& entry);

}  // namespace tenon
