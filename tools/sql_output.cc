#include "tools/sql_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <vector>

#include "tenon/name.h"
#include "tools/json.h"
#include "tools/text.h"

namespace tenon::tools {
namespace {

using Write = std::function<void(std::string_view)>;

constexpr std::size_t narrow_width = 8;     // to which a column of a box may be cut
constexpr std::size_t cell_width_max = 80;  // in a box that is fitted to nothing wider

struct ModeName {
  std::string_view name;
  SqlMode mode;
};
constexpr std::array<ModeName, 7> mode_names = {{{"box", SqlMode::box},
                                                 {"csv", SqlMode::csv},
                                                 {"json", SqlMode::json},
                                                 {"jsonl", SqlMode::jsonl},
                                                 {"markdown", SqlMode::markdown},
                                                 {"line", SqlMode::line},
                                                 {"list", SqlMode::list}}};

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) text += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  return text;
}

// Enough digits to read the same number back.
std::string exact_real(double value) {
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  const std::string digits = fmt::format("{}", value);
  return digits.find_first_of(".e") == std::string::npos ? digits + ".0" : digits;
}

struct ExactText {  // for programs; NULL is empty
  std::string operator()(std::monostate) const { return {}; }
  std::string operator()(std::int64_t value) const { return std::to_string(value); }
  std::string operator()(double value) const { return exact_real(value); }
  std::string operator()(std::string_view value) const { return std::string(value); }
  std::string operator()(std::span<const std::byte> value) const { return hex(value); }
};

struct ReadableText {  // for people
  std::string operator()(std::monostate) const { return "NULL"; }
  std::string operator()(std::int64_t value) const { return std::to_string(value); }
  std::string operator()(double value) const {
    if (!std::isfinite(value)) return exact_real(value);
    const std::string digits = fmt::format("{:.6g}", value);
    return digits.find_first_of(".e") == std::string::npos ? digits + ".0" : digits;
  }
  std::string operator()(std::string_view value) const { return printable(value); }
  std::string operator()(std::span<const std::byte> value) const { return "x'" + hex(value) + "'"; }
};

struct AsJson {
  Json operator()(std::monostate) const { return {}; }
  Json operator()(std::int64_t value) const { return value; }
  Json operator()(double value) const { return value; }
  Json operator()(std::string_view value) const { return value; }
  Json operator()(std::span<const std::byte> value) const { return hex(value); }
};

bool is_number(const SqlValue& value) {
  return std::holds_alternative<std::int64_t>(value) || std::holds_alternative<double>(value);
}

std::uint64_t print_json(Rows& rows, const Write& write) {
  Json::Array names;
  for (const SqlColumn& column : rows.columns()) names.emplace_back(column.name);
  write(R"({"schema":"sql/1","columns":)" + dump(Json(std::move(names))) + R"(,"rows":[)");
  std::uint64_t count = 0;
  for (; rows.next(); ++count) {
    Json::Array values;
    for (std::size_t i = 0; i < rows.columns().size(); ++i) values.push_back(std::visit(AsJson{}, rows[i]));
    write((count == 0 ? "" : ",") + dump(Json(std::move(values))));
  }
  write("]}\n");
  return count;
}

std::uint64_t print_jsonl(Rows& rows, const Write& write) {
  std::uint64_t count = 0;
  for (; rows.next(); ++count) {
    Json::Object object;
    for (std::size_t i = 0; i < rows.columns().size(); ++i) {
      object.emplace_back(rows.columns()[i].name, std::visit(AsJson{}, rows[i]));
    }
    write(dump(Json(std::move(object))) + "\n");
  }
  return count;
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted.append(c == '"' ? 2 : 1, c);
  return quoted + '"';
}

// An empty text is quoted, which NULL is not.
std::uint64_t print_csv(Rows& rows, const SqlFormat& format, const Write& write) {
  const auto shown = [&](std::string text) { return csv_field(format.is_terminal ? printable(text) : text); };
  std::string head;
  for (const SqlColumn& column : rows.columns()) head += (head.empty() ? "" : ",") + shown(column.name);
  write(head + "\n");
  std::uint64_t count = 0;
  for (; rows.next(); ++count) {
    std::string line;
    for (std::size_t i = 0; i < rows.columns().size(); ++i) {
      const SqlValue value = rows[i];
      const std::string text = shown(std::visit(ExactText{}, value));
      const bool is_empty_text = text.empty() && !std::holds_alternative<std::monostate>(value);
      line += (i == 0 ? "" : ",") + (is_empty_text ? "\"\"" : text);
    }
    write(line + "\n");
  }
  return count;
}

