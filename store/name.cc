#include "tenon/name.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <system_error>

#include "mmap/printable.h"
#include "tenon/error.h"

// component = bare | integer | quoted | literal, joined by '/'
//   bare    = any bytes without '/', not empty, not ".", not like an integer, not beginning with '"' or '<'
//   integer = the shortest decimal spelling of an int64
//   quoted  = '"' bytes '"'   with \" \\ and \u00XX (lower case) for the bytes below 0x20; only for what cannot stand
//   bare literal = '<' bytes '>'   with each '>' inside doubled
// Every path has one name, so a name that is spelled in any other way is refused: names are compared as bytes.

namespace tenon {
namespace {

constexpr std::string_view root_name = ".";

bool looks_like_integer(std::string_view key) noexcept;
bool needs_quotes(std::string_view key) noexcept;
void append_quoted(std::string& name, std::string_view key);
void append_literal(std::string& name, std::string_view literal);
std::string without_wrappers(std::string_view key);

// Reads the components of one name from left to right.
class NameParser {
 public:
  explicit NameParser(std::string_view name) noexcept : name_(name), rest_(name) {}
  Path parse();

 private:
  PathKey parse_component();
  std::string parse_quoted();
  char parse_escape();
  OtherKey parse_literal();
  PathKey parse_bare();
  std::optional<char> next() noexcept;
  [[noreturn]] void fail(std::string what) const;

  std::string_view name_;
  std::string_view rest_;
};

}  // namespace

std::string render_name(const Path& path) {
  if (path.empty()) return std::string(root_name);
  std::string name;
  for (const PathKey& key : path) append_component(name, key);
  return name;
}

void append_component(std::string& name, const PathKey& key) {
  if (!name.empty()) name += '/';
  if (const auto* const text = std::get_if<std::string>(&key)) {
    if (needs_quotes(*text)) {
      append_quoted(name, *text);
    } else {
      name += *text;
    }
  } else if (const auto* const number = std::get_if<std::int64_t>(&key)) {
    name += std::to_string(*number);
  } else {
    append_literal(name, std::get<OtherKey>(key).literal);
  }
}

std::string param_name(std::string_view name) {
  std::string param;
  for (const PathKey& key : parse_name(name)) {
    const auto* const text = std::get_if<std::string>(&key);
    append_component(param, text == nullptr ? key : PathKey(without_wrappers(*text)));
  }
  return param.empty() ? std::string(root_name) : param;
}

Path parse_name(std::string_view name) { return NameParser(name).parse(); }

std::string printable(std::string_view text) { return escape_controls(text); }

bool is_valid_utf8(std::string_view text) noexcept {
  while (!text.empty()) {
    const std::size_t bytes = utf8_sequence_bytes(text);
    if (bytes == 0) return false;
    text.remove_prefix(bytes);
  }
  return true;
}

namespace {

bool looks_like_integer(std::string_view key) noexcept {
  if (key.starts_with('-')) key.remove_prefix(1);
  return !key.empty() && std::ranges::all_of(key, [](char c) { return c >= '0' && c <= '9'; });
}

bool needs_quotes(std::string_view key) noexcept {
  return key.empty() || key == root_name || key.front() == '"' || key.front() == '<' ||
         key.find('/') != std::string_view::npos || looks_like_integer(key);
}

void append_quoted(std::string& name, std::string_view key) {
  static constexpr char digits[] = "0123456789abcdef";
  name += '"';
  for (const char c : key) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20) {
      name += {'\\', 'u', '0', '0', digits[byte >> 4], digits[byte & 15]};
    } else {
      if (c == '"' || c == '\\') name += '\\';
      name += c;
    }
  }
  name += '"';
}

void append_literal(std::string& name, std::string_view literal) {
  name += '<';
  for (const char c : literal) name.append(c == '>' ? 2 : 1, c);
  name += '>';
}

Path NameParser::parse() {
  Path path;
  if (name_ == root_name) return path;
  for (;;) {
    path.push_back(parse_component());
    const std::optional<char> separator = next();
    if (!separator) break;
    if (*separator != '/') fail("more text after the end of a component");
  }
  if (const std::string canonical = render_name(path); canonical != name_) {
    throw Error(ErrorKind::invalid_argument,
                {.what = "a tensor's name has one spelling only", .got = std::string(name_), .wanted = canonical});
  }
  return path;
}

PathKey NameParser::parse_component() {
  if (rest_.starts_with('"')) return parse_quoted();
  if (rest_.starts_with('<')) return parse_literal();
  return parse_bare();
}

std::string NameParser::parse_quoted() {
  rest_.remove_prefix(1);
  std::string key;
  for (;;) {
    const std::optional<char> c = next();
    if (!c) fail("a quoted component has no closing quote");
    if (*c == '"') return key;
    key += *c == '\\' ? parse_escape() : *c;
  }
}

// What follows a backslash. Only bytes below 0x20 are ever written by number.
char NameParser::parse_escape() {
  const std::optional<char> kind = next();
  if (kind == '"' || kind == '\\') return *kind;
  unsigned value = 0;
  if (kind == 'u' && rest_.size() >= 4) {
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + 4, value, 16);
    if (error == std::errc() && end == rest_.data() + 4 && value < 0x20) {
      rest_.remove_prefix(4);
      return static_cast<char>(value);
    }
  }
  fail("a quoted component has an unknown escape");
}

OtherKey NameParser::parse_literal() {
  rest_.remove_prefix(1);
  OtherKey key;
  for (;;) {
    const std::optional<char> c = next();
    if (!c) fail("a component in angle brackets is not closed");
    if (*c == '>') {
      if (!rest_.starts_with('>')) return key;
      rest_.remove_prefix(1);
    }
    key.literal += *c;
  }
}

PathKey NameParser::parse_bare() {
  const std::string_view text = rest_.substr(0, rest_.find('/'));
  if (text.empty()) fail("a component is empty");
  rest_.remove_prefix(text.size());
  if (!looks_like_integer(text)) return std::string(text);
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) fail("an integer component does not fit 64 bits");
  return number;
}

std::optional<char> NameParser::next() noexcept {
  if (rest_.empty()) return std::nullopt;
  const char c = rest_.front();
  rest_.remove_prefix(1);
  return c;
}

void NameParser::fail(std::string what) const {
  throw Error(ErrorKind::invalid_argument, {.what = "not a tensor's name: " + what,
                                            .offset = name_.size() - rest_.size(),
                                            .got = "'" + std::string(name_) + "'",
                                            .hint = "names are listed by `tenon ls`"});
}

// The last part is the parameter itself: a wrapper has something in it.
std::string without_wrappers(std::string_view key) {
  constexpr std::array<std::string_view, 3> anywhere = {"_orig_mod", "_fsdp_wrapped_module",
                                                        "_checkpoint_wrapped_module"};
  std::string kept;
  for (;;) {
    const std::size_t dot = key.find('.');
    if (dot == std::string_view::npos) return kept.append(key);
    const std::string_view part = key.substr(0, dot);
    const bool is_wrapper =
        std::find(anywhere.begin(), anywhere.end(), part) != anywhere.end() || (part == "module" && kept.empty());
    if (!is_wrapper) kept.append(part).append(".");
    key.remove_prefix(dot + 1);
  }
}

}  // namespace
}  // namespace tenon
