#include "tools/sql_box.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <vector>

#include "tenon/name.h"
#include "tools/sql_values.h"
#include "tools/text.h"

namespace tenon::tools {
namespace {

using Write = std::function<void(std::string_view)>;

constexpr std::size_t narrow_width = 12;    // to which a column of a box may be cut
constexpr std::size_t cell_width_max = 80;  // in a box that is fitted to nothing wider
constexpr std::size_t elision_width = 1;    // of "…"

bool is_number(const SqlValue& value) {
  return std::holds_alternative<std::int64_t>(value) || std::holds_alternative<double>(value);
}

// Rows that are aligned: all of them must be known before the first is printed.
class Grid {
 public:
  Grid(Rows& rows, std::size_t rows_max) : rows_max_(rows_max) {
    for (const SqlColumn& column : rows.columns()) titles_.push_back(printable(column.name));
    is_numeric_.assign(titles_.size(), true);
    for (; rows.next(); ++count_) add(rows);
  }

  std::uint64_t count() const noexcept { return count_; }
  std::uint64_t shown_count() const noexcept { return first_.size() + last_.size(); }
  const std::vector<std::string>& titles() const noexcept { return titles_; }
  bool is_numeric(std::size_t column) const { return is_numeric_[column]; }

  // The rows that are shown, nullptr where some are left out.
  std::vector<const std::vector<std::string>*> shown() const {
    std::vector<const std::vector<std::string>*> rows;
    for (const auto& row : first_) rows.push_back(&row);
    if (count_ > first_.size() + last_.size()) rows.push_back(nullptr);
    for (const auto& row : last_) rows.push_back(&row);
    return rows;
  }
  std::vector<std::size_t> widths() const {
    std::vector<std::size_t> widths;
    for (const std::string& title : titles_) widths.push_back(display_width(title));
    for (const auto* row : shown()) {
      for (std::size_t i = 0; row != nullptr && i < widths.size(); ++i)
        widths[i] = std::max(widths[i], display_width((*row)[i]));
    }
    return widths;
  }

 private:
  void add(const Rows& rows) {
    std::vector<std::string> cells;
    for (std::size_t i = 0; i < titles_.size(); ++i) {
      const SqlValue value = rows[i];
      is_numeric_[i] = is_numeric_[i] && (is_number(value) || std::holds_alternative<std::monostate>(value));
      cells.push_back(std::visit(ReadableText{}, value));
    }
    if (rows_max_ == 0 || first_.size() < rows_max_ / 2) return first_.push_back(std::move(cells));
    last_.push_back(std::move(cells));
    if (last_.size() > rows_max_ - rows_max_ / 2) last_.pop_front();
  }

