// The dot commands of the REPL.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tenon::tools {

enum class CommandArgument : std::uint8_t { none, rev, target, file, mode, on_off, topic, sql };

struct ReplCommand {
  std::string_view name;   // ".hist"
  std::string_view usage;  // "REV:NAME"
  std::string_view about;
  CommandArgument argument = CommandArgument::none;
};

// In the order of help.
const std::vector<ReplCommand>& repl_commands();
std::vector<std::string> command_names();
// none for what is no command.
CommandArgument command_argument(std::string_view name) noexcept;

// Commands, tables, columns and functions: what there is help on.
std::vector<std::string> help_topics();
// Help in lines: of everything, or of one command, table, column or function. Throws not_found naming close matches.
std::string repl_help(std::string_view topic);
// The columns of one table, or of all: "" says all. Throws not_found.
std::string repl_schema(std::string_view table);
std::string repl_tables();

}  // namespace tenon::tools
