#include "tools/table.h"

#include <algorithm>
#include <cassert>

#include "tools/text.h"

namespace tenon::tools {
namespace {

constexpr std::size_t gap = 2;
constexpr std::size_t elastic_width_min = 12;

std::string render(const std::vector<Column>& columns, const std::vector<std::string>& cells,
                   const std::vector<std::size_t>& widths) {
  std::string line;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (i > 0) line.append(gap, ' ');
    const std::string cell = columns[i].is_elastic ? elide_middle(cells[i], widths[i]) : cells[i];
    line += columns[i].align == Align::right ? pad_left(cell, widths[i]) : pad_right(cell, widths[i]);
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

}  // namespace

void Table::add(std::vector<std::string> cells) {
  assert(cells.size() == columns_.size());
  rows_.push_back(std::move(cells));
}

void Table::print(Output& output) const {
  const std::vector<std::size_t> column_widths = widths(output.columns());
  std::vector<std::string> titles;
  for (const Column& column : columns_) titles.push_back(column.title);
  output.line(output.bold(render(columns_, titles, column_widths)));
  for (const auto& row : rows_) {
    if (output.is_closed()) return;
    output.line(render(columns_, row, column_widths));
  }
}

std::vector<std::size_t> Table::widths(std::size_t line_columns) const {
  std::vector<std::size_t> result;
  for (const Column& column : columns_) result.push_back(display_width(column.title));
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) result[i] = std::max(result[i], display_width(row[i]));
  }
  std::size_t total = gap * (columns_.size() - 1);
  for (std::size_t width : result) total += width;
  for (std::size_t i = 0; i < columns_.size() && line_columns > 0 && total > line_columns; ++i) {
    if (!columns_[i].is_elastic || result[i] <= elastic_width_min) continue;
    const std::size_t cut = std::min(total - line_columns, result[i] - elastic_width_min);
    result[i] -= cut;
    total -= cut;
  }
  return result;
}

}  // namespace tenon::tools
