#include <array>
#include <bit>
#include <cassert>
#include <cstring>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "formats/pickle.h"
#include "formats/pickle_text.h"
#include "tenon/error.h"

namespace tenon {

namespace {

// A stack machine, one method per family of opcodes. It builds nodes and nothing else.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, const PickleReadOptions& options) : bytes_(bytes), options_(options) {}

  PickleReadResult run() {
    while (!is_stopped_) {
      opcode_offset_ = cursor_;
      opcode_ = take_byte();
      step();
    }
    return {std::move(graph_), cursor_};
  }

 private:
  void step();
  bool step_scalar();
  bool step_text();
  bool step_container();
  bool step_stack();
  bool step_object();

  // Input. Every length is compared with what remains before anything is done with it.
  std::uint8_t take_byte() { return static_cast<std::uint8_t>(take(1)[0]); }
  std::string_view take(std::uint64_t length);
  std::string_view take_line();
  template <class Unsigned>
  Unsigned take_little_endian();
  template <class Unsigned>
  std::string_view take_counted() { return take(take_little_endian<Unsigned>()); }

  // The stack. Nothing below the last mark is visible.
  void push(NodeId id);
  NodeId pop();
  NodeId top() const;
  std::size_t floor() const noexcept { return marks_.empty() ? 0 : marks_.back(); }
  std::vector<NodeId> pop_to_mark();

  void mark();
  void pop_one();
  void pop_tuple(std::size_t count);
  void remember(std::uint64_t index, NodeId id);
  void recall(std::uint64_t index);
  std::uint64_t take_text_index();

  void push_integer_line();
  void push_long_line();
  void push_float_line();
  void push_binary_float();
  void push_python2_string(std::string_view bytes);
  void push_unicode(std::string_view text);
  void push_global(std::string_view module, std::string_view name);
  void push_stack_global();
  void push_persistent(NodeId id);

  void append(std::span<const NodeId> items);
  void set_items(std::span<const NodeId> items);
  void add_items(std::span<const NodeId> items);
  void build();
  void reduce();
  void new_object();
  void new_object_with_keywords();
  void instantiate(NodeId callable, std::span<const NodeId> args);
  std::optional<NodeId> native_value(NodeId callable, NodeId args);
  std::optional<NodeId> native_bytes(PickleKind kind, std::span<const NodeId> args);
  NodeId add_checked_tuple(std::span<const NodeId> items) { return graph_.add_fixed(PickleKind::tuple, items); }
  void charge_copy(std::size_t amount);

  [[noreturn]] void fail(ErrorKind kind, std::string what, std::string got = {}, std::string wanted = {}) const {
    throw Error(kind, {.what = std::move(what), .file = options_.file,
                       .offset = options_.base_offset + opcode_offset_, .got = std::move(got),
                       .wanted = std::move(wanted)});
  }
  [[noreturn]] void corrupt(std::string what, std::string got = {}, std::string wanted = {}) const {
    fail(ErrorKind::corrupt, std::move(what), std::move(got), std::move(wanted));
  }

