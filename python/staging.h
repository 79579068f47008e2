// Memory that the bytes of a save are copied to, so that training goes on while they are committed.
//
// Owner: its memory, which it keeps for the next save: pages that were touched once are several times faster to fill.
// Threads: one save at a time; the GIL is not needed, and must not be held where a source takes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "tenon/draft.h"

namespace tenon::python {

class StagingBuffer {
 public:
  // Copies all slots and points their sources here, until the next fill(). Throws std::bad_alloc, and what sources
  // throw; the draft is then as it was.
  void fill(Draft& draft);
  std::uint64_t nbytes() const noexcept { return nbytes_; }

 private:
  void reserve(std::uint64_t nbytes);

  std::shared_ptr<std::byte> memory_;
  std::uint64_t nbytes_ = 0;
};

}  // namespace tenon::python
