// From a structure back to the Python object it was: containers and scalars here, tensors by TorchTensors or Arrays,
// and what only Python can make by the policy of the load (tenon._policy), which decides what may be imported.
//
// Needs the GIL. Errors: what the policy raises for classes it does not allow, before anything is made; limit for
// nesting that is too deep.
#pragma once

#include "python/binding.h"
#include "python/torch_tensors.h"
#include "tenon/snapshot.h"
#include "tenon/structure.h"

namespace tenon::python {

enum class Tensors : std::uint8_t { torch, arrays };

struct LoadRequest {
  std::string prefix{};
  bool copies_part = false;  // plain memory for what is loaded, whatever the snapshot's mode
  Tensors tensors = Tensors::torch;
  Placement placement{};
  py::object policy{};
  py::object make_handle{};  // (row) -> what stands for a tensor that is no array
};

py::object load_object(const Snapshot& snapshot, const LoadRequest& request);

}  // namespace tenon::python
