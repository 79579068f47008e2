// The process's standard streams, which a caller may have closed, filled up or left without a reader.
#pragma once

#include <string_view>

namespace tenon::tools {

// First thing in main: takes those of descriptors 0 to 2 that are closed, so that no file gets their numbers and what
// is printed cannot end up in a store. Reading or writing them fails as before.
void occupy_closed_streams() noexcept;

// To standard error, unbuffered. That it cannot be written changes no outcome, and there is nobody to tell.
void write_error(std::string_view text) noexcept;

}  // namespace tenon::tools
