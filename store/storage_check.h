// One stored storage against its digests.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "mmap/file.h"
#include "store/segment.h"

namespace tenon {

struct StorageDamage {
  std::uint64_t offset = 0;  // in the file
  std::string what;
  bool is_unreadable = false;  // the disk did not give it
};

struct StorageCheck {
  std::function<void(const StorageDamage& damage)> damaged;
  std::function<void(std::uint64_t bytes)> read;  // progress
};

// Reads every byte of a storage that is there through `file` and holds it against its leaves, and the leaves against
// its key. A storage that gc has taken (of no bytes) is in order. What the disk does not give is damage, leaf by leaf.
void check_storage(const Segment& segment, const File& file, const format::StorageEntry& entry,
                   const StorageCheck& check);

enum class StorageCondition : std::uint8_t { whole, damaged, unreadable };
StorageCondition condition_of_storage(const Segment& segment, const File& file, const format::StorageEntry& entry);

}  // namespace tenon
