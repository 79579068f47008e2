// What is used of torch, looked up once. Nothing here links to torch; all of it comes from the Python package.
#pragma once

#include <array>
#include <unordered_map>

#include "python/binding.h"

namespace tenon::python {

struct TorchNames {
  py::object tensor, parameter;      // classes
  py::object untyped_storage_class;  // torch.UntypedStorage
  py::object typed_storage_class;    // torch.TypedStorage
  py::object from_dlpack;            // of a capsule
  py::object empty, empty_strided;
  py::object strided;  // the layout
  // Of tenon._torch, where releases of torch differ, or where speed does not matter.
  py::object untyped_storage;  // (tensor)
  py::object typed_storage;    // (untyped, dtype)
  py::object make_parameter;   // (tensor, requires_grad)
  py::object set_bits;         // (tensor, is_conj, is_neg)
  py::object rebuild_typed;    // (tensor, type, state)
  py::object rebuild_quantized;
  py::object describe_storage;  // (storage) -> (untyped, class, item bytes)
  py::object device_reader;     // (untyped storage) -> reader

  // Null where this release of torch does not have the type; dtype() throws then.
  py::object dtype(DType dtype) const;
  DType dtype_of(PyObject* dtype) const;  // invalid if it is none that is known
  // Whether torch takes this element type by DLPack.
  bool may_take(DType dtype) const;
  void forbid(DType dtype) { is_forbidden[static_cast<std::size_t>(dtype)] = true; }

  std::array<py::object, 64> dtypes;
  std::unordered_map<PyObject*, DType> dtype_of_object;
  std::array<bool, 64> is_forbidden{};
};

// Imports torch at the first call. Never destroyed, since Python may be gone when statics are.
TorchNames& torch_names();

}  // namespace tenon::python
