// sql: statements, and their rows.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>

#include "tenon/query.h"
#include "tools/failure.h"
#include "tools/progress.h"
#include "tools/sql_output.h"
#include "tools/standard_streams.h"
#include "tools/target.h"
#include "tools/verbs.h"

namespace tenon::tools {
namespace {

constexpr std::size_t box_rows_on_terminal = 40;

struct NobodyReads {};  // the rest of a result

std::string read_script(const std::string& path) {
  if (path == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  if (std::filesystem::is_directory(path))
    throw Error(ErrorKind::not_found, {.what = "cannot read the statements", .file = path, .wanted = "a file"});
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (file.good() || file.eof()) return text;
  throw Error(ErrorKind::not_found, {.what = "cannot read the statements", .file = path});
}

std::string statements_of(const SqlArguments& arguments) {
  if (arguments.statement.empty() == arguments.file.empty()) {
    throw Error(ErrorKind::invalid_argument,
                {.what = arguments.file.empty() ? "no statement" : "statements twice",
                 .wanted = "a statement, or -f FILE",
                 .hint = "tenon sql \"SELECT name, norm FROM tensors('main') ORDER BY norm DESC LIMIT 5\""});
  }
  return arguments.file.empty() ? arguments.statement : read_script(arguments.file);
}

SqlFormat format_of(const SqlArguments& arguments, const Output& output) {
  SqlFormat format{.columns = output.columns(), .is_terminal = output.is_terminal()};
  if (output.is_terminal()) format.rows_max = box_rows_on_terminal;
  if (output.is_json()) {
    format.mode = SqlMode::json;
  } else if (arguments.csv) {
    format.mode = SqlMode::csv;
  } else if (const auto mode = sql_mode(arguments.mode)) {
    format.mode = *mode;
  } else {
    throw Error(ErrorKind::invalid_argument,
                {.what = "no such mode", .got = arguments.mode, .wanted = std::string(sql_modes)});
  }
  return format;
}

Session open_session(const Globals& globals, const SqlArguments& arguments) {
  QueryLimits limits;
  limits.deadline = std::chrono::milliseconds(static_cast<std::int64_t>(arguments.timeout_s * 1000));
  if (arguments.timeout_s > 0 && limits.deadline.count() == 0) limits.deadline = std::chrono::milliseconds(1);
  if (arguments.max_memory_bytes != 0) limits.memory_bytes = arguments.max_memory_bytes;
  const auto path = find_store(globals.store);
  return Session(path ? std::optional(Store::open(*path)) : std::nullopt, limits);
}

// Of a script, the offset counts from its beginning, and the error names the file.
Error in_script(const Error& error, const std::string& file, std::size_t begin) {
  Facts facts = error.facts();
  if (facts.offset) *facts.offset += begin;
  if (!file.empty()) facts.file = file;
  return {error.kind(), std::move(facts)};
}

int tell(const Error& error, const SqlArguments& arguments, std::string_view text, std::size_t begin, bool json) {
  const int code = exit_code_of(error.kind());
  if (error.facts().file != sql_source) throw Failure{error, code};
  if (json) throw Failure{in_script(error, arguments.file, begin), code};
  write_error("tenon: " + describe_sql_error(in_script(error, {}, begin), text));
  return code;
}

}  // namespace

int run_sql(const Globals& globals, const SqlArguments& arguments, Output& output) {
  const std::string text = statements_of(arguments);
  const SqlFormat format = format_of(arguments, output);
  const Progress asking("sql", true);  // Ctrl-C is asked for while it lives
  Session session = open_session(globals, arguments);
  session.set_progress([] { check_interrupt(); });
  std::size_t begin = 0;
  try {
    for (bool is_first = true; begin < text.size() && !output.is_closed();) {
      Rows rows = session.query(std::string_view(text).substr(begin));
      if (!is_first && !rows.columns().empty() && format.mode == SqlMode::box) output.write("\n");
      print_rows(rows, format, [&](std::string_view line) {
        output.write(line);
        if (output.is_closed()) throw NobodyReads{};
      });
      is_first = is_first && rows.columns().empty();
      begin = text.size() - rows.rest().size();
    }
  } catch (const NobodyReads&) {  // `| head` has its rows; that is no failure
  } catch (const Error& error) {
    output.flush();
    return tell(error, arguments, text, begin, output.is_json());
  }
  return exit_code::ok;
}

}  // namespace tenon::tools
