// The `tenon` command: parse, one or a few library calls, print.
#include <exception>
#include <string_view>

#include "tools/command_line.h"
#include "tools/failure.h"
#include "tools/output.h"
#include "tools/progress.h"
#include "tools/standard_streams.h"

namespace {

using namespace tenon::tools;
using tenon::Error;
using tenon::ErrorKind;

// Before the line is understood, for the errors in it.
bool asks_for_json(int argc, const char* const* argv) {
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) {
    if (std::string_view(argv[i]) == "--json") return true;
  }
  return false;
}

int fail(const Error& error, int code, bool json) {
  print_error(error, code, json);
  return code;
}

// What was printed before a failure goes out before the words about it.
template <typename Action>
int guarded(bool json, Action action) {
  try {
    return action();
  } catch (const Interrupted& interrupted) {
    return fail(Error(ErrorKind::io, {.what = "interrupted"}), interrupted.exit_code, json);
  } catch (const Failure& failure) {
    return fail(failure.error, failure.code, json);
  } catch (const Error& error) {
    return fail(error, exit_code_of(error.kind()), json);
  } catch (const std::bad_alloc&) {
    return fail(Error(ErrorKind::limit, {.what = "out of memory"}), exit_code::failed, json);
  } catch (const std::exception& error) {
    return fail(Error(ErrorKind::io, {.what = error.what()}), exit_code::failed, json);
  } catch (...) {
    return fail(Error(ErrorKind::io, {.what = "failed for no known reason"}), exit_code::failed, json);
  }
}

}  // namespace

int main(int argc, char** argv) {
  occupy_closed_streams();
  install_signal_handlers();
  const bool json = asks_for_json(argc, argv);
  Output output(json);
  const int code = guarded(json, [&] { return parse_command_line(argc, argv).run(output); });
  const int flushed = guarded(json, [&] {
    output.flush();
    return exit_code::ok;
  });
  return code != exit_code::ok ? code : flushed;
}
