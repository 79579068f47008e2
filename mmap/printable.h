// Text from files and users, made safe to print.
#pragma once

#include <string>
#include <string_view>

namespace tenon {

// Control characters (C0, DEL and C1) and bytes that are no UTF-8 become \xNN; everything else stays.
std::string escape_controls(std::string_view text);

}  // namespace tenon
