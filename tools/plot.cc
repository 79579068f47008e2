#include "tools/plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "tools/text.h"

namespace tenon::tools {

namespace {

struct Range {
  double low;
  double high;
  // 0 to 1; halved, because the difference of two doubles need not be one.
  double share(double value) const { return high > low ? (value / 2 - low / 2) / (high / 2 - low / 2) : 0.5; }
};

template <typename Of>
Range range_of(const std::vector<Point>& points, Of of) {
  Range range{of(points.front()), of(points.front())};
  for (const Point& point : points) {
    range.low = std::min(range.low, of(point));
    range.high = std::max(range.high, of(point));
  }
  return range;
}

// The mean of each column; nothing where no point lies.
std::vector<std::optional<double>> columns_of(const std::vector<Point>& points, const Range& x, std::size_t count) {
  std::vector<double> sums(count, 0), counts(count, 0);
  for (const Point& point : points) {
    const auto at = std::min(count - 1, static_cast<std::size_t>(x.share(point.x) * static_cast<double>(count)));
    sums[at] += point.y / 2;
    counts[at] += 1;
  }
  std::vector<std::optional<double>> means(count);
  for (std::size_t i = 0; i < count; ++i) {
    if (counts[i] != 0) means[i] = sums[i] / counts[i] * 2;
  }
  return means;
}

// Columns between two with points get what lies between them on a straight line.
void fill_gaps(std::vector<std::optional<double>>& columns) {
  std::optional<std::size_t> last;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (!columns[i]) continue;
    for (std::size_t j = last ? *last + 1 : i; j < i; ++j) {
      const double share = static_cast<double>(j - *last) / static_cast<double>(i - *last);
      columns[j] = *columns[*last] * (1 - share) + *columns[i] * share;
    }
    last = i;
  }
}

}  // namespace

std::vector<std::string> draw_curve(const std::vector<Point>& points, std::size_t width, std::size_t height) {
  constexpr std::array blocks = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  constexpr std::size_t eighths = blocks.size() - 1;
  std::vector<Point> shown;
  std::ranges::copy_if(points, std::back_inserter(shown),
                       [](const Point& p) { return std::isfinite(p.x) && std::isfinite(p.y); });
  if (shown.size() < 2) return {};
  const Range x = range_of(shown, [](const Point& p) { return p.x; });
  const Range y = range_of(shown, [](const Point& p) { return p.y; });
  const std::string high = format_number(y.high), low = format_number(y.low);
  const std::size_t margin = std::max(high.size(), low.size());
  const std::size_t count = std::max<std::size_t>(width, margin + 12) - margin - 2;
  auto columns = columns_of(shown, x, count);
  fill_gaps(columns);
  std::vector<std::string> lines;
  for (std::size_t line = 0; line < height; ++line) {
    const std::string label = line == 0 ? high : line + 1 == height ? low : "";
    lines.push_back(pad_left(label, margin) + (label.empty() ? " │" : " ┤"));
    const std::size_t below = (height - 1 - line) * eighths;
    for (const auto& column : columns) {
      if (!column) {
        lines.back() += " ";
        continue;
      }
      // The lowest value shows, too.
      const auto filled =
          1 + static_cast<std::size_t>(std::lround(y.share(*column) * static_cast<double>(height * eighths - 1)));
      lines.back() += blocks[std::min(eighths, filled - std::min(filled, below))];
    }
  }
  const std::string first = format_number(x.low), last = format_number(x.high);
  lines.push_back(std::string(margin + 2, ' ') + pad_right(first, count - std::min(count, last.size())) + last);
  return lines;
}

}  // namespace tenon::tools
