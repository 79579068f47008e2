// Places where a test may stop or kill a process, to put something else into the gap. TENON_FAILPOINT=NAME:DIRECTORY
// makes the file DIRECTORY/NAME.reached when the place is reached and waits until there is DIRECTORY/NAME.go;
// TENON_FAILPOINT=NAME:kill kills the process there. In builds without tests they are compiled to nothing.
#pragma once

#include <string_view>

namespace tenon {

#ifdef TENON_FAILPOINTS
void failpoint(std::string_view name);
#else
constexpr void failpoint(std::string_view) noexcept {}
#endif

}  // namespace tenon
