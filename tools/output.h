// Where a verb's results go: data to standard output, everything else to standard error.
//
// A reader that goes away (`tenon ls | head`) is no failure: what follows is dropped, and is_closed() tells a verb
// with much to say that it may stop. Any other failure to write throws Error(io).
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "tools/json.h"

namespace tenon::tools {

class Output {
 public:
  explicit Output(bool json);
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  bool is_json() const noexcept { return json_; }
  bool is_terminal() const noexcept { return terminal_; }
  bool is_closed() const noexcept { return closed_; }
  // Characters in a line; 0 when nothing needs to be fitted.
  std::size_t columns() const noexcept { return columns_; }
  // Looks again: somebody may have made the terminal wider.
  void measure();

  void write(std::string_view text);
  void write(std::span<const std::byte> bytes);
  void line(std::string_view text);
  // One line of JSON that begins with "schema": "VERB/1".
  void record(std::string_view verb, Json::Object members);
  // The same up to the value of one last member, which the caller writes, as JSON, before end_record.
  void begin_record(std::string_view verb, Json::Object members, std::string_view last_member);
  void end_record();
  // What a person wants to know besides the data: a line on standard error, nothing under --json.
  void note(std::string_view text);
  void flush();

  std::string bold(std::string_view text) const;
  std::string dim(std::string_view text) const;

 private:
  void write_through(std::string_view text);

  bool json_;
  bool terminal_;
  bool color_;
  bool closed_ = false;
  std::size_t columns_;
  std::string buffer_;
};

}  // namespace tenon::tools