  std::span<const std::byte> bytes_;
  const PickleReadOptions& options_;
  std::size_t cursor_ = 0;
  std::size_t opcode_offset_ = 0;
  std::uint8_t opcode_ = 0;
  bool is_stopped_ = false;
  std::size_t copied_ = 0;  // of nodes and bytes that memo references can make the input repeat
  std::size_t remembered_ = 0;
  PickleGraph graph_;
  std::vector<NodeId> stack_;
  std::vector<std::size_t> marks_;
  std::vector<NodeId> memo_;
};

constexpr std::uint8_t highest_protocol = 5;

void Reader::step() {
  if (step_scalar() || step_text() || step_container() || step_stack() || step_object()) return;
  switch (opcode_) {
    case 0x82: case 0x83: case 0x84:
      fail(ErrorKind::unsupported, "pickle uses the extension registry (EXT), which lives outside the file");
    case 0x97: case 0x98:
      fail(ErrorKind::unsupported, "pickle refers to out-of-band buffers, which are not in the file");
    default:
      corrupt("unknown pickle opcode", fmt::format("{:#04x}", opcode_));
  }
}

bool Reader::step_scalar() {
  switch (opcode_) {
    case 'N': push(graph_.add_none()); return true;
    case 0x88: push(graph_.add_boolean(true)); return true;
    case 0x89: push(graph_.add_boolean(false)); return true;
    case 'I': push_integer_line(); return true;
    case 'L': push_long_line(); return true;
    case 'J': push(graph_.add_integer(static_cast<std::int32_t>(take_little_endian<std::uint32_t>()))); return true;
    case 'K': push(graph_.add_integer(take_byte())); return true;
    case 'M': push(graph_.add_integer(take_little_endian<std::uint16_t>())); return true;
    case 0x8A: push(graph_.add_long(take_counted<std::uint8_t>())); return true;
    case 0x8B: push(graph_.add_long(take_counted<std::uint32_t>())); return true;
    case 'F': push_float_line(); return true;
    case 'G': push_binary_float(); return true;
    default: return false;
  }
}

bool Reader::step_text() {
  switch (opcode_) {
    case 'S': {
      const auto text = unescape_bytes(take_line());
      if (!text) corrupt("malformed quoted string in pickle");
      push_python2_string(*text);
      return true;
    }
    case 'T': push_python2_string(take_counted<std::uint32_t>()); return true;
    case 'U': push_python2_string(take_counted<std::uint8_t>()); return true;
    case 'V': {
      const auto text = unescape_unicode(take_line());
      if (!text) corrupt("malformed escaped string in pickle");
      push_unicode(*text);
      return true;
    }
    case 'X': push_unicode(take_counted<std::uint32_t>()); return true;
    case 0x8C: push_unicode(take_counted<std::uint8_t>()); return true;
    case 0x8D: push_unicode(take_counted<std::uint64_t>()); return true;
    case 'B': push(graph_.add_text(PickleKind::bytes, take_counted<std::uint32_t>())); return true;
    case 'C': push(graph_.add_text(PickleKind::bytes, take_counted<std::uint8_t>())); return true;
    case 0x8E: push(graph_.add_text(PickleKind::bytes, take_counted<std::uint64_t>())); return true;
    case 0x96: push(graph_.add_text(PickleKind::bytearray, take_counted<std::uint64_t>())); return true;
    default: return false;
  }
}

bool Reader::step_container() {
  switch (opcode_) {
    case ']': push(graph_.add_container(PickleKind::list)); return true;
    case '}': push(graph_.add_container(PickleKind::dict)); return true;
    case 0x8F: push(graph_.add_container(PickleKind::set)); return true;
    case ')': push(graph_.add_tuple({})); return true;
    case 0x85: pop_tuple(1); return true;
    case 0x86: pop_tuple(2); return true;
    case 0x87: pop_tuple(3); return true;
    case 't': push(add_checked_tuple(pop_to_mark())); return true;
    case 0x91: push(graph_.add_fixed(PickleKind::frozenset, pop_to_mark())); return true;
    case 'l': case 'd': {
      const auto items = pop_to_mark();
      push(graph_.add_container(opcode_ == 'l' ? PickleKind::list : PickleKind::dict));
      opcode_ == 'l' ? append(items) : set_items(items);
      return true;
    }
    case 'a': append(std::array{pop()}); return true;
    case 'e': append(pop_to_mark()); return true;
    case 's': {
      const NodeId value = pop();
      const NodeId key = pop();
      set_items(std::array{key, value});
      return true;
    }
    case 'u': set_items(pop_to_mark()); return true;
    case 0x90: add_items(pop_to_mark()); return true;
    default: return false;
  }
}

bool Reader::step_stack() {
  switch (opcode_) {
    case 0x80:
      if (const std::uint8_t protocol = take_byte(); protocol > highest_protocol) {
        fail(ErrorKind::unsupported, "pickle protocol is too new", std::to_string(protocol), "0 to 5");
      }
      return true;
    case 0x95:
      if (take_little_endian<std::uint64_t>() > bytes_.size() - cursor_) corrupt("pickle frame is longer than the file");
      return true;
    case '.':
      graph_.root = pop();
      is_stopped_ = true;
      return true;
    case '(': mark(); return true;
    case '0': pop_one(); return true;
    case '1': pop_to_mark(); return true;
    case '2': push(top()); return true;
    case 'p': remember(take_text_index(), top()); return true;
    case 'q': remember(take_byte(), top()); return true;
    case 'r': remember(take_little_endian<std::uint32_t>(), top()); return true;
    case 0x94: remember(remembered_, top()); return true;
    case 'g': recall(take_text_index()); return true;
    case 'h': recall(take_byte()); return true;
    case 'j': recall(take_little_endian<std::uint32_t>()); return true;
    default: return false;
  }
}

bool Reader::step_object() {
  switch (opcode_) {
    case 'c': {
      const std::string_view module = take_line();
      push_global(module, take_line());
      return true;
    }
    case 0x93: push_stack_global(); return true;
    case 'P': push_persistent(graph_.add_string(take_line())); return true;
    case 'Q': push_persistent(pop()); return true;
    case 'R': reduce(); return true;
    case 0x81: new_object(); return true;
    case 0x92: new_object_with_keywords(); return true;
    case 'b': build(); return true;
    case 'i': {
      const std::string_view module = take_line();
      const std::string_view name = take_line();
      const auto args = pop_to_mark();
      instantiate(graph_.add_global(module, name), args);
      return true;
    }
    case 'o': {
      const auto items = pop_to_mark();
      if (items.empty()) corrupt("pickle makes an instance (OBJ) without a class");
      instantiate(items[0], std::span(items).subspan(1));
      return true;
    }
    default: return false;
  }
}

std::string_view Reader::take(std::uint64_t length) {
  const std::size_t remaining = bytes_.size() - cursor_;
  if (length > remaining) {
    corrupt("pickle ends early", fmt::format("{} bytes", remaining), fmt::format("{} bytes", length));
  }
  const auto* begin = reinterpret_cast<const char*>(bytes_.data()) + cursor_;
  cursor_ += static_cast<std::size_t>(length);
  return {begin, static_cast<std::size_t>(length)};
}

std::string_view Reader::take_line() {
  const std::string_view rest(reinterpret_cast<const char*>(bytes_.data()) + cursor_, bytes_.size() - cursor_);
  const std::size_t length = rest.find('\n');
  if (length == std::string_view::npos) corrupt("pickle ends within a line");
  cursor_ += length + 1;
  return rest.substr(0, length);
}

template <class Unsigned>
Unsigned Reader::take_little_endian() {
  const std::string_view raw = take(sizeof(Unsigned));
  Unsigned value = 0;
  for (std::size_t i = raw.size(); i-- > 0;) {
    value = static_cast<Unsigned>((static_cast<std::uint64_t>(value) << 8) | static_cast<unsigned char>(raw[i]));
  }
  return value;
}

void Reader::push(NodeId id) {
  if (graph_.size() > options_.max_nodes) {
    fail(ErrorKind::limit, "pickle holds too many values", fmt::format("more than {}", options_.max_nodes));
  }
  stack_.push_back(id);
}

NodeId Reader::pop() {
  const NodeId id = top();
  stack_.pop_back();
  return id;
}

NodeId Reader::top() const {
  if (stack_.size() <= floor()) corrupt("pickle takes a value from an empty stack");
  return stack_.back();
}

void Reader::mark() {
  if (marks_.size() >= options_.max_marks) {
    fail(ErrorKind::limit, "pickle nests too deeply", fmt::format("more than {} levels", options_.max_marks));
  }
  marks_.push_back(stack_.size());
}

std::vector<NodeId> Reader::pop_to_mark() {
  if (marks_.empty()) corrupt("pickle lacks the mark that begins a container");
  std::vector<NodeId> items(stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back()), stack_.end());
  stack_.resize(marks_.back());
  marks_.pop_back();
  return items;
}

