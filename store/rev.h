// The rev grammar: NAME[~N], where NAME is a ref, a tag, or an id prefix of 4 or more hex digits.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tenon {

struct Rev {
  std::string name;
  std::uint64_t generations = 0;  // how many first parents back
};

// Throws invalid_argument.
Rev parse_rev(std::string_view text);
// 4 to 32 lower- or upper-case hex digits.
bool is_id_prefix(std::string_view text) noexcept;

}  // namespace tenon
