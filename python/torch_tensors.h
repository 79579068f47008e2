// Torch tensors over the memory of a snapshot, without libtorch: by DLPack where a tensor fills its slot, else by a
// storage per slot and set_.
//
// Tensors of one slot share one storage of exactly the slot's bytes; two slots never share. Owner: each storage keeps
// the snapshot's mappings. Needs the GIL, and torch to be importable.
#pragma once

#include <cstdint>
#include <vector>

#include "python/binding.h"
#include "python/slot_memory.h"
#include "tenon/snapshot.h"
#include "tenon/structure.h"

namespace tenon::python {

// Where storages go that are not to stay on the CPU.
struct Placement {
  py::object place{};          // (storage, location) -> storage; of tenon._torch
  bool also_from_cpu = false;  // else only storages of other devices are placed
};

class TorchTensors {
 public:
  // REQUIRES: the memory is not read-only, since torch may write. Both outlive this.
  TorchTensors(const Snapshot& snapshot, const SlotMemory& memory, Placement placement);

  // With kind, requires_grad, conj and neg as the row says. The same object for rows that are one object.
  py::object tensor(std::uint32_t row);
  // A quantized row; scales and zero points are tensors or lists.
  py::object quantized(std::uint32_t row, const py::object& scales, const py::object& zero_points);
  // A TypedStorage over what the row spans.
  py::object storage(std::uint32_t row);

 private:
  bool fills_slot_alone(const TensorRow& row) const;
  bool must_be_placed(std::uint32_t slot) const;
  py::object over_memory(const TensorRow& row);
  py::object make_plain(const TensorRow& row);
  py::object direct(const TensorRow& row);
  py::object in_storage(const TensorRow& row);
  py::object storage_of(std::uint32_t slot);
  py::object storage_over(std::uint32_t slot, std::span<const std::byte> bytes);
  py::object finish(py::object tensor, const TensorRow& row);

  const Snapshot& snapshot_;
  const SlotMemory& memory_;
  Placement placement_;
  std::vector<std::uint32_t> uses_;   // of each slot, by different tensors
  std::vector<py::object> tensors_;   // by row
  std::vector<py::object> storages_;  // by slot
};

}  // namespace tenon::python
