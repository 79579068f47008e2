#include "tools/failure.h"

#include <fmt/format.h>

#include "tenon/name.h"
#include "tools/json.h"
#include "tools/standard_streams.h"

namespace tenon::tools {
namespace {

std::string describe(const Facts& facts) {
  std::string text = printable(facts.what);
  if (!facts.file.empty()) text += fmt::format(": {}", printable(facts.file));
  if (facts.offset) text += fmt::format("{} offset {}", facts.file.empty() ? ":" : " at", *facts.offset);
  if (!facts.got.empty()) text += fmt::format(": got {}", printable(facts.got));
  if (!facts.wanted.empty()) {
    text += fmt::format("{}wanted {}", facts.got.empty() ? ": " : ", ", printable(facts.wanted));
  }
  return text;
}

std::string as_json(const Error& error, int code) {
  const Facts& facts = error.facts();
  Json::Object object = {{"schema", "error/1"}, {"kind", error_kind_name(error.kind())}, {"what", facts.what}};
  if (!facts.file.empty()) object.emplace_back("file", facts.file);
  if (facts.offset) object.emplace_back("offset", *facts.offset);
  if (!facts.got.empty()) object.emplace_back("got", facts.got);
  if (!facts.wanted.empty()) object.emplace_back("wanted", facts.wanted);
  if (!facts.hint.empty()) object.emplace_back("hint", facts.hint);
  object.emplace_back("exit_code", code);
  return dump(Json(std::move(object)));
}

}  // namespace

int exit_code_of(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::no_store:
      return exit_code::no_store;
    case ErrorKind::busy:
      return exit_code::busy;
    case ErrorKind::too_new:
      return exit_code::too_new;
    case ErrorKind::conflict:
      return exit_code::ref_conflict;
    case ErrorKind::invalid_argument:
      return exit_code::usage;
    case ErrorKind::corrupt:
      return exit_code::damage;
    case ErrorKind::interrupted:
      return exit_code::interrupted;
    default:
      return exit_code::failed;
  }
}

void print_error(const Error& error, int code, bool json) {
  if (json) {
    write_error(as_json(error, code) + "\n");
    return;
  }
  std::string text = fmt::format("tenon: {}\n", describe(error.facts()));
  if (!error.facts().hint.empty()) text += fmt::format("hint: {}\n", printable(error.facts().hint));
  write_error(text);
}

}  // namespace tenon::tools