void Reader::pop_one() {
  if (!marks_.empty() && stack_.size() == marks_.back()) {
    marks_.pop_back();
  } else {
    pop();
  }
}

void Reader::pop_tuple(std::size_t count) {
  std::array<NodeId, 3> items{};
  for (std::size_t i = count; i-- > 0;) items[i] = pop();
  push(add_checked_tuple(std::span(items).first(count)));
}

// Real memos are dense, so an index cannot exceed the length of the pickle; a vector then serves.
void Reader::remember(std::uint64_t index, NodeId id) {
  if (index > bytes_.size()) fail(ErrorKind::limit, "pickle memo index is too large", std::to_string(index));
  if (index >= memo_.size()) memo_.resize(static_cast<std::size_t>(index) + 1, no_node);
  if (memo_[index] == no_node) ++remembered_;
  memo_[index] = id;
}

void Reader::recall(std::uint64_t index) {
  if (index >= memo_.size() || memo_[index] == no_node) {
    corrupt("pickle refers to a value it never remembered", std::to_string(index));
  }
  push(memo_[index]);
}

std::uint64_t Reader::take_text_index() {
  const std::string_view line = take_line();
  if (line.empty() || line.size() > 10) corrupt("malformed memo index in pickle");
  std::uint64_t index = 0;
  for (const char c : line) {
    if (c < '0' || c > '9') corrupt("malformed memo index in pickle");
    index = index * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return index;
}

void Reader::push_integer_line() {
  const std::string_view line = take_line();
  if (line == "00" || line == "01") return push(graph_.add_boolean(line == "01"));
  const auto value = parse_decimal(line);
  if (!value) corrupt("malformed integer in pickle");
  push(graph_.add_long(*value));
}

void Reader::push_long_line() {
  std::string_view line = take_line();
  if (line.ends_with('L')) line.remove_suffix(1);
  const auto value = parse_decimal(line);
  if (!value) corrupt("malformed integer in pickle");
  push(graph_.add_long(*value));
}

void Reader::push_float_line() {
  const auto value = parse_double(take_line());
  if (!value) corrupt("malformed float in pickle");
  push(graph_.add_floating(*value));
}

void Reader::push_binary_float() {
  std::uint64_t bits = 0;
  for (const char c : take(8)) bits = (bits << 8) | static_cast<unsigned char>(c);
  push(graph_.add_floating(std::bit_cast<double>(bits)));
}

void Reader::push_python2_string(std::string_view bytes) {
  push(graph_.add_text(is_utf8(bytes) ? PickleKind::string : PickleKind::bytes, bytes));
}

void Reader::push_unicode(std::string_view text) {
  if (!is_utf8(text)) corrupt("string in pickle is not UTF-8");
  push(graph_.add_string(text));
}

void Reader::push_global(std::string_view module, std::string_view name) {
  if (module.empty() || name.empty()) corrupt("pickle names a global without a module or a name");
  push(graph_.add_global(module, name));
}

// Dotted names reach attributes of attributes; protocol 2 cannot say them, and no tensor file needs them.
void Reader::push_stack_global() {
  const NodeId name = pop();
  const NodeId module = pop();
  if (!graph_.is(name, PickleKind::string) || !graph_.is(module, PickleKind::string)) {
    corrupt("pickle names a global by something that is not a string");
  }
  charge_copy(graph_.text(name).size() + graph_.text(module).size());
  const std::string module_text(graph_.text(module));
  const std::string name_text(graph_.text(name));
  if ((module_text + name_text).find('\n') != std::string::npos) corrupt("pickle names a global with a line feed");
  if (name_text.find('.') != std::string::npos) {
    fail(ErrorKind::unsupported, "pickle names a nested attribute as a global", module_text + " " + name_text);
  }
  push_global(module_text, name_text);
}

void Reader::push_persistent(NodeId id) {
  push(options_.persistent ? options_.persistent(graph_, id) : graph_.add_persistent(id));
}

// What a memo reference lets a short input repeat is bounded by the length of the input.
void Reader::charge_copy(std::size_t amount) {
  copied_ += amount;
  if (copied_ > 4 * bytes_.size() + 4096) fail(ErrorKind::limit, "pickle repeats its own values too often");
}

void Reader::append(std::span<const NodeId> items) {
  const NodeId target = top();
  if (graph_.is(target, PickleKind::list)) {
    auto& list = graph_.mutable_items(target);
    list.insert(list.end(), items.begin(), items.end());
  } else if (graph_.is(target, PickleKind::object)) {
    auto& list = graph_.mutable_object(target).list_items;
    list.insert(list.end(), items.begin(), items.end());
  } else {
    corrupt("pickle appends to something that is not a list");
  }
}

void Reader::set_items(std::span<const NodeId> items) {
  const NodeId target = top();
  if (items.size() % 2 != 0) corrupt("pickle gives a dict a key without a value");
  if (graph_.is(target, PickleKind::dict)) {
    auto& dict = graph_.mutable_items(target);
    dict.insert(dict.end(), items.begin(), items.end());
  } else if (graph_.is(target, PickleKind::object)) {
    auto& dict = graph_.mutable_object(target).dict_items;
    dict.insert(dict.end(), items.begin(), items.end());
  } else {
    corrupt("pickle sets an item of something that is not a dict");
  }
}

void Reader::add_items(std::span<const NodeId> items) {
  const NodeId target = top();
  if (!graph_.is(target, PickleKind::set)) corrupt("pickle adds an item to something that is not a set");
  auto& set = graph_.mutable_items(target);
  set.insert(set.end(), items.begin(), items.end());
}

void Reader::build() {
  const NodeId state = pop();
  const NodeId target = top();
  if (!graph_.is(target, PickleKind::object)) corrupt("pickle gives state to something that is not an object");
  auto& instance = graph_.mutable_object(target);
  if (instance.state != no_node) fail(ErrorKind::unsupported, "pickle gives one object its state twice");
  instance.state = state;
}

void Reader::reduce() {
  const NodeId args = pop();
  const NodeId callable = pop();
  if (!graph_.is(args, PickleKind::tuple)) corrupt("pickle calls with arguments that are not a tuple");
  const auto native = native_value(callable, args);
  push(native ? *native : graph_.add_object(callable, args));
}

void Reader::new_object() {
  const NodeId args = pop();
  const NodeId callable = pop();
  if (!graph_.is(args, PickleKind::tuple)) corrupt("pickle makes an instance with arguments that are not a tuple");
  push(graph_.add_object(callable, args, true));
}

// Kept as the call that protocol 2 uses for the same thing.
void Reader::new_object_with_keywords() {
  const NodeId keywords = pop();
  const NodeId args = pop();
  const NodeId callable = pop();
  if (!graph_.is(args, PickleKind::tuple) || !graph_.is(keywords, PickleKind::dict)) {
    corrupt("pickle makes an instance with malformed arguments");
  }
  const NodeId function = graph_.add_global("copy_reg", "__newobj_ex__");
  push(graph_.add_object(function, graph_.add_tuple({callable, args, keywords})));
}

// INST and OBJ: Python makes a bare instance where there are no arguments, and calls the class otherwise.
void Reader::instantiate(NodeId callable, std::span<const NodeId> args) {
  push(graph_.add_object(callable, add_checked_tuple(args), args.empty()));
}

std::optional<NodeId> Reader::native_value(NodeId callable, NodeId args) {
  if (!graph_.is(callable, PickleKind::global)) return std::nullopt;
  const std::string_view module = graph_.global_module(callable);
  const std::string_view name = graph_.global_name(callable);
  const auto items = graph_.items(args);
  if (module == "_codecs" && name == "encode") return native_bytes(PickleKind::bytes, items);
  if (module != "__builtin__" && module != "builtins") return std::nullopt;
  if (name == "bytearray") return native_bytes(PickleKind::bytearray, items);
  if ((name != "set" && name != "frozenset") || items.size() != 1) return std::nullopt;
  if (!graph_.is(items[0], PickleKind::list)) return std::nullopt;
  const std::vector<NodeId> members(graph_.items(items[0]).begin(), graph_.items(items[0]).end());
  charge_copy(members.size());
  if (name == "frozenset") return graph_.add_fixed(PickleKind::frozenset, members);
  const NodeId set = graph_.add_container(PickleKind::set);
  graph_.mutable_items(set) = members;
  return set;
}

// bytearray(b'..'), bytearray('..', 'latin-1') and encode('..', 'latin1').
std::optional<NodeId> Reader::native_bytes(PickleKind kind, std::span<const NodeId> args) {
  if (args.empty()) return kind == PickleKind::bytearray ? std::optional(graph_.add_text(kind, {})) : std::nullopt;
  if (args.size() == 1 && kind == PickleKind::bytearray && graph_.is(args[0], PickleKind::bytes)) {
    charge_copy(graph_.text(args[0]).size());
    return graph_.add_text(kind, std::string(graph_.text(args[0])));
  }
  if (args.size() != 2 || !graph_.is(args[0], PickleKind::string) || !graph_.is(args[1], PickleKind::string)) {
    return std::nullopt;
  }
  const std::string_view encoding = graph_.text(args[1]);
  if (encoding != "latin1" && encoding != "latin-1") return std::nullopt;
  charge_copy(graph_.text(args[0]).size());
  const auto bytes = utf8_to_latin1(graph_.text(args[0]));
  if (!bytes) corrupt("bytes in pickle hold a character that is no byte");
  return graph_.add_text(kind, *bytes);
}

}  // namespace

PickleReadResult read_pickle(std::span<const std::byte> bytes, const PickleReadOptions& options) {
  return Reader(bytes, options).run();
}

}  // namespace tenon
