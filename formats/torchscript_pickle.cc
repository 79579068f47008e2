#include "formats/torchscript_pickle.h"

#include <bit>
#include <limits>

namespace tenon {

TorchScriptPickler::TorchScriptPickler() { opcodes("\x80\x02"); }

void TorchScriptPickler::integer(std::int64_t value) {
  if (value >= 0 && value <= 0xFF) {
    opcode('K');
    return little_endian(static_cast<std::uint64_t>(value), 1);
  }
  const bool is_short =
      value >= std::numeric_limits<std::int32_t>::min() && value <= std::numeric_limits<std::int32_t>::max();
  opcodes(is_short ? std::string_view("J") : std::string_view("\x8a\x08"));
  little_endian(static_cast<std::uint64_t>(value), is_short ? 4 : 8);
}

void TorchScriptPickler::floating(double value) {
  opcode('G');
  const auto bits = std::bit_cast<std::uint64_t>(value);
  for (int shift = 56; shift >= 0; shift -= 8) bytes_.push_back(static_cast<std::byte>(bits >> shift));
}

void TorchScriptPickler::string(std::string_view text) {
  const bool is_short = text.size() <= std::numeric_limits<std::uint32_t>::max();
  opcode(is_short ? 'X' : '\x8d');
  little_endian(text.size(), is_short ? 4 : 8);
  opcodes(text);
}

void TorchScriptPickler::global(std::string_view module, std::string_view name) {
  const auto [entry, is_new] = globals_.try_emplace({std::string(module), std::string(name)}, 0);
  if (!is_new) return recall(entry->second);
  opcode('c');
  opcodes(module);
  opcode('\n');
  opcodes(name);
  opcode('\n');
  entry->second = remember();
}

void TorchScriptPickler::integers(std::span<const std::int64_t> values) {
  begin_tuple();
  for (const std::int64_t value : values) integer(value);
  end_tuple();
}

void TorchScriptPickler::begin_instance(std::string_view module, std::string_view name) {
  global(module, name);
  opcodes(")\x81}(");
}

void TorchScriptPickler::hooks() {
  global("collections", "OrderedDict");
  opcodes(")R");
}

std::uint32_t TorchScriptPickler::remember() {
  numbered('q', 'r', next_number_);
  return next_number_++;
}

void TorchScriptPickler::recall(std::uint32_t number) { numbered('h', 'j', number); }

std::vector<std::byte> TorchScriptPickler::finish() {
  opcode('.');
  return std::move(bytes_);
}

void TorchScriptPickler::opcodes(std::string_view codes) {
  for (const char code : codes) opcode(code);
}

void TorchScriptPickler::little_endian(std::uint64_t value, std::size_t nbytes) {
  for (std::size_t i = 0; i < nbytes; ++i) bytes_.push_back(static_cast<std::byte>(value >> (8 * i)));
}

void TorchScriptPickler::numbered(char short_code, char long_code, std::uint32_t number) {
  const bool is_short = number <= 0xFF;
  opcode(is_short ? short_code : long_code);
  little_endian(number, is_short ? 1 : 4);
}

}  // namespace tenon
