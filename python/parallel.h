// Work on bytes, shared among a few threads.
#pragma once

#include <cstddef>
#include <functional>

namespace tenon::python {

// Calls `work` once for each number below `count`; each thread takes the next one. The first failure ends the work and
// is thrown. The GIL is not needed, and must not be held where `work` takes it.
void in_parallel(std::size_t count, const std::function<void(std::size_t)>& work);

}  // namespace tenon::python
