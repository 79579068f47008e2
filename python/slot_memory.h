// Where the slots of one load are in this process: in the snapshot's own mapping or memory, or in copies of those that
// are needed.
//
// Owner: owner() of a slot keeps its bytes; so does the object, until it goes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tenon/snapshot.h"

namespace tenon::python {

class SlotMemory {
 public:
  // As the snapshot's mode has them.
  explicit SlotMemory(const Snapshot& snapshot);
  // Copies of these slots, read through the file by several threads, digests checked. Other slots have no bytes. The
  // GIL is not needed, and better not held. Throws corrupt, io.
  SlotMemory(const Snapshot& snapshot, std::span<const std::uint32_t> slots);

  std::span<std::byte> bytes(std::uint32_t slot) const noexcept;
  const std::shared_ptr<const void>& owner(std::uint32_t slot) const noexcept;
  bool is_read_only() const noexcept { return copies_.empty() && snapshot_.mode() == Mode::shared; }

 private:
  struct Copy {
    std::shared_ptr<std::byte> bytes;
    std::shared_ptr<const void> owner;
    std::size_t nbytes = 0;
  };
  Snapshot snapshot_;
  std::shared_ptr<const void> owner_;
  std::vector<Copy> copies_;  // by slot; empty: there are none
};

}  // namespace tenon::python
