// What SQLite says of a statement that it cannot run, made into an Error that points at the word and knows near names.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace tenon {

struct StatementFlaw {
  std::string message{};  // SQLite's
  std::string refused{};  // what the statement asked for and may not have; empty if nothing
  bool is_too_big = false;
  std::optional<std::size_t> offset{};  // in the statement, if SQLite knows it
};

[[noreturn]] void throw_statement_error(const StatementFlaw& flaw, std::string_view sql);

}  // namespace tenon
