#include "tools/sql_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "tenon/name.h"
#include "tools/json.h"
#include "tools/sql_box.h"
#include "tools/sql_values.h"
#include "tools/text.h"

namespace tenon::tools {
namespace {

using Write = std::function<void(std::string_view)>;

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

struct AsJson {
  Json operator()(std::monostate) const { return {}; }
  Json operator()(std::int64_t value) const { return value; }
  Json operator()(double value) const { return value; }
  Json operator()(std::string_view value) const { return value; }
  Json operator()(std::span<const std::byte> value) const { return ExactText{}(value); }
};

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

// The second column of the same name is "name:2": an object keeps one of each.
std::vector<std::string> distinct_names(const std::vector<SqlColumn>& columns) {
  std::set<std::string> taken;
  std::vector<std::string> names;
  for (const SqlColumn& column : columns) {
    std::string name = column.name;
    for (int n = 2; !taken.insert(name).second; ++n) name = fmt::format("{}:{}", column.name, n);
    names.push_back(std::move(name));
  }
  return names;
}

std::uint64_t print_jsonl(Rows& rows, const Write& write) {
  const std::vector<std::string> names = distinct_names(rows.columns());
  std::uint64_t count = 0;
  for (; rows.next(); ++count) {
    Json::Object object;
    for (std::size_t i = 0; i < names.size(); ++i) {
      object.emplace_back(names[i], std::visit(AsJson{}, rows[i]));
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

// An empty text is quoted, which NULL is not unless it stands alone: readers skip an empty line.
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
      const bool is_null = std::holds_alternative<std::monostate>(value) && rows.columns().size() > 1;
      line += (i == 0 ? "" : ",") + (text.empty() && !is_null ? "\"\"" : text);
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

}  // namespace tenon::tools
