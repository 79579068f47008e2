// globals: what loading a file would import.
#include <fmt/format.h>

#include <filesystem>
#include <utility>

#include "tenon/formats.h"
#include "tenon/name.h"
#include "tools/content.h"
#include "tools/failure.h"
#include "tools/text.h"
#include "tools/verbs.h"

namespace tenon::tools {
namespace {

PickleGlobals find_globals(const std::string& store, const std::string& target) {
  std::error_code ignored;
  const std::filesystem::path path = target;
  if (path.extension() != ".tenon" && std::filesystem::is_regular_file(path, ignored)) return list_globals(path);
  const Opened opened = open_content(store, target);
  if (opened.content.snapshot() == nullptr) {
    throw Error(ErrorKind::invalid_argument,
                {.what = "globals are those of a whole file", .got = target, .wanted = opened.label});
  }
  return list_globals(*opened.content.snapshot(), opened.path);
}

void print_global(const PickleGlobal& global, Output& output) {
  const std::string_view safety = global_safety_name(global.safety);
  if (output.is_json()) {
    output.record("globals", {{"module", global.module}, {"name", global.name}, {"safety", safety}});
    return;
  }
  const std::string line = fmt::format("{:9}  {}", safety, printable(fmt::format("{}.{}", global.module, global.name)));
  output.line(global.safety == GlobalSafety::dangerous ? output.bold(line) : line);
}

}  // namespace

// A file that could not be read to its end is never said to be clean.
int run_globals(const Globals& globals, const GlobalsArguments& arguments, Output& output) {
  const PickleGlobals found = [&] {
    try {
      return find_globals(globals.store, arguments.target);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::corrupt) throw;
      throw Failure{error, exit_code::failed};
    }
  }();
  for (const PickleGlobal& global : found.globals) print_global(global, output);
  const bool is_dangerous = !found.globals.empty() && found.globals.front().safety == GlobalSafety::dangerous;
  const int code = is_dangerous ? exit_code::damage : found.flaw ? exit_code::failed : exit_code::ok;
  if (found.globals.empty()) output.note("no classes or functions are named");
  if (found.flaw) {
    output.flush();
    print_error(*found.flaw, code, output.is_json());
    output.note("hint: there may be more behind that place");
  }
  return code;
}

}  // namespace tenon::tools
