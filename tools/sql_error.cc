#include <fmt/format.h>

#include <algorithm>

#include "tenon/name.h"
#include "tools/sql_output.h"
#include "tools/text.h"

namespace tenon::tools {
namespace {

constexpr std::size_t pointed_columns = 100;  // of a line that is longer, on either side of the place

// The line of `sql` that holds `offset`, and a caret below its place; of a long line, what is around it.
std::string pointed_line(std::string_view sql, std::size_t offset) {
  offset = std::min(offset, sql.size());
  const std::size_t begin = offset == 0 ? 0 : sql.rfind('\n', offset - 1) + 1;  // 0 if there is none
  const std::size_t end = std::min(sql.size(), sql.find('\n', offset));
  std::string text(sql.substr(begin, end - begin));
  std::replace(text.begin(), text.end(), '\t', ' ');
  if (text.ends_with('\r')) text.pop_back();
  const std::size_t place = std::min(offset - begin, text.size());
  const std::string before = elide_begin(printable(text.substr(0, place)), pointed_columns);
  const std::string after = elide_end(printable(text.substr(place)), pointed_columns);
  return fmt::format("  {}{}\n  {}^\n", before, after, std::string(display_width(before), ' '));
}

}  // namespace

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
