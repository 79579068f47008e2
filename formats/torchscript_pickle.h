// Writes pickles with the opcodes that TorchScript's reader knows, in the order in which it expects them: an instance
// is remembered only once it has its state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tenon {

class TorchScriptPickler {
 public:
  TorchScriptPickler();

  void none() { opcode('N'); }
  void boolean(bool value) { opcode(value ? '\x88' : '\x89'); }
  void integer(std::int64_t value);
  void floating(double value);
  void string(std::string_view text);
  void global(std::string_view module, std::string_view name);
  void integers(std::span<const std::int64_t> values);  // a tuple

  // What is written between them are the items.
  void begin_tuple() { opcode('('); }
  void end_tuple() { opcode('t'); }
  void begin_list() { opcodes("]("); }
  void end_list() { opcode('e'); }
  void begin_dict() { opcodes("}("); }
  void end_dict() { opcode('u'); }
  void begin_instance(std::string_view module, std::string_view name);  // attributes follow, name and value
  void end_instance() { opcodes("ub"); }
  void call() { opcode('R'); }        // of a global with the tuple after it
  void persistent() { opcode('Q'); }  // by the tuple before it
  void hooks();                       // none

  // What was written last gets a number, by which it can be written again.
  std::uint32_t remember();
  void recall(std::uint32_t number);

  std::vector<std::byte> finish();

 private:
  void opcode(char code) { bytes_.push_back(static_cast<std::byte>(code)); }
  void opcodes(std::string_view codes);
  void little_endian(std::uint64_t value, std::size_t nbytes);
  void numbered(char short_code, char long_code, std::uint32_t number);

  std::vector<std::byte> bytes_;
  std::uint32_t next_number_ = 0;
  std::map<std::pair<std::string, std::string>, std::uint32_t> globals_;
};

}  // namespace tenon
