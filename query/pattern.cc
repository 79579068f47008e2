#include "query/pattern.h"

#include <re2/re2.h>

#include <memory>
#include <string>

#include "tenon/error.h"

namespace tenon {

namespace {

constexpr std::int64_t program_bytes_max = 1 << 20;

std::unique_ptr<const re2::RE2> compile(std::string_view pattern) {
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(program_bytes_max);
  auto compiled = std::make_unique<const re2::RE2>(re2::StringPiece(pattern.data(), pattern.size()), options);
  if (compiled->ok()) return compiled;
  throw Error(ErrorKind::invalid_argument,
              {.what = "not a regular expression: " + compiled->error(), .got = "'" + std::string(pattern) + "'"});
}

}  // namespace

bool matches_regexp(std::string_view pattern, std::string_view text) {
  thread_local std::unique_ptr<const re2::RE2> last;
  if (!last || last->pattern() != pattern) last = compile(pattern);
  return re2::RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), *last);
}

}  // namespace tenon
