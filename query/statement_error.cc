#include "query/statement_error.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <vector>

#include "store/suggest.h"
#include "tenon/query.h"

namespace tenon {

namespace {

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

// Where `word` stands in the statement as a word, not in text or a comment; SQLite names it, but not its place.
std::optional<std::size_t> find_word(std::string_view sql, std::string_view word) {
  for (std::size_t i = 0; i < sql.size();) {
    const char c = sql[i];
    if (c == '\'') {
      i = std::min(sql.size(), sql.find('\'', i + 1));
    } else if (sql.substr(i).starts_with("--")) {
      i = std::min(sql.size(), sql.find('\n', i));
    } else if (is_word(c)) {
      std::size_t end = i;
      while (end < sql.size() && is_word(sql[end])) ++end;
      const auto equal = [](char a, char b) { return std::tolower(a) == std::tolower(b); };
      if (std::ranges::equal(sql.substr(i, end - i), word, equal)) return i;
      i = end - 1;
    }
    if (i < sql.size()) ++i;
  }
  return std::nullopt;
}

std::vector<std::string_view> table_names() {
  std::vector<std::string_view> names;
  for (const SqlTableInfo& table : Session::tables()) names.push_back(table.name);
  return names;
}

// Of the tables that the statement speaks of; of all, if it speaks of none.
std::vector<std::string_view> column_names(std::string_view sql) {
  std::vector<std::string_view> names, all;
  for (const SqlTableInfo& table : Session::tables()) {
    const bool is_used = find_word(sql, table.name).has_value();
    for (const SqlColumnInfo& column : table.columns) {
      all.push_back(column.name);
      if (is_used) names.push_back(column.name);
    }
  }
  std::vector<std::string_view>& chosen = names.empty() ? all : names;
  std::sort(chosen.begin(), chosen.end());
  chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
  return chosen;
}

std::vector<std::string_view> function_names() {
  static constexpr std::array<std::string_view, 24> builtin = {
      "abs",          "avg",   "coalesce",   "count",  "group_concat", "ifnull", "iif",   "instr",
      "json_extract", "lag",   "lead",       "length", "lower",        "max",    "min",   "printf",
      "replace",      "round", "row_number", "substr", "sum",          "total",  "upper", "sqrt"};
  std::vector<std::string_view> names(builtin.begin(), builtin.end());
  for (const SqlFunctionInfo& function : Session::functions()) names.push_back(function.name);
  return names;
}

struct Kind {
  std::string_view message;  // what SQLite's begins with
  std::vector<std::string_view> (*candidates)(std::string_view sql);
};

// "no such column: t.nme" is about nme.
std::string_view last_part(std::string_view name) { return name.substr(name.find_last_of('.') + 1); }

std::string hint_of(std::string_view message, std::string_view sql, std::string_view& word) {
  static const std::array<Kind, 3> kinds = {
      Kind{"no such column: ", column_names},
      Kind{"no such table: ", [](std::string_view) { return table_names(); }},
      Kind{"no such function: ", [](std::string_view) { return function_names(); }},
  };
  for (const Kind& kind : kinds) {
    if (!message.starts_with(kind.message)) continue;
    word = last_part(message.substr(kind.message.size()));
    const std::string near = suggest(word, kind.candidates(sql));
    if (!near.empty() || kind.message != kinds[0].message) return near;
    const bool is_quoted = sql.find('"' + std::string(word) + '"') != std::string_view::npos;
    return is_quoted ? "text stands in single quotes: '" + std::string(word) + "'" : near;
  }
  return {};
}

}  // namespace

void throw_statement_error(const StatementFlaw& flaw, std::string_view sql) {
  const std::string file(sql_source);
  if (flaw.is_too_big) {
    throw Error(ErrorKind::limit, {.what = "a text, blob or statement is too long", .file = file});
  }
  if (!flaw.refused.empty()) {
    throw Error(ErrorKind::invalid_argument,
                {.what = flaw.refused + " is not allowed: a session only reads", .file = file, .offset = flaw.offset});
  }
  if (flaw.message.ends_with("may not be modified")) {
    throw Error(ErrorKind::invalid_argument, {.what = flaw.message + ": a session only reads", .file = file});
  }
  std::string_view word;
  const std::string hint = hint_of(flaw.message, sql, word);
  auto offset = flaw.offset;
  if (!offset && !word.empty()) offset = find_word(sql, word);
  if (!offset && flaw.message == "incomplete input") offset = sql.size();
  throw Error(ErrorKind::invalid_argument, {.what = flaw.message, .file = file, .offset = offset, .hint = hint});
}

}  // namespace tenon
