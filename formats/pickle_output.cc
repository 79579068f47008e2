#include "formats/pickle_output.h"

#include <bit>
#include <limits>
#include <span>
#include <string>

namespace tenon {

void PickleOutput::put(std::string_view text) {
  const auto* begin = reinterpret_cast<const std::byte*>(text.data());
  out_.insert(out_.end(), begin, begin + text.size());
}

void PickleOutput::put_little_endian(std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) put(static_cast<char>((value >> (8 * i)) & 0xFFu));
}

void PickleOutput::put_integer(std::int64_t value) {
  if (value >= 0 && value <= 0xFF) {
    put('K');
    put_little_endian(static_cast<std::uint64_t>(value), 1);
  } else if (value >= 0 && value <= 0xFFFF) {
    put('M');
    put_little_endian(static_cast<std::uint64_t>(value), 2);
  } else if (value >= std::numeric_limits<std::int32_t>::min() && value <= std::numeric_limits<std::int32_t>::max()) {
    put('J');
    put_little_endian(static_cast<std::uint64_t>(value), 4);
  } else {
    std::string bytes;
    std::int64_t rest = value;
    do {
      bytes.push_back(static_cast<char>(rest & 0xFF));
      rest >>= 8;
    } while (!(rest == 0 && (bytes.back() & 0x80) == 0) && !(rest == -1 && (bytes.back() & 0x80) != 0));
    put_long(bytes);
  }
}

void PickleOutput::put_long(std::string_view twos_complement) {
  const bool is_short = twos_complement.size() <= 0xFF;
  put(is_short ? '\x8A' : '\x8B');
  put_little_endian(twos_complement.size(), is_short ? 1 : 4);
  put(twos_complement);
}

// The one number that is big-endian.
void PickleOutput::put_floating(double value) {
  put('G');
  const auto bits = std::bit_cast<std::uint64_t>(value);
  for (int shift = 56; shift >= 0; shift -= 8) put(static_cast<char>((bits >> shift) & 0xFFu));
}

void PickleOutput::put_string(std::string_view utf8) {
  const bool is_large = utf8.size() > 0xFFFFFFFFu;
  put(is_large ? '\x8D' : 'X');
  put_little_endian(utf8.size(), is_large ? 8 : 4);
  put(utf8);
}

// They may be those of a large array: a piece of them at a time. How long they are in UTF-8 is known at the end.
void PickleOutput::put_latin1(std::uint64_t nbytes, const PickleGraph::SendBytes& send) {
  const bool is_large = nbytes > 0x7FFFFFFFu;
  const int length_bytes = is_large ? 8 : 4;
  put(is_large ? '\x8D' : 'X');
  const std::size_t length_at = out_.size();
  put_little_endian(0, length_bytes);
  const std::size_t begin = out_.size();
  send([&](std::span<const std::byte> piece) {
    for (const std::byte letter : piece) put_letter(std::to_integer<unsigned char>(letter));
  });
  const std::uint64_t written = out_.size() - begin;
  for (int i = 0; i < length_bytes; ++i) {
    out_[length_at + static_cast<std::size_t>(i)] = static_cast<std::byte>((written >> (8 * i)) & 0xFFu);
  }
}

void PickleOutput::put_letter(unsigned char letter) {
  if (letter >= 0x80) put(static_cast<char>(0xC0u | (letter >> 6)));
  put(static_cast<char>(letter >= 0x80 ? 0x80u | (letter & 0x3Fu) : letter));
}

// Protocol 2 has no names of nested classes. Python asks for the protocol that was announced last.
void PickleOutput::put_global(std::string_view module, std::string_view name) {
  if (name.find('.') != std::string_view::npos) {
    put("\x80\x04");
    put_string(module);
    put_string(name);
    return put("\x93\x80\x02");
  }
  put('c');
  put(module);
  put('\n');
  put(name);
  put('\n');
}

}  // namespace tenon
