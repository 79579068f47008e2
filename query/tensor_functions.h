// Functions over one tensor or two, each named by a handle: see tensor_handle.h.
#pragma once

#include <span>

#include "query/function.h"

namespace tenon {

std::span<const ScalarFunction> tensor_functions();

}  // namespace tenon
