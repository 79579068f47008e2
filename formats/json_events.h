// JSON as a stream of events, from text that is not trusted. The JSON library is included by json_events.cc alone.
//
// Nothing is built up: what is kept, and how much of it, is the listener's to decide. The text is RFC 8259's and
// nothing beside it: no comments, no byte order mark, no bytes after the value, only well-formed UTF-8 without lone
// surrogates.
//
// Errors: corrupt for what is no JSON, limit for what is nested too deeply or has a token that is too long; each names
// file and offset. What a listener throws passes through. Memory: a small multiple of the longest token allowed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace tenon {

class JsonEvents {
 public:
  virtual ~JsonEvents() = default;
  virtual void begin_object() = 0;
  virtual void end_object() = 0;
  virtual void begin_array() = 0;
  virtual void end_array() = 0;
  virtual void key(std::string_view text) = 0;
  virtual void string(std::string_view text) = 0;
  virtual void integer(std::uint64_t value) = 0;
  // Any other value: `what` says which ("a negative number", "null").
  virtual void other(std::string_view what) = 0;
  // Booleans and fractions are other values to whom they mean nothing.
  virtual void boolean(bool value) { other(value ? "true" : "false"); }
  virtual void fraction(double, std::string_view text) { other("the number " + std::string(text)); }

  // Where in the file the token just told of ends, or a little after.
  std::uint64_t offset = 0;
};

struct JsonSource {
  std::string file{};             // for messages
  std::uint64_t base_offset = 0;  // of the text in that file, for messages
  std::size_t max_depth = 8;
  std::size_t max_token_bytes = std::size_t{1} << 20;
};

void read_json(std::span<const std::byte> text, const JsonSource& source, JsonEvents& events);

// As a JSON string, quotes and all. Throws invalid_argument for what is no UTF-8.
std::string json_quoted(std::string_view text);

}  // namespace tenon
