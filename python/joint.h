// Joint commits for Python: see tenon/joint_commit.h. Tickets are str and parts bytes, so they travel by any means.
#pragma once

#include "python/binding.h"

namespace tenon::python {

void bind_joint(py::module_& module);

}  // namespace tenon::python
