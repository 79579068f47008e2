// The descriptors that hold locks, which a forked child must not keep: an open-file-description lock lives as long as
// any process has the open file. A child closes all of them before fork() returns in it; their numbers stay taken there
// (by an empty eventfd) until the child's copies of their owners close them.
#pragma once

namespace tenon::locked_descriptors {

// Opens `path` with these open(2) flags so that no fork can come between opening and registering. -1 and errno on
// failure.
int open(const char* path, int flags);
void add(int descriptor);
// Closes a descriptor, registered or not.
void close(int descriptor) noexcept;

}  // namespace tenon::locked_descriptors
