#include "formats/json_events.h"

#include <fmt/format.h>

#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "tenon/error.h"
#include "tenon/name.h"

namespace tenon {

namespace {

using Library = nlohmann::json;

constexpr std::size_t max_shown_bytes = 100;

// Hands the text to the library byte by byte. The library keeps every token twice, and all space before it: so space
// is skipped here, and tokens are measured before they are whole.
class Scanner {
 public:
  Scanner(std::string_view text, const JsonSource& source) : text_(text), source_(source) { prepare(); }

  bool is_at_end() const noexcept { return at_ == text_.size(); }
  char current() const noexcept { return text_[at_]; }
  std::uint64_t offset() const noexcept { return source_.base_offset + at_; }

  void advance() {
    follow(text_[at_++]);
    prepare();
  }

  [[noreturn]] void fail(ErrorKind kind, std::string what, std::string got = {}, std::string wanted = {}) const {
    throw Error(kind, {.what = std::move(what),
                       .file = source_.file,
                       .offset = offset(),
                       .got = std::move(got),
                       .wanted = std::move(wanted)});
  }

 private:
  static bool is_space(char c) noexcept { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
  static bool is_between_tokens(char c) noexcept { return std::strchr("{}[],:\"", c) != nullptr; }
  void follow(char c);
  void prepare();

  std::string_view text_;
  const JsonSource& source_;
  std::size_t at_ = 0;
  std::size_t token_bytes_ = 0;
  bool is_in_string_ = false;
  bool is_escaped_ = false;
};

void Scanner::follow(char c) {
  if (is_in_string_) {
    is_in_string_ = is_escaped_ || c != '"';
    is_escaped_ = !is_escaped_ && c == '\\';
  } else {
    is_in_string_ = c == '"';
    if (is_between_tokens(c) || is_space(c)) token_bytes_ = 0;
  }
}

// One space stays, so that two tokens do not become one. To the library a NUL would be the end of the text.
void Scanner::prepare() {
  if (!is_in_string_ && at_ > 0 && is_space(text_[at_ - 1])) {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  }
  if (is_at_end()) return;
  if (text_[at_] == '\0') fail(ErrorKind::corrupt, "JSON holds a NUL byte");
  if (++token_bytes_ > source_.max_token_bytes) {
    fail(ErrorKind::limit, "JSON holds a string or number that is too long", {},
         fmt::format("at most {} bytes", source_.max_token_bytes));
  }
}

// What the library takes for an iterator. Copies are one place in the text.
class ScannerIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = char;

  explicit ScannerIterator(Scanner* scanner = nullptr) : scanner_(scanner) {}
  char operator*() const noexcept { return scanner_->current(); }
  ScannerIterator& operator++() {
    scanner_->advance();
    return *this;
  }
  ScannerIterator operator++(int) {
    ScannerIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const ScannerIterator& other) const noexcept { return is_at_end() == other.is_at_end(); }
  bool operator!=(const ScannerIterator& other) const noexcept { return !(*this == other); }

 private:
  bool is_at_end() const noexcept { return scanner_ == nullptr || scanner_->is_at_end(); }
  Scanner* scanner_;
};

// The library's names for events.
class Adapter : public nlohmann::json_sax<Library> {
 public:
  Adapter(const Scanner& scanner, const JsonSource& source, JsonEvents& events)
      : scanner_(scanner), source_(source), events_(events) {}

  bool null() override { return tell_other("null"); }
  bool boolean(bool value) override {
    locate().boolean(value);
    return true;
  }
  bool number_integer(number_integer_t) override { return tell_other("a negative number"); }
  bool number_float(number_float_t value, const string_t& text) override {
    locate().fraction(value, std::string_view(text).substr(0, max_shown_bytes));
    return true;
  }
  bool binary(binary_t&) override { return tell_other("binary data"); }
  bool number_unsigned(number_unsigned_t value) override {
    locate().integer(value);
    return true;
  }
  bool string(string_t& text) override {
    locate().string(text);
    return true;
  }
  bool key(string_t& text) override {
    locate().key(text);
    return true;
  }
  bool start_object(std::size_t) override {
    descend();
    locate().begin_object();
    return true;
  }
  bool end_object() override {
    --depth_;
    locate().end_object();
    return true;
  }
  bool start_array(std::size_t) override {
    descend();
    locate().begin_array();
    return true;
  }
  bool end_array() override {
    --depth_;
    locate().end_array();
    return true;
  }

  // The library's message is "[...] parse error at line 1, column 7: syntax error while ... - reason; last read: ...".
  bool parse_error(std::size_t, const std::string&, const Library::exception& error) override {
    std::string_view reason = error.what();
    if (const std::size_t colon = reason.find(": "); colon != reason.npos) reason.remove_prefix(colon + 2);
    if (const std::size_t read = reason.find("; last read"); read != reason.npos) reason = reason.substr(0, read);
    scanner_.fail(ErrorKind::corrupt, "not valid JSON", printable(reason.substr(0, 2 * max_shown_bytes)));
  }

 private:
  JsonEvents& locate() {
    events_.offset = scanner_.offset();
    return events_;
  }
  bool tell_other(std::string_view what) {
    locate().other(what);
    return true;
  }
  void descend() {
    if (++depth_ <= source_.max_depth) return;
    scanner_.fail(ErrorKind::limit, "JSON is nested too deeply", {},
                  fmt::format("at most {} levels", source_.max_depth));
  }

  const Scanner& scanner_;
  const JsonSource& source_;
  JsonEvents& events_;
  std::size_t depth_ = 0;
};

}  // namespace

void read_json(std::span<const std::byte> text, const JsonSource& source, JsonEvents& events) {
  Scanner scanner({reinterpret_cast<const char*>(text.data()), text.size()}, source);
  // The library would skip a byte order mark, which is no part of JSON.
  if (!scanner.is_at_end() && scanner.current() == '\xEF') scanner.fail(ErrorKind::corrupt, "not valid JSON");
  Adapter adapter(scanner, source, events);
  Library::sax_parse(ScannerIterator(&scanner), ScannerIterator(), &adapter);
}

std::string json_quoted(std::string_view text) {
  try {
    return Library(text).dump();
  } catch (const Library::exception&) {
    throw Error(ErrorKind::invalid_argument,
                {.what = "text is no UTF-8", .got = printable(text.substr(0, max_shown_bytes))});
  }
}

}  // namespace tenon
