// Rows in aligned columns: all of them must be known before the first is printed.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "tools/sql_output.h"

namespace tenon::tools {

// As print_rows(). REQUIRES: `rows` have columns.
std::uint64_t print_box(Rows& rows, const SqlFormat& format, const std::function<void(std::string_view)>& write);
std::uint64_t print_markdown(Rows& rows, const std::function<void(std::string_view)>& write);

}  // namespace tenon::tools
