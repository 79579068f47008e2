// Memory that is a part of a file in flight: what is written there is in the file. Never for a finished file.
//
// The space is taken from the disk first, so that a full one is an error here and no SIGBUS later. Children do not
// inherit the memory. Lifetime: unmapped on destruction; what was written stays in the page cache for a sync.
#pragma once

#include <cstddef>
#include <cstdint>

#include "mmap/file.h"

namespace tenon {

class WritableMapping {
 public:
  // [offset, offset + size) of the file, which is made longer if need be; offset a multiple of the page size. Zeroed
  // where nothing was written. Throws full, io, limit.
  WritableMapping(File& file, std::uint64_t offset, std::uint64_t size_bytes);
  WritableMapping(WritableMapping&& other) noexcept;
  WritableMapping& operator=(WritableMapping&&) = delete;
  ~WritableMapping();

  std::byte* data() const noexcept { return data_; }
  std::uint64_t size_bytes() const noexcept { return size_bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace tenon
