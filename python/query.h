// Statements and their rows as Python sees them.
#pragma once

#include "python/binding.h"

namespace tenon::python {

void bind_query(py::module_& module);

}  // namespace tenon::python
