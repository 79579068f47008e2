// Faults that a test must find, switched on by TENON_SEEDED_BUG=<name> in builds configured with -Dseeded_bugs=true,
// and compiled to `false` in every other build. tests/faults/seeded_bugs.py says which test finds which.
#pragma once

#include <cstdlib>
#include <string_view>

namespace tenon {

#ifdef TENON_SEEDED_BUGS
inline bool seeded_bug(std::string_view name) noexcept {
  static const char* const wanted = std::getenv("TENON_SEEDED_BUG");
  return wanted != nullptr && name == wanted;
}
#else
constexpr bool seeded_bug(std::string_view) noexcept { return false; }
#endif

}  // namespace tenon
