// Regular expressions: RE2 behind one file. Linear in the text, whatever the pattern; no look-around, no
// back-references.
#pragma once

#include <string_view>

namespace tenon {

// Whether the pattern matches anywhere in `text`. Patterns are remembered, one a thread. Throws invalid_argument.
bool matches_regexp(std::string_view pattern, std::string_view text);

}  // namespace tenon
