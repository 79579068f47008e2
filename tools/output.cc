#include "tools/output.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tenon/error.h"
#include "tools/standard_streams.h"

namespace tenon::tools {
namespace {

constexpr std::size_t buffer_bytes = 1 << 16;

bool wants_color(bool terminal) {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  const bool is_dumb = term != nullptr && std::strcmp(term, "dumb") == 0;
  return terminal && !is_dumb && (no_color == nullptr || *no_color == '\0');
}

// COLUMNS where it is set, else the width of the terminal, else 0.
std::size_t line_width(bool terminal) {
  if (const char* text = std::getenv("COLUMNS"); text != nullptr) {
    std::size_t columns = 0;
    const char* end = text + std::strlen(text);
    if (std::from_chars(text, end, columns).ptr == end && columns > 0) return columns;
  }
  winsize size{};
  if (terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) return size.ws_col;
  return 0;
}

std::string open_record(std::string_view verb, Json::Object members) {
  members.insert(members.begin(), {"schema", fmt::format("{}/1", verb)});
  return dump(Json(std::move(members)));
}

}  // namespace

Output::Output(bool json)
    : json_(json),
      terminal_(isatty(STDOUT_FILENO) == 1),
      color_(wants_color(terminal_)),
      columns_(line_width(terminal_)) {}

void Output::measure() { columns_ = line_width(terminal_); }

void Output::write(std::string_view text) {
  if (closed_) return;
  if (buffer_.size() + text.size() > buffer_bytes) flush();
  if (text.size() >= buffer_bytes) {
    write_through(text);
  } else {
    buffer_.append(text);
  }
}

void Output::write(std::span<const std::byte> bytes) {
  write(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

void Output::line(std::string_view text) {
  write(text);
  write("\n");
}

void Output::record(std::string_view verb, Json::Object members) { line(open_record(verb, std::move(members))); }

void Output::begin_record(std::string_view verb, Json::Object members, std::string_view last_member) {
  std::string text = open_record(verb, std::move(members));
  text.pop_back();  // the closing brace
  write(fmt::format("{},\"{}\":", text, last_member));
}

void Output::end_record() { line("}"); }

void Output::note(std::string_view text) {
  if (json_) return;
  flush();  // so that both streams on one terminal keep their order
  write_error(fmt::format("{}\n", text));
}

void Output::flush() {
  write_through(buffer_);
  buffer_.clear();
}

std::string Output::bold(std::string_view text) const {
  return color_ ? fmt::format("\x1b[1m{}\x1b[0m", text) : std::string(text);
}

std::string Output::dim(std::string_view text) const {
  return color_ ? fmt::format("\x1b[2m{}\x1b[0m", text) : std::string(text);
}

void Output::write_through(std::string_view text) {
  while (!text.empty() && !closed_) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EPIPE) {
      closed_ = true;
    } else if (errno != EINTR) {
      const int error = errno;
      buffer_.clear();  // or the flush at the end would fail once more
      throw Error(error == ENOSPC ? ErrorKind::full : ErrorKind::io,
                  {.what = "cannot write standard output", .got = std::strerror(error)});
    }
  }
}

}  // namespace tenon::tools
