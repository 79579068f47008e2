// "Did you mean": names close to one that was not found.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tenon {

// "did you mean 'a', 'b'?" of the at most three candidates nearest to `wanted`; empty if none is near.
std::string suggest(std::string_view wanted, const std::vector<std::string_view>& candidates);

}  // namespace tenon
