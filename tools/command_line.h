// The command line: verbs, options, help, and what is said about a line that makes no sense.
#pragma once

#include <functional>

#include "tools/output.h"
#include "tools/verbs.h"

namespace tenon::tools {

struct Invocation {
  Globals globals;
  std::function<int(Output&)> run;  // returns the exit code
};

// Throws Error(invalid_argument) that says what is wrong and what was perhaps meant.
Invocation parse_command_line(int argc, const char* const* argv);

}  // namespace tenon::tools
