#include "tenon/error.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <string_view>
#include <utility>

#include "mmap/printable.h"

namespace tenon {
namespace {

std::string message_of(const Facts& facts);
bool is_unprintable(char32_t character) noexcept;

}  // namespace

const char* error_kind_name(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::not_found:
      return "not_found";
    case ErrorKind::invalid_argument:
      return "invalid_argument";
    case ErrorKind::corrupt:
      return "corrupt";
    case ErrorKind::conflict:
      return "conflict";
    case ErrorKind::io:
      return "io";
    case ErrorKind::full:
      return "full";
    case ErrorKind::unsupported:
      return "unsupported";
    case ErrorKind::limit:
      return "limit";
    case ErrorKind::no_store:
      return "no_store";
    case ErrorKind::busy:
      return "busy";
    case ErrorKind::too_new:
      return "too_new";
    case ErrorKind::interrupted:
      return "interrupted";
  }
  assert(false && "an ErrorKind out of its range");
  return "unknown";
}

Error::Error(ErrorKind kind, Facts facts) : kind_(kind), facts_(std::move(facts)), message_(message_of(facts_)) {}
Error::~Error() = default;
Error::Error(const Error&) = default;
Error& Error::operator=(const Error&) = default;

std::string escape_controls(std::string_view text) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t valid_bytes = utf8_sequence_bytes(text);
    const std::string_view sequence = text.substr(0, valid_bytes == 0 ? 1 : valid_bytes);
    if (valid_bytes != 0 && !is_unprintable(decode_utf8(sequence))) {
      out += sequence;
    } else {
      for (const char c : sequence) {
        const auto byte = static_cast<unsigned char>(c);
        out += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
      }
    }
    text.remove_prefix(sequence.size());
  }
  return out;
}

std::size_t utf8_sequence_bytes(std::string_view text) noexcept {
  const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const std::size_t size = lead >= 0xc2 && lead < 0xe0   ? 2
                           : lead >= 0xe0 && lead < 0xf0 ? 3
                           : lead >= 0xf0 && lead < 0xf5 ? 4
                                                         : 0;
  if (size == 0 || text.size() < size) return 0;
  // The second byte alone tells overlong forms, surrogates and values that are too large.
  const unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (byte(1) < low || byte(1) > high) return 0;
  for (std::size_t i = 2; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  return size;
}

char32_t decode_utf8(std::string_view sequence) noexcept {
  const auto byte = [sequence](std::size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(sequence[i]));
  };
  if (sequence.size() == 1) return byte(0);
  char32_t character = byte(0) & (0x7fu >> sequence.size());
  for (std::size_t i = 1; i < sequence.size(); ++i) character = character << 6 | (byte(i) & 0x3f);
  return character;
}

namespace {

std::string message_of(const Facts& facts) {
  std::string message = facts.what;
  if (!facts.file.empty()) message += ": " + facts.file;
  if (facts.offset) message += " at offset " + std::to_string(*facts.offset);
  if (!facts.got.empty()) message += ": got " + facts.got;
  if (!facts.wanted.empty()) message += (facts.got.empty() ? ": wanted " : ", wanted ") + facts.wanted;
  if (!facts.hint.empty()) message += "; " + facts.hint;
  return escape_controls(message);
}

// Of the format characters those that change how the text around them is shown (bidi embeddings, overrides, isolates
// and marks, line and paragraph separators, tags), and those that have no width.
bool is_unprintable(char32_t c) noexcept {
  struct Range {
    char32_t first;
    char32_t last;
  };
  static constexpr std::array ranges{Range{0x00, 0x1f},     Range{0x7f, 0x9f},  // C1: terminals take U+009B for ESC [
                                     Range{0xad, 0xad},     Range{0x61c, 0x61c},   Range{0x180e, 0x180e},
                                     Range{0x200b, 0x200f}, Range{0x2028, 0x202e}, Range{0x2060, 0x206f},
                                     Range{0xfeff, 0xfeff}, Range{0xfff9, 0xfffb}, Range{0xe0000, 0xe007f}};
  return std::ranges::any_of(ranges, [c](const Range& range) { return c >= range.first && c <= range.last; });
}

}  // namespace
}  // namespace tenon
