// Rows of a statement as text, for people and for programs.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "tenon/query.h"

namespace tenon::tools {

enum class SqlMode : std::uint8_t { box, csv, json, jsonl, markdown, line, list };

// By its name, "box"; nullopt if there is none.
std::optional<SqlMode> sql_mode(std::string_view name) noexcept;
inline constexpr std::string_view sql_modes = "box, csv, json, jsonl, markdown, line or list";

struct SqlFormat {
  SqlMode mode = SqlMode::box;
  std::size_t columns = 0;   // of the terminal, which a box is fitted to; 0: no terminal
  std::size_t rows_max = 0;  // of a box, the middle ones left out; 0: all
  // Control characters escaped in csv, too, which is exact otherwise. Other modes for people always escape them, and
  // JSON does by itself.
  bool is_terminal = false;
};

// Prints all rows; returns how many there were. json: one object on one line. Nothing for a statement without columns.
// `write` gets whole lines, and may throw.
std::uint64_t print_rows(Rows& rows, const SqlFormat& format, const std::function<void(std::string_view)>& write);

// What is wrong with a statement, in lines: the message, where it is with a caret below, the hint. For errors whose
// Facts::file is sql_source; others have no place in `sql`.
std::string describe_sql_error(const Error& error, std::string_view sql);

}  // namespace tenon::tools
