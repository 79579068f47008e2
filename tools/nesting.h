// Moves a draft down: what was `x` becomes {"a": {"b": x}} for the prefix a/b.
#pragma once

#include <string_view>

#include "tenon/draft.h"

namespace tenon::tools {

// Renames every tensor and wraps the structure in one dict per component. Throws invalid_argument if `prefix`
// renders no path of string and int keys, unsupported if the draft has no structure to wrap.
void nest_under(Draft& draft, std::string_view prefix);

}  // namespace tenon::tools
