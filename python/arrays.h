// Memory of a snapshot for Python's buffer protocol, and numpy arrays over it.
//
// Owner: an array keeps its Memory, and that the snapshot's mappings. Needs the GIL.
#pragma once

#include <cstddef>
#include <memory>

#include "python/binding.h"
#include "python/dlpack.h"
#include "python/slot_memory.h"
#include "tenon/snapshot.h"

namespace tenon::python {

// Bytes that the buffer protocol hands out. Owned by whoever `owner` is.
struct Memory {
  std::shared_ptr<const void> owner;
  std::byte* data = nullptr;
  std::size_t nbytes = 0;
  bool is_read_only = true;
};

// "f", "Zd": as the struct module has it, the complex ones as numpy does. Null where it has none.
const char* buffer_format(DType dtype) noexcept;
DType dtype_of_format(const char* format, Py_ssize_t item_bytes) noexcept;

// The tensor of `row` as DLPack and buffers want it. REQUIRES: it has a slot.
ForeignView view_of(const Snapshot& snapshot, std::uint32_t row);

// Arrays of one snapshot, read-only if its memory is. Views of one slot share one Memory.
class Arrays {
 public:
  // Both outlive this.
  Arrays(const Snapshot& snapshot, const SlotMemory& memory);
  // Null where numpy has no such element type, or the row has no bytes.
  py::object array(std::uint32_t row);

 private:
  py::object memory_of(std::uint32_t slot);

  const Snapshot& snapshot_;
  const SlotMemory& memory_;
  py::object ndarray_;
  std::vector<py::object> memories_;  // by slot
};

}  // namespace tenon::python