  std::size_t rows_max_;
  std::uint64_t count_ = 0;
  std::vector<std::string> titles_;
  std::vector<bool> is_numeric_;
  std::deque<std::vector<std::string>> first_;
  std::deque<std::vector<std::string>> last_;
};

// The columns that are shown; nullopt stands for middle ones that are left out, because the terminal is too narrow for
// all of them even if they are cut.
using Shown = std::vector<std::optional<std::size_t>>;

Shown shown_columns(const std::vector<std::size_t>& widths, std::size_t columns) {
  const auto needed = [&](std::size_t i) { return std::min(widths[i], narrow_width) + 3; };
  std::size_t all = 1;
  for (std::size_t i = 0; i < widths.size(); ++i) all += needed(i);
  std::size_t first = 0, last = widths.size();
  if (columns != 0 && all > columns) {
    std::size_t left = columns - std::min(columns, 1 + elision_width + 3);
    first = 1;
    left -= std::min(left, needed(0));
    // From both ends: what a row is stands at its begin, what was computed at its end.
    for (bool is_last = true; first < last; is_last = !is_last) {
      const std::size_t cost = needed(is_last ? last - 1 : first);
      if (cost > left) break;
      left -= cost;
      is_last ? --last : ++first;
    }
    if (first == last) last = widths.size();
  } else {
    first = last;
  }
  Shown shown;
  for (std::size_t i = 0; i < first; ++i) shown.emplace_back(i);
  if (first < last) shown.emplace_back(std::nullopt);
  for (std::size_t i = last; i < widths.size(); ++i) shown.emplace_back(i);
  return shown;
}

// The widest columns give way first.
void fit(std::vector<std::size_t>& widths, std::size_t columns) {
  for (std::size_t& width : widths) width = columns == 0 ? width : std::min(width, std::max(cell_width_max, columns));
  const auto total = [&] {
    std::size_t sum = 1;
    for (const std::size_t width : widths) sum += width + 3;
    return sum;
  };
  while (columns != 0 && total() > columns) {
    const auto widest = std::max_element(widths.begin(), widths.end());
    if (*widest <= narrow_width) return;  // lines will wrap
    *widest = std::max(narrow_width, *widest - std::min(*widest - narrow_width, total() - columns));
  }
}

std::string rule(const std::vector<std::size_t>& widths, std::string_view left, std::string_view middle,
                 std::string_view right) {
  std::string line(left);
  for (std::size_t i = 0; i < widths.size(); ++i) {
    if (i != 0) line += middle;
    for (std::size_t n = 0; n < widths[i] + 2; ++n) line += "─";
  }
  return line.append(right) + "\n";
}

std::string aligned(const std::string& text, std::size_t width, bool is_right) {
  const std::string cut = elide_middle(text, width);
  return is_right ? pad_left(cut, width) : pad_right(cut, width);
}

// What is not on the screen, for people who might think that this is all.
std::string elision_note(const Grid& grid, const Shown& shown) {
  std::string note;
  const std::uint64_t rows = grid.shown_count();
  if (rows < grid.count()) note = fmt::format("{} rows, {} shown", format_count(grid.count()), format_count(rows));
  const auto columns = static_cast<std::size_t>(std::ranges::count_if(shown, [](auto c) { return c.has_value(); }));
  if (columns < grid.titles().size()) {
    note += fmt::format("{}{} columns, {} shown", note.empty() ? "" : "; ", grid.titles().size(), columns);
    note += "; mode line shows all";
  }
  return note.empty() ? note : note + "\n";
}

}  // namespace

std::uint64_t print_box(Rows& rows, const SqlFormat& format, const Write& write) {
  const Grid grid(rows, format.rows_max);
  const std::vector<std::size_t> all_widths = grid.widths();
  const Shown shown = shown_columns(all_widths, format.columns);
  std::vector<std::size_t> widths;
  for (const auto& column : shown) widths.push_back(column ? all_widths[*column] : elision_width);
  fit(widths, format.columns);
  const auto line = [&](const std::vector<std::string>* cells, bool is_head) {
    std::string text;
    for (std::size_t i = 0; i < shown.size(); ++i) {
      const bool is_right = shown[i] && grid.is_numeric(*shown[i]) && !is_head;
      text += "│ " + aligned(cells != nullptr && shown[i] ? (*cells)[*shown[i]] : "…", widths[i], is_right) + " ";
    }
    return text + "│\n";
  };
  write(rule(widths, "┌", "┬", "┐"));
  write(line(&grid.titles(), true));
  write(rule(widths, "├", "┼", "┤"));
  for (const auto* row : grid.shown()) write(line(row, row == nullptr));
  write(rule(widths, "└", "┴", "┘"));
  if (const std::string note = elision_note(grid, shown); !note.empty()) write(note);
  return grid.count();
}

namespace {

std::string markdown_cell(std::string cell) {
  for (std::size_t at = 0; (at = cell.find('|', at)) != std::string::npos; at += 2) cell.insert(at, 1, '\\');
  return cell;
}

}  // namespace

std::uint64_t print_markdown(Rows& rows, const Write& write) {
  const Grid grid(rows, 0);
  std::vector<std::size_t> widths(grid.titles().size(), 0);
  const auto widen = [&](const std::vector<std::string>& cells) {
    for (std::size_t i = 0; i < widths.size(); ++i)
      widths[i] = std::max(widths[i], display_width(markdown_cell(cells[i])));
  };
  widen(grid.titles());
  for (const auto* row : grid.shown()) widen(*row);
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string text = "|";
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const std::string cell = markdown_cell(cells[i]);
      text += " " + (grid.is_numeric(i) ? pad_left(cell, widths[i]) : pad_right(cell, widths[i])) + " |";
    }
    return text + "\n";
  };
  write(line(grid.titles()));
  std::string dashes = "|";
  for (std::size_t i = 0; i < widths.size(); ++i) {
    dashes += std::string(widths[i] + (grid.is_numeric(i) ? 1 : 2), '-') + (grid.is_numeric(i) ? ":|" : "|");
  }
  write(dashes + "\n");
  for (const auto* row : grid.shown()) write(line(*row));
  return grid.count();
}

}  // namespace tenon::tools
