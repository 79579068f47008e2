// Curves for the terminal, out of block characters.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace tenon::tools {

struct Point {
  double x;
  double y;
};

// Lines of text, top first, with the range of y at their left and that of x below. Points that share a column are
// averaged; what is not finite is left out. Empty where fewer than two points remain. REQUIRES: width >= 20.
std::vector<std::string> draw_curve(const std::vector<Point>& points, std::size_t width, std::size_t height);

}  // namespace tenon::tools
