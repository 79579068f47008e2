#include <array>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "formats/pickle.h"
#include "formats/pickle_machine.h"
#include "tenon/error.h"

namespace tenon {

namespace {

using Machine = PickleMachine;
using Operation = void (*)(Machine&);
using Table = std::array<Operation, 256>;
using U8 = std::uint8_t;
using U16 = std::uint16_t;
using U32 = std::uint32_t;
using U64 = std::uint64_t;

constexpr void add_scalars(Table& t) {
  t['N'] = [](Machine& m) { m.push(m.graph().add_none()); };
  t[0x88] = [](Machine& m) { m.push(m.graph().add_boolean(true)); };
  t[0x89] = [](Machine& m) { m.push(m.graph().add_boolean(false)); };
  t['I'] = [](Machine& m) { m.push_integer_line(); };
  t['L'] = [](Machine& m) { m.push_long_line(); };
  t['J'] = [](Machine& m) { m.push(m.graph().add_integer(static_cast<std::int32_t>(m.take_little_endian<U32>()))); };
  t['K'] = [](Machine& m) { m.push(m.graph().add_integer(m.take_byte())); };
  t['M'] = [](Machine& m) { m.push(m.graph().add_integer(m.take_little_endian<U16>())); };
  t[0x8A] = [](Machine& m) { m.push(m.graph().add_long(m.take_counted<U8>())); };
  t[0x8B] = [](Machine& m) { m.push(m.graph().add_long(m.take_counted<U32>())); };
  t['F'] = [](Machine& m) { m.push_float_line(); };
  t['G'] = [](Machine& m) { m.push_binary_float(); };
}

constexpr void add_texts(Table& t) {
  t['S'] = [](Machine& m) { m.push_quoted_line(); };
  t['T'] = [](Machine& m) { m.push_python2_string(m.take_counted<U32>()); };
  t['U'] = [](Machine& m) { m.push_python2_string(m.take_counted<U8>()); };
  t['V'] = [](Machine& m) { m.push_escaped_line(); };
  t['X'] = [](Machine& m) { m.push_unicode(m.take_counted<U32>()); };
  t[0x8C] = [](Machine& m) { m.push_unicode(m.take_counted<U8>()); };
  t[0x8D] = [](Machine& m) { m.push_unicode(m.take_counted<U64>()); };
  t['B'] = [](Machine& m) { m.push_bytes(PickleKind::bytes, m.take_counted<U32>()); };
  t['C'] = [](Machine& m) { m.push_bytes(PickleKind::bytes, m.take_counted<U8>()); };
  t[0x8E] = [](Machine& m) { m.push_bytes(PickleKind::bytes, m.take_counted<U64>()); };
  t[0x96] = [](Machine& m) { m.push_bytes(PickleKind::bytearray, m.take_counted<U64>()); };
}

constexpr void add_containers(Table& t) {
  t[']'] = [](Machine& m) { m.push(m.graph().add_container(PickleKind::list)); };
  t['}'] = [](Machine& m) { m.push(m.graph().add_container(PickleKind::dict)); };
  t[0x8F] = [](Machine& m) { m.push(m.graph().add_container(PickleKind::set)); };
  t[')'] = [](Machine& m) { m.push_tuple(0); };
  t[0x85] = [](Machine& m) { m.push_tuple(1); };
  t[0x86] = [](Machine& m) { m.push_tuple(2); };
  t[0x87] = [](Machine& m) { m.push_tuple(3); };
  t['t'] = [](Machine& m) { m.push_fixed_to_mark(PickleKind::tuple); };
  t[0x91] = [](Machine& m) { m.push_fixed_to_mark(PickleKind::frozenset); };
  t['l'] = [](Machine& m) { m.push_list_to_mark(); };
  t['d'] = [](Machine& m) { m.push_dict_to_mark(); };
  t['a'] = [](Machine& m) { m.append(std::array{m.pop()}); };
  t['e'] = [](Machine& m) { m.append(m.pop_to_mark()); };
  t['s'] = [](Machine& m) { m.set_item(); };
  t['u'] = [](Machine& m) { m.set_items(m.pop_to_mark()); };
  t[0x90] = [](Machine& m) { m.add_items(m.pop_to_mark()); };
}

constexpr void add_stack_and_memo(Table& t) {
  t[0x80] = [](Machine& m) { m.check_protocol(); };
  t[0x95] = [](Machine& m) { m.check_frame(); };
  t['.'] = [](Machine& m) { m.stop(); };
  t['('] = [](Machine& m) { m.mark(); };
  t['0'] = [](Machine& m) { m.pop_one(); };
  t['1'] = [](Machine& m) { m.drop_to_mark(); };
  t['2'] = [](Machine& m) { m.push(m.top()); };
  t['p'] = [](Machine& m) { m.remember(m.take_text_index(), m.top()); };
  t['q'] = [](Machine& m) { m.remember(m.take_byte(), m.top()); };
  t['r'] = [](Machine& m) { m.remember(m.take_little_endian<U32>(), m.top()); };
  t[0x94] = [](Machine& m) { m.remember_next(m.top()); };
  t['g'] = [](Machine& m) { m.recall(m.take_text_index()); };
  t['h'] = [](Machine& m) { m.recall(m.take_byte()); };
  t['j'] = [](Machine& m) { m.recall(m.take_little_endian<U32>()); };
}

[[noreturn]] void refuse_extension(Machine& m) {
  m.fail(ErrorKind::unsupported, "pickle uses the extension registry (EXT), which lives outside the file");
}

[[noreturn]] void refuse_buffer(Machine& m) {
  m.fail(ErrorKind::unsupported, "pickle refers to out-of-band buffers, which are not in the file");
}

constexpr void add_objects(Table& t) {
  t['c'] = [](Machine& m) { m.push_global_lines(); };
  t[0x93] = [](Machine& m) { m.push_stack_global(); };
  t['P'] = [](Machine& m) { m.push_persistent_line(); };
  t['Q'] = [](Machine& m) { m.push_persistent(m.pop()); };
  t['R'] = [](Machine& m) { m.reduce(); };
  t[0x81] = [](Machine& m) { m.new_object(); };
  t[0x92] = [](Machine& m) { m.new_object_with_keywords(); };
  t['i'] = [](Machine& m) { m.instantiate_lines(); };
  t['o'] = [](Machine& m) { m.instantiate_stack(); };
  t['b'] = [](Machine& m) { m.build(); };
  for (const int extension : {0x82, 0x83, 0x84}) t[static_cast<std::size_t>(extension)] = refuse_extension;
  for (const int buffer : {0x97, 0x98}) t[static_cast<std::size_t>(buffer)] = refuse_buffer;
}

// By opcode; null where there is none.
constexpr Table operations = [] {
  Table table{};
  add_scalars(table);
  add_texts(table);
  add_containers(table);
  add_stack_and_memo(table);
  add_objects(table);
  return table;
}();

}  // namespace

PickleReadResult read_pickle(std::span<const std::byte> bytes, const PickleReadOptions& options) {
  Machine machine(bytes, options);
  while (!machine.is_stopped()) {
    const std::uint8_t opcode = machine.take_opcode();
    if (operations[opcode] == nullptr) machine.corrupt("unknown pickle opcode", fmt::format("{:#04x}", opcode));
    operations[opcode](machine);
  }
  return {std::move(machine.graph()), machine.cursor()};
}

}  // namespace tenon
