// Runs independent tasks on a few threads. The first exception stops the rest and is thrown to the caller.
#pragma once

#include <cstddef>
#include <functional>

namespace tenon {

// Calls task(0) .. task(count - 1), in no particular order, on the calling thread and up to `threads` - 1 others.
// Returns when all are done. With threads <= 1, or count <= 1, no thread is made.
void parallel_for(std::size_t count, std::size_t threads, const std::function<void(std::size_t)>& task);

// Threads worth using for work that touches `bytes` of memory: 1 for little, else the processors this process may run
// on, at most 8.
std::size_t threads_for_bytes(std::size_t bytes) noexcept;

}  // namespace tenon
