#include "tenon/error.h"

#include <cassert>
#include <cstddef>
#include <string_view>
#include <utility>

#include "mmap/printable.h"

namespace tenon {
namespace {

std::string message_of(const Facts& facts);
std::size_t utf8_sequence_bytes(std::string_view text) noexcept;
bool is_control(std::string_view sequence) noexcept;

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
    if (valid_bytes != 0 && !is_control(sequence)) {
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

// Length of the well-formed UTF-8 sequence that `text` begins with (no overlong form, surrogate or value past
// U+10FFFF), 0 if there is none. REQUIRES: text is not empty.
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

bool is_control(std::string_view sequence) noexcept {
  const auto lead = static_cast<unsigned char>(sequence[0]);
  if (sequence.size() == 1) return lead < 0x20 || lead == 0x7f;
  return lead == 0xc2 && static_cast<unsigned char>(sequence[1]) < 0xa0;  // C1: terminals take U+009B for ESC [
}

}  // namespace
}  // namespace tenon
