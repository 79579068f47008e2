// Bytes as protocol 2 has them, one letter each in UTF-8 (latin1), read without making them whole: a numpy array in a
// pickle would be in memory twice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace tenon {

// nullopt if a letter is no byte. REQUIRES: `utf8` is UTF-8, here and below.
std::optional<std::uint64_t> count_latin1(std::string_view utf8) noexcept;

// Sends the bytes in order, a piece at a time. REQUIRES: every letter is a byte, here and below.
void decode_latin1(std::string_view utf8, const std::function<void(std::span<const std::byte>)>& sink);

// Borrows `utf8`. Threads: read from several.
class Latin1Text {
 public:
  explicit Latin1Text(std::string_view utf8);

  // REQUIRES: the range is in the bytes.
  void read(std::uint64_t offset, std::span<std::byte> out) const noexcept;

 private:
  std::string_view utf8_;
  std::vector<std::uint64_t> places_;  // in utf8_, of every 65,536th byte
};

}  // namespace tenon
