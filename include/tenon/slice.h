// numpy's basic indexing as text: "0:4,:,-1,...,::2".
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "tenon/export.h"

namespace tenon {

// What is selected of one dimension.
struct SliceRange {
  std::int64_t start = 0;  // within the dimension wherever count > 0
  std::int64_t count = 0;
  std::int64_t step = 1;
  bool is_index = false;  // one element, and the dimension goes away
};

// One range per dimension of `shape`; what the text does not reach is taken whole. Throws invalid_argument.
TENON_API std::vector<SliceRange> parse_slice(std::string_view text, std::span<const std::int64_t> shape);

}  // namespace tenon