std::uint64_t print_list(Rows& rows, const Write& write) {
  std::uint64_t count = 0;
  for (; rows.next(); ++count) {
    std::string line;
    for (std::size_t i = 0; i < rows.columns().size(); ++i) {
      line += (i == 0 ? "" : "|") + printable(std::visit(ExactText{}, rows[i]));
    }
    write(line + "\n");
  }
  return count;
}

std::uint64_t print_line(Rows& rows, const Write& write) {
  std::size_t width = 0;
  for (const SqlColumn& column : rows.columns()) width = std::max(width, display_width(printable(column.name)));
  std::uint64_t count = 0;
  for (; rows.next(); ++count) {
    std::string lines = count == 0 ? "" : "\n";
    for (std::size_t i = 0; i < rows.columns().size(); ++i) {
      lines += fmt::format("{} = {}\n", pad_left(printable(rows.columns()[i].name), width),
                           std::visit(ReadableText{}, rows[i]));
    }
    write(lines);
  }
  return count;
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

std::uint64_t print_box(Rows& rows, const SqlFormat& format, const Write& write) {
  const Grid grid(rows, format.rows_max);
  std::vector<std::size_t> widths = grid.widths();
  fit(widths, format.columns);
  const auto line = [&](const std::vector<std::string>& cells, bool is_head) {
    std::string text;
    for (std::size_t i = 0; i < cells.size(); ++i)
      text += "│ " + aligned(cells[i], widths[i], grid.is_numeric(i) && !is_head) + " ";
    return text + "│\n";
  };
  write(rule(widths, "┌", "┬", "┐"));
  write(line(grid.titles(), true));
  write(rule(widths, "├", "┼", "┤"));
  for (const auto* row : grid.shown()) {
    write(row == nullptr ? line(std::vector<std::string>(widths.size(), "…"), true) : line(*row, false));
  }
  write(rule(widths, "└", "┴", "┘"));
  return grid.count();
}

std::string markdown_cell(std::string cell) {
  for (std::size_t at = 0; (at = cell.find('|', at)) != std::string::npos; at += 2) cell.insert(at, 1, '\\');
  return cell;
}

std::uint64_t print_markdown(Rows& rows, const Write& write) {
  const Grid grid(rows, 0);
  std::vector<std::size_t> widths = grid.widths();
  for (const auto* row : grid.shown()) {
    for (std::size_t i = 0; i < widths.size(); ++i)
      widths[i] = std::max(widths[i], display_width(markdown_cell((*row)[i])));
  }
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

// The line of `sql` that holds `offset`, and the columns before it.
std::string pointed_line(std::string_view sql, std::size_t offset) {
  offset = std::min(offset, sql.size());
  const std::size_t begin = offset == 0 ? 0 : sql.rfind('\n', offset - 1) + 1;  // 0 if there is none
  const std::size_t end = std::min(sql.size(), sql.find('\n', offset));
  std::string text(sql.substr(begin, end - begin));
  std::replace(text.begin(), text.end(), '\t', ' ');
  std::string before(text.substr(0, offset - begin));
  return fmt::format("  {}\n  {}^\n", printable(text), std::string(display_width(printable(before)), ' '));
}

}  // namespace

std::optional<SqlMode> sql_mode(std::string_view name) noexcept {
  for (const ModeName& one : mode_names) {
    if (one.name == name) return one.mode;
  }
  return std::nullopt;
}

std::uint64_t print_rows(Rows& rows, const SqlFormat& format, const Write& write) {
  if (rows.columns().empty()) {
    while (rows.next()) continue;
    return 0;
  }
  switch (format.mode) {
    case SqlMode::box:
      return print_box(rows, format, write);
    case SqlMode::csv:
      return print_csv(rows, format, write);
    case SqlMode::json:
      return print_json(rows, write);
    case SqlMode::jsonl:
      return print_jsonl(rows, write);
    case SqlMode::markdown:
      return print_markdown(rows, write);
    case SqlMode::line:
      return print_line(rows, write);
    case SqlMode::list:
      return print_list(rows, write);
  }
  return 0;
}

std::string describe_sql_error(const Error& error, std::string_view sql) {
  const Facts& facts = error.facts();
  std::string text = printable(facts.what);
  const bool is_of_statement = facts.file == sql_source;
  if (!is_of_statement && !facts.file.empty()) text += ": " + printable(facts.file);
  if (!is_of_statement && facts.offset) text += fmt::format(" at offset {}", *facts.offset);
  if (!facts.got.empty()) text += ": got " + printable(facts.got);
  if (!facts.wanted.empty()) text += (facts.got.empty() ? ": wanted " : ", wanted ") + printable(facts.wanted);
  text += '\n';
  if (is_of_statement && facts.offset) text += pointed_line(sql, *facts.offset);
  if (!facts.hint.empty()) text += "hint: " + printable(facts.hint) + "\n";
  return text;
}

}  // namespace tenon::tools
