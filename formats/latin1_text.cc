#include "formats/latin1_text.h"

#include <algorithm>

namespace tenon {

namespace {

constexpr std::uint64_t step_bytes = std::uint64_t{64} << 10;
constexpr unsigned char last_lead_byte = 0xC3;  // of letters up to U+00FF

bool is_long(char lead) noexcept { return static_cast<unsigned char>(lead) >= 0x80; }

std::byte letter_at(std::string_view utf8, std::uint64_t place) noexcept {
  const auto lead = static_cast<unsigned char>(utf8[place]);
  if (lead < 0x80) return std::byte{lead};
  return static_cast<std::byte>(((lead & 0x03u) << 6) | (static_cast<unsigned char>(utf8[place + 1]) & 0x3Fu));
}

}  // namespace

std::optional<std::uint64_t> count_latin1(std::string_view utf8) noexcept {
  std::uint64_t count = 0;
  for (std::size_t place = 0; place < utf8.size(); ++count) {
    if (static_cast<unsigned char>(utf8[place]) > last_lead_byte) return std::nullopt;
    place += is_long(utf8[place]) ? 2 : 1;
  }
  return count;
}

void decode_latin1(std::string_view utf8, const std::function<void(std::span<const std::byte>)>& sink) {
  std::vector<std::byte> piece;
  piece.reserve(std::min<std::size_t>(step_bytes, utf8.size()));
  for (std::size_t place = 0; place < utf8.size(); place += is_long(utf8[place]) ? 2 : 1) {
    if (piece.size() == step_bytes) {
      sink(piece);
      piece.clear();
    }
    piece.push_back(letter_at(utf8, place));
  }
  sink(piece);
}

Latin1Text::Latin1Text(std::string_view utf8) : utf8_(utf8) {
  std::uint64_t count = 0;
  for (std::uint64_t place = 0; place < utf8.size(); ++count) {
    if (count % step_bytes == 0) places_.push_back(place);
    place += is_long(utf8[place]) ? 2 : 1;
  }
}

void Latin1Text::read(std::uint64_t offset, std::span<std::byte> out) const noexcept {
  if (out.empty()) return;
  std::uint64_t place = places_[offset / step_bytes];
  for (std::uint64_t skipped = offset % step_bytes; skipped > 0; --skipped) place += is_long(utf8_[place]) ? 2 : 1;
  for (std::byte& byte : out) {
    byte = letter_at(utf8_, place);
    place += is_long(utf8_[place]) ? 2 : 1;
  }
}

}  // namespace tenon
