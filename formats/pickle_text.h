// The text forms inside pickles: Python's string escapes, decimal numbers of any length, Latin-1 and UTF-8.
// Each returns false (or nullopt) where the text is not what its opcode promises. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tenon {

// The operand of STRING: quoted, with Python's byte-string escapes.
std::optional<std::string> unescape_bytes(std::string_view quoted);
// The operand of UNICODE: raw-unicode-escape, as UTF-8.
std::optional<std::string> unescape_unicode(std::string_view text);
// Decimal with an optional sign, as little-endian two's complement. At most 4,300 digits, as Python itself allows.
std::optional<std::string> parse_decimal(std::string_view text);
std::optional<double> parse_double(std::string_view text);

// UTF-8, surrogates allowed (Python's "surrogatepass").
bool is_utf8(std::string_view text) noexcept;
// nullopt if a character is above U+00FF.
std::optional<std::string> utf8_to_latin1(std::string_view text);
void append_utf8(std::string& out, std::uint32_t code_point);

}  // namespace tenon
