#include "tools/repl_commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "tenon/query.h"
#include "tools/text.h"

namespace tenon::tools {

namespace {

constexpr std::size_t name_width = 26;

std::string item(std::string_view name, std::string_view about) {
  return fmt::format("  {}  {}\n", pad_right(name, name_width), about);
}

std::string signature(const SqlTableInfo& table) {
  return table.arguments.empty() ? table.name : fmt::format("{}({})", table.name, table.arguments);
}

std::string columns_of(const SqlTableInfo& table) {
  std::string text;
  for (const SqlColumnInfo& column : table.columns) {
    text += fmt::format("  {}  {}  {}\n", pad_right(column.name, name_width), pad_right(column.type, 9), column.about);
  }
  return text;
}

std::string describe(const SqlTableInfo& table) {
  return fmt::format("{}: {}\n{}", signature(table), table.about, columns_of(table));
}

std::string help_of_all() {
  std::string text = "SQL ends with a semicolon. Commands:\n";
  for (const ReplCommand& command : repl_commands()) {
    text += item(fmt::format("{} {}", command.name, command.usage), command.about);
  }
  text += "\nTables (.help NAME lists the columns):\n";
  for (const SqlTableInfo& table : Session::tables()) text += item(signature(table), table.about);
  text += "\nFunctions, besides SQLite's:\n";
  for (const SqlFunctionInfo& function : Session::functions()) text += item(function.usage, function.about);
  return text;
}

std::string help_of_column(std::string_view name) {
  std::string text;
  for (const SqlTableInfo& table : Session::tables()) {
    for (const SqlColumnInfo& column : table.columns) {
      if (column.name == name)
        text += fmt::format("{} {}, in {}: {}\n", name, column.type, signature(table), column.about);
    }
  }
  return text;
}

[[noreturn]] void throw_unknown(const char* what, std::string_view name, const std::vector<std::string>& known) {
  throw Error(ErrorKind::not_found,
              {.what = fmt::format("no {} '{}'", what, name), .hint = suggestion(close_matches(name, known))});
}

}  // namespace

const std::vector<ReplCommand>& repl_commands() {
  using enum CommandArgument;
  static const std::vector<ReplCommand> commands = {
      {".help", "[NAME]", "this list; or what a command, table, column or function is", topic},
      {".tables", "", "tables and table functions"},
      {".schema", "[TABLE]", "columns of a table, or of all", topic},
      {".mode", "[MODE]", "box, csv, json, jsonl, markdown, line or list", mode},
      {".once", "FILE", "the next result goes to a file", file},
      {".output", "[FILE]", "results go to a file; without one, to the screen again", file},
      {".read", "FILE", "statements and commands from a file", file},
      {".timer", "on|off", "how long each statement took", on_off},
      {".explain", "SELECT ...", "how a statement will be answered", sql},
      {".use", "REV", "the rev that .log, .tree, .diff and Tab take where none is named", rev},
      {".log", "[REV]", "snapshots, newest first", rev},
      {".diff", "A [B]", "tensors that differ between two revs", rev},
      {".tree", "[REV[:PREFIX]]", "tensors as a folded tree, with sizes", target},
      {".hist", "REV:NAME", "how a tensor's values are spread", target},
      {".plot", "SELECT ...", "curves of columns: x is the first, y the others; of one column, y", sql},
      {".quit", "", "as Ctrl-D"},
      {".exit", "", "as .quit"},
  };
  return commands;
}

std::vector<std::string> command_names() {
  std::vector<std::string> names;
  for (const ReplCommand& command : repl_commands()) names.emplace_back(command.name);
  return names;
}

CommandArgument command_argument(std::string_view name) noexcept {
  const auto found = std::ranges::find(repl_commands(), name, &ReplCommand::name);
  return found == repl_commands().end() ? CommandArgument::none : found->argument;
}

std::vector<std::string> help_topics() {
  std::set<std::string> topics;
  for (const std::string& name : command_names()) topics.insert(name);
  for (const SqlTableInfo& table : Session::tables()) {
    topics.insert(table.name);
    for (const SqlColumnInfo& column : table.columns) topics.insert(column.name);
  }
  for (const SqlFunctionInfo& function : Session::functions()) topics.insert(function.name);
  return {topics.begin(), topics.end()};
}

std::string repl_help(std::string_view topic) {
  if (topic.empty()) return help_of_all();
  std::string text;
  for (const ReplCommand& command : repl_commands()) {
    if (command.name == topic || command.name.substr(1) == topic) {
      text += fmt::format("{} {}: {}\n", command.name, command.usage, command.about);
    }
  }
  for (const SqlTableInfo& table : Session::tables()) {
    if (table.name == topic) text += describe(table);
  }
  for (const SqlFunctionInfo& function : Session::functions()) {
    if (function.name == topic) {
      text += fmt::format("{}: {}{}\n", function.usage, function.about, function.is_aggregate ? " (aggregate)" : "");
    }
  }
  text += help_of_column(topic);
  if (text.empty()) throw_unknown("help on", topic, help_topics());
  return text;
}

std::string repl_schema(std::string_view name) {
  std::string text;
  std::vector<std::string> known;
  for (const SqlTableInfo& table : Session::tables()) {
    known.push_back(table.name);
    if (name.empty() || table.name == name) text += describe(table);
  }
  if (text.empty() && !name.empty()) throw_unknown("table", name, known);
  return text;
}

std::string repl_tables() {
  std::string text;
  for (const SqlTableInfo& table : Session::tables()) text += item(signature(table), table.about);
  return text;
}

}  // namespace tenon::tools
