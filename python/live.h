// Following a ref, and who uses a store, for Python.
#pragma once

#include "python/binding.h"
#include "tenon/store.h"

namespace tenon::python {

// Adds Watch to the module.
void bind_watch(py::module_& module);
// A dict for each process; see tenon/processes.h.
py::list describe_processes(const Store& store);

}  // namespace tenon::python
