#include "formats/pickle_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

namespace tenon {

namespace {

constexpr std::size_t max_digits = 4300;

int hex_value(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Reads exactly `digits` hex digits at `at`.
std::optional<std::uint32_t> read_hex(std::string_view text, std::size_t at, std::size_t digits) noexcept {
  if (text.size() < at || text.size() - at < digits) return std::nullopt;
  std::uint32_t value = 0;
  for (const char c : text.substr(at, digits)) {
    if (hex_value(c) < 0) return std::nullopt;
    value = (value << 4) | static_cast<std::uint32_t>(hex_value(c));
  }
  return value;
}

char simple_escape(char c) noexcept {
  switch (c) {
    case 'a':
      return '\a';
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'v':
      return '\v';
    case '\\':
    case '\'':
    case '"':
      return c;
    default:
      return '\0';
  }
}

// Octal: one to three digits. Returns how many were read.
std::size_t append_octal(std::string& out, std::string_view text) {
  unsigned value = 0;
  std::size_t used = 0;
  while (used < 3 && used < text.size() && text[used] >= '0' && text[used] <= '7') {
    value = value * 8 + static_cast<unsigned>(text[used++] - '0');
  }
  if (used > 0) out.push_back(static_cast<char>(value & 0xFFu));
  return used;
}

// One escape, `text` beginning after the backslash. Returns how much of `text` it took; 0 if it is malformed.
std::size_t append_escape(std::string& out, std::string_view text) {
  if (text.empty()) return 0;
  if (text[0] == '\n') return 1;
  if (const char plain = simple_escape(text[0]); plain != '\0') {
    out.push_back(plain);
    return 1;
  }
  if (text[0] == 'x') {
    const auto value = read_hex(text, 1, 2);
    if (!value) return 0;
    out.push_back(static_cast<char>(*value));
    return 3;
  }
  if (const std::size_t used = append_octal(out, text); used > 0) return used;
  out.push_back('\\');  // Python keeps what it does not know
  out.push_back(text[0]);
  return 1;
}

// Length of the UTF-8 sequence at the start of `text`, its code point in `code_point`; 0 if malformed.
std::size_t decode_utf8(std::string_view text, std::uint32_t& code_point) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])); };
  const std::uint32_t first = byte(0);
  if (first < 0x80) return code_point = first, 1;
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) return 0;
  code_point = first & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0u) != 0x80u) return 0;
    code_point = (code_point << 6) | (byte(i) & 0x3Fu);
  }
  constexpr std::array<std::uint32_t, 5> smallest{0, 0, 0x80, 0x800, 0x10000};
  return code_point < smallest[length] || code_point > 0x10FFFF ? 0 : length;
}

void multiply_add(std::string& little_endian, std::uint32_t factor, std::uint32_t addend) {
  std::uint64_t carry = addend;
  for (char& c : little_endian) {
    carry += static_cast<std::uint64_t>(static_cast<unsigned char>(c)) * factor;
    c = static_cast<char>(carry & 0xFFu);
    carry >>= 8;
  }
  for (; carry != 0; carry >>= 8) little_endian.push_back(static_cast<char>(carry & 0xFFu));
}

void negate(std::string& little_endian) noexcept {
  unsigned carry = 1;
  for (char& c : little_endian) {
    carry += static_cast<unsigned>(static_cast<unsigned char>(c)) ^ 0xFFu;
    c = static_cast<char>(carry & 0xFFu);
    carry >>= 8;
  }
}

}  // namespace

void append_utf8(std::string& out, std::uint32_t c) {
  const auto put = [&](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) return put(c);
  if (c < 0x800) return put(0xC0 | (c >> 6)), put(0x80 | (c & 0x3F));
  if (c < 0x10000) return put(0xE0 | (c >> 12)), put(0x80 | ((c >> 6) & 0x3F)), put(0x80 | (c & 0x3F));
  put(0xF0 | (c >> 18));
  put(0x80 | ((c >> 12) & 0x3F));
  put(0x80 | ((c >> 6) & 0x3F));
  put(0x80 | (c & 0x3F));
}

std::optional<std::string> unescape_bytes(std::string_view quoted) {
  if (quoted.size() < 2 || quoted.front() != quoted.back()) return std::nullopt;
  if (quoted.front() != '\'' && quoted.front() != '"') return std::nullopt;
  const std::string_view text = quoted.substr(1, quoted.size() - 2);
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      out.push_back(text[i]);
      continue;
    }
    const std::size_t used = append_escape(out, text.substr(i + 1));
    if (used == 0) return std::nullopt;
    i += used;
  }
  return out;
}

std::optional<std::string> unescape_unicode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool is_escape = text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == 'u' || text[i + 1] == 'U');
    if (!is_escape) {
      append_utf8(out, static_cast<unsigned char>(text[i]));
      continue;
    }
    const std::size_t digits = text[i + 1] == 'u' ? 4 : 8;
    const auto code_point = read_hex(text, i + 2, digits);
    if (!code_point || *code_point > 0x10FFFF) return std::nullopt;
    append_utf8(out, *code_point);
    i += 1 + digits;
  }
  return out;
}

std::optional<std::string> parse_decimal(std::string_view text) {
  const bool is_negative = !text.empty() && text.front() == '-';
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) text.remove_prefix(1);
  if (text.empty() || text.size() > max_digits) return std::nullopt;
  std::string magnitude;
  while (!text.empty()) {  // nine digits at a time fit 32 bits
    std::uint32_t factor = 1;
    std::uint32_t chunk = 0;
    for (const char c : text.substr(0, 9)) {
      if (c < '0' || c > '9') return std::nullopt;
      chunk = chunk * 10 + static_cast<std::uint32_t>(c - '0');
      factor *= 10;
    }
    multiply_add(magnitude, factor, chunk);
    text.remove_prefix(std::min<std::size_t>(9, text.size()));
  }
  magnitude.push_back('\0');  // room for the sign
  if (is_negative) negate(magnitude);
  return magnitude;
}

std::optional<double> parse_double(std::string_view text) {
  const bool is_negative = !text.empty() && text.front() == '-';
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) text.remove_prefix(1);
  if (text.empty() || text.front() == '-' || text.front() == '+') return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::invalid_argument || end != text.data() + text.size()) return std::nullopt;
  if (error == std::errc::result_out_of_range) {  // as Python: too large is infinite, too small is zero
    const std::size_t exponent = text.find_first_of("eE");
    const bool is_tiny = exponent != std::string_view::npos && text.substr(exponent + 1).starts_with('-');
    value = is_tiny ? 0.0 : std::numeric_limits<double>::infinity();
  }
  return is_negative ? -value : value;
}

bool is_utf8(std::string_view text) noexcept {
  std::uint32_t code_point = 0;
  while (!text.empty()) {
    const std::size_t length = decode_utf8(text, code_point);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::optional<std::string> utf8_to_latin1(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  std::uint32_t code_point = 0;
  while (!text.empty()) {
    const std::size_t length = decode_utf8(text, code_point);
    if (length == 0 || code_point > 0xFF) return std::nullopt;
    out.push_back(static_cast<char>(code_point));
    text.remove_prefix(length);
  }
  return out;
}

}  // namespace tenon
