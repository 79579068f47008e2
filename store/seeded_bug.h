// Faults that a test harness must be able to find, switched on by TENON_SEEDED_BUG=<name> in builds made with
// -DTENON_SEEDED_BUGS, and compiled to `false` in every other build.
#pragma once

#include <cstdlib>
#include <string_view>

namespace tenon {

#ifdef TENON_SEEDED_BUGS
inline bool seeded_bug(std::string_view name) noexcept {
  const char* wanted = std::getenv("TENON_SEEDED_BUG");
  return wanted != nullptr && name == wanted;
}
#else
constexpr bool seeded_bug(std::string_view) noexcept { return false; }
#endif

}  // namespace tenon
