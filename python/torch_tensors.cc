#include "python/torch_tensors.h"

#include <array>
#include <memory>
#include <string>

#include "python/dlpack.h"
#include "python/torch_names.h"

namespace tenon::python {

namespace {

bool is_contiguous(const TensorRow& row) {
  std::int64_t wanted = 1;
  for (std::size_t d = row.shape.size(); d-- > 0;) {
    if (row.shape[d] != 1 && row.stride[d] != wanted) return false;
    wanted *= row.shape[d];
  }
  return true;
}

std::uint64_t numel(const TensorRow& row) {
  std::uint64_t count = 1;
  for (const std::int64_t size : row.shape) count *= static_cast<std::uint64_t>(size);
  return count;
}

}  // namespace

TorchTensors::TorchTensors(const Snapshot& snapshot, const SlotMemory& memory, Placement placement)
    : snapshot_(snapshot),
      memory_(memory),
      placement_(std::move(placement)),
      uses_(snapshot.slot_count()),
      tensors_(snapshot.size()),
      storages_(snapshot.slot_count()) {
  for (std::uint32_t i = 0; i < snapshot.size(); ++i) {
    const TensorRow row = snapshot.row(i);
    if (row.slot != no_slot && row.object == i) ++uses_[row.slot];
  }
}

py::object TorchTensors::tensor(std::uint32_t index) {
  const TensorRow row = snapshot_.row(index);
  py::object& known = tensors_[row.object];
  if (!known) known = finish(make_plain(row), row);
  return known;
}

py::object TorchTensors::quantized(std::uint32_t index, const py::object& scales, const py::object& zero_points) {
  const TensorRow row = snapshot_.row(index);
  py::object& known = tensors_[row.object];
  if (known) return known;
  known = torch_names().rebuild_quantized(storage_of(row.slot), row.storage_offset_bytes, integers(row.shape),
                                          integers(row.stride), text(dtype_info(row.dtype).name), text(row.quantizer),
                                          scales, zero_points, row.requires_grad);
  return known;
}

py::object TorchTensors::storage(std::uint32_t index) {
  const TensorRow row = snapshot_.row(index);
  const auto slot = memory_.bytes(row.slot);
  const std::uint64_t nbytes = numel(row) * dtype_info(row.dtype).bits / 8;
  const bool is_whole = row.storage_offset_bytes == 0 && slot.size() - nbytes < item_bytes(row.dtype);
  const py::object untyped =
      is_whole ? storage_of(row.slot) : storage_over(row.slot, slot.subspan(row.storage_offset_bytes, nbytes));
  return torch_names().typed_storage(untyped, torch_names().dtype(row.dtype));
}

bool TorchTensors::must_be_placed(std::uint32_t slot) const {
  return placement_.also_from_cpu || snapshot_.slot(slot).location != "cpu";
}

bool TorchTensors::fills_slot_alone(const TensorRow& row) const {
  if (uses_[row.slot] != 1 || row.storage_offset_bytes != 0) return false;
  const std::uint64_t nbytes = numel(row) * item_bytes(row.dtype);
  return nbytes != 0 && nbytes == memory_.bytes(row.slot).size() && is_contiguous(row);
}

py::object TorchTensors::make_plain(const TensorRow& row) {
  TorchNames& torch = torch_names();
  if (row.slot == no_slot) {
    return torch.empty_strided(integers(row.shape), integers(row.stride), py::arg("dtype") = torch.dtype(row.dtype),
                               py::arg("device") = "meta");
  }
  const bool stays = !must_be_placed(row.slot);
  if (stays && fills_slot_alone(row) && torch.may_take(row.dtype)) {
    if (py::object made = direct(row)) return made;
  }
  return in_storage(row);
}

// Null, once and for all of that type, where this release of torch does not know the type in DLPack.
py::object TorchTensors::direct(const TensorRow& row) {
  try {
    return over_memory(row);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_RuntimeError) && !error.matches(PyExc_BufferError)) throw;
    torch_names().forbid(row.dtype);
    return {};
  }
}

py::object TorchTensors::over_memory(const TensorRow& row) {
  const std::byte* data = memory_.bytes(row.slot).data() + row.storage_offset_bytes;
  const py::object capsule = make_capsule(
      {.owner = memory_.owner(row.slot), .data = data, .dtype = row.dtype, .shape = row.shape, .stride = row.stride});
  return own(PyObject_CallOneArg(torch_names().from_dlpack.ptr(), capsule.ptr()));
}

// empty((0,), dtype).set_(storage, offset, shape, stride), as torch rebuilds tensors itself.
py::object TorchTensors::in_storage(const TensorRow& row) {
  TorchNames& torch = torch_names();
  const std::uint64_t item = item_bytes(row.dtype);
  if (row.storage_offset_bytes % item != 0) {
    // No torch storage can express it: a storage of its own, over the same memory.
    return over_memory(row);
  }
  const py::object storage = storage_of(row.slot);
  const py::object empty = must_be_placed(row.slot)
                               ? torch.empty(py::make_tuple(0), py::arg("dtype") = torch.dtype(row.dtype),
                                             py::arg("device") = storage.attr("device"))
                               : torch.empty(py::make_tuple(0), py::arg("dtype") = torch.dtype(row.dtype));
  return empty.attr("set_")(storage, row.storage_offset_bytes / item, integers(row.shape), integers(row.stride));
}

py::object TorchTensors::storage_of(std::uint32_t slot) {
  py::object& known = storages_[slot];
  if (known) return known;
  known = storage_over(slot, memory_.bytes(slot));
  if (must_be_placed(slot)) known = placement_.place(known, text(snapshot_.slot(slot).location));
  return known;
}

py::object TorchTensors::storage_over(std::uint32_t slot, std::span<const std::byte> bytes) {
  TorchNames& torch = torch_names();
  if (bytes.empty()) return torch.untyped_storage_class(0);
  const std::array shape{static_cast<std::int64_t>(bytes.size())};
  constexpr std::array<std::int64_t, 1> stride{1};
  const py::object capsule = make_capsule(
      {.owner = memory_.owner(slot), .data = bytes.data(), .dtype = DType::uint8, .shape = shape, .stride = stride});
  return torch.untyped_storage(torch.from_dlpack(capsule));
}

py::object TorchTensors::finish(py::object tensor, const TensorRow& row) {
  TorchNames& torch = torch_names();
  if (row.is_conj || row.is_neg) tensor = torch.set_bits(tensor, row.is_conj, row.is_neg);
  if (row.kind == TensorKind::parameter) return torch.make_parameter(tensor, row.requires_grad);
  if (row.requires_grad) tensor.attr("requires_grad") = true;
  return tensor;
}

}  // namespace tenon::python
