// A pickle of protocol 2 as it is written: opcodes of values that need no other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/pickle.h"

namespace tenon {

class PickleOutput {
 public:
  void reserve(std::size_t bytes) { out_.reserve(bytes); }
  std::vector<std::byte> take() { return std::move(out_); }

  void put(char c) { out_.push_back(static_cast<std::byte>(c)); }
  void put(std::string_view text);
  void put_little_endian(std::uint64_t value, int bytes);

  void put_integer(std::int64_t value);
  void put_long(std::string_view twos_complement);
  void put_floating(double value);
  void put_string(std::string_view utf8);
  // The letters of `nbytes` bytes, as a string. What `send` throws is thrown on.
  void put_latin1(std::uint64_t nbytes, const PickleGraph::SendBytes& send);
  void put_global(std::string_view module, std::string_view name);

 private:
  void put_letter(unsigned char letter);

  std::vector<std::byte> out_;
};

}  // namespace tenon
