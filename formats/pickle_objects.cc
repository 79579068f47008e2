// What a PickleMachine does for classes, calls and instances.
#include <string>
#include <vector>

#include <fmt/format.h>

#include "formats/latin1_text.h"
#include "formats/pickle_machine.h"
#include "formats/pickle_text.h"

namespace tenon {

namespace {

constexpr std::uint8_t first_protocol_with_nested_names = 4;

}  // namespace

void PickleMachine::push_global_lines() {
  const std::string_view module = take_line();
  push_global(module, take_line());
}

void PickleMachine::push_global(std::string_view module, std::string_view name) { push(add_global(module, name)); }

NodeId PickleMachine::add_global(std::string_view module, std::string_view name) {
  if (module.empty() || name.empty()) corrupt("pickle names a global without a module or a name");
  if (options_.on_global) options_.on_global(module, name);
  const auto has_line_feed = [](std::string_view text) { return text.find('\n') != std::string_view::npos; };
  if (has_line_feed(module) || has_line_feed(name)) corrupt("pickle names a global with a line feed");
  if (name.find('.') != std::string_view::npos && protocol_ < first_protocol_with_nested_names) {
    fail(ErrorKind::unsupported, "pickle names a nested attribute before protocol 4",
         fmt::format("{} {}", module, name));
  }
  return graph_.add_global(module, name);
}

// A dotted name reaches an attribute of an attribute: a nested class.
void PickleMachine::push_stack_global() {
  const NodeId name = pop();
  const NodeId module = pop();
  if (!graph_.is(name, PickleKind::string) || !graph_.is(module, PickleKind::string)) {
    corrupt("pickle names a global by something that is not a string");
  }
  charge_copy(graph_.text(name).size() + graph_.text(module).size());
  const std::string module_text(graph_.text(module));
  const std::string name_text(graph_.text(name));
  push_global(module_text, name_text);
}

void PickleMachine::push_persistent(NodeId id) {
  push(options_.persistent ? options_.persistent(graph_, id) : graph_.add_persistent(id));
}

void PickleMachine::push_persistent_line() {
  const std::string_view text = take_line();
  if (options_.text_id_hint.empty()) return push_persistent(graph_.add_string(text));
  throw Error(ErrorKind::unsupported, {.what = "pickle of protocol 0 has lost what it refers to",
                                       .file = options_.file,
                                       .offset = options_.base_offset + opcode_offset_,
                                       .got = std::string(text.substr(0, 200)),
                                       .hint = options_.text_id_hint});
}

// What a memo reference lets a short input repeat is bounded by the length of the input.
void PickleMachine::charge_copy(std::size_t amount) {
  copied_ += amount;
  if (copied_ > 4 * bytes_.size() + 4096) fail(ErrorKind::limit, "pickle repeats its own values too often");
}

void PickleMachine::build() {
  const NodeId state = pop();
  const NodeId target = top();
  if (!graph_.is(target, PickleKind::object)) corrupt("pickle gives state to something that is not an object");
  auto& instance = graph_.mutable_object(target);
  if (instance.state != no_node) fail(ErrorKind::unsupported, "pickle gives one object its state twice");
  instance.state = state;
}

void PickleMachine::reduce() {
  NodeId args = pop();
  const NodeId callable = pop();
  if (options_.is_torchscript && !graph_.is(args, PickleKind::tuple)) args = graph_.add_tuple({args});
  if (!graph_.is(args, PickleKind::tuple)) corrupt("pickle calls with arguments that are not a tuple");
  const auto native = native_value(callable, args);
  push(native ? *native : graph_.add_object(callable, args));
}

void PickleMachine::new_object() {
  const NodeId args = pop();
  const NodeId callable = pop();
  if (!graph_.is(args, PickleKind::tuple)) corrupt("pickle makes an instance with arguments that are not a tuple");
  push(graph_.add_object(callable, args, true));
}

// Kept as the call that protocol 2 uses for the same thing.
void PickleMachine::new_object_with_keywords() {
  const NodeId keywords = pop();
  const NodeId args = pop();
  const NodeId callable = pop();
  if (!graph_.is(args, PickleKind::tuple) || !graph_.is(keywords, PickleKind::dict)) {
    corrupt("pickle makes an instance with malformed arguments");
  }
  const NodeId function = graph_.add_global("copy_reg", "__newobj_ex__");
  push(graph_.add_object(function, graph_.add_tuple({callable, args, keywords})));
}

void PickleMachine::instantiate_lines() {
  const std::string_view module = take_line();
  const std::string_view name = take_line();
  const auto args = pop_to_mark();
  instantiate(add_global(module, name), args);
}

void PickleMachine::instantiate_stack() {
  const auto items = pop_to_mark();
  if (items.empty()) corrupt("pickle makes an instance (OBJ) without a class");
  instantiate(items[0], std::span(items).subspan(1));
}

// INST and OBJ: Python makes a bare instance where there are no arguments, and calls the class otherwise.
void PickleMachine::instantiate(NodeId callable, std::span<const NodeId> args) {
  push(graph_.add_object(callable, graph_.add_fixed(PickleKind::tuple, args), args.empty()));
}

std::optional<NodeId> PickleMachine::native_value(NodeId callable, NodeId args) {
  if (!graph_.is(callable, PickleKind::global)) return std::nullopt;
  const std::string_view module = graph_.global_module(callable);
  const std::string_view name = graph_.global_name(callable);
  const auto items = graph_.items(args);
  if (module == "_codecs" && name == "encode") return native_bytes(PickleKind::bytes, items);
  if (module == "collections" && name == "OrderedDict") return native_ordered_dict(callable, items);
  if (module != "__builtin__" && module != "builtins") return std::nullopt;
  if (name == "bytearray") return native_bytes(PickleKind::bytearray, items);
  if (name == "bytes" && items.empty()) return graph_.add_text(PickleKind::bytes, {});
  if ((name != "set" && name != "frozenset") || items.size() != 1) return std::nullopt;
  if (!graph_.is(items[0], PickleKind::list)) return std::nullopt;
  const std::vector<NodeId> members(graph_.items(items[0]).begin(), graph_.items(items[0]).end());
  charge_copy(members.size());
  if (name == "frozenset") return graph_.add_fixed(PickleKind::frozenset, members);
  const NodeId set = graph_.add_container(PickleKind::set);
  add_to(graph_.mutable_items(set), members);
  return set;
}

// OrderedDict([[key, value], ...]), as Python 2 had it, is made as Python 3 does: empty, then filled.
std::optional<NodeId> PickleMachine::native_ordered_dict(NodeId callable, std::span<const NodeId> args) {
  if (args.size() != 1 || !graph_.is(args[0], PickleKind::list)) return std::nullopt;
  charge_copy(graph_.items(args[0]).size());
  std::vector<NodeId> pairs;
  for (const NodeId pair : graph_.items(args[0])) {
    const auto items = graph_.items(pair);
    const bool is_pair = graph_.is(pair, PickleKind::list) || graph_.is(pair, PickleKind::tuple);
    if (!is_pair || items.size() != 2) return std::nullopt;
    pairs.insert(pairs.end(), items.begin(), items.end());
  }
  check_memory(2 * pairs.size() * sizeof(NodeId));
  const NodeId dict = graph_.add_object(callable, graph_.add_tuple({}));
  add_to(graph_.mutable_object(dict).dict_items, pairs);
  return dict;
}

// bytearray(b'..'), bytearray('..', 'latin-1') and encode('..', 'latin1').
std::optional<NodeId> PickleMachine::native_bytes(PickleKind kind, std::span<const NodeId> args) {
  if (args.empty()) return kind == PickleKind::bytearray ? std::optional(graph_.add_text(kind, {})) : std::nullopt;
  if (args.size() == 1 && kind == PickleKind::bytearray && graph_.is(args[0], PickleKind::bytes)) {
    charge_copy(graph_.text_bytes(args[0]));
    const auto encoded = graph_.encoded_bytes(args[0]);
    if (encoded) return graph_.add_encoded_bytes(kind, *encoded, graph_.text_bytes(args[0]));
    return graph_.add_text(kind, graph_.text(args[0]));
  }
  if (args.size() != 2 || !graph_.is(args[0], PickleKind::string) || !graph_.is(args[1], PickleKind::string)) {
    return std::nullopt;
  }
  const std::string_view encoding = graph_.text(args[1]);
  if (encoding != "latin1" && encoding != "latin-1") return std::nullopt;
  const std::string_view utf8 = graph_.text(args[0]);
  charge_copy(utf8.size());
  const auto nbytes = count_latin1(utf8);
  if (!nbytes) corrupt("bytes in pickle hold a character that is no byte");
  if (utf8.size() >= long_text_bytes) return graph_.add_encoded_bytes(kind, utf8, *nbytes);
  return graph_.add_text(kind, *utf8_to_latin1(utf8));
}

}  // namespace tenon
