// The stack machine that reads pickles: what each family of opcodes does. Which opcode does what stands in
// pickle_reader.cc. It builds nodes and nothing else.
//
// Errors: as read_pickle. Every method that takes input compares its length with what remains first.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/pickle.h"
#include "tenon/error.h"

namespace tenon {

class PickleMachine {
 public:
  static constexpr std::size_t long_text_bytes = std::size_t{64} << 10;  // from here on, texts are not copied

  PickleMachine(std::span<const std::byte> bytes, const PickleReadOptions& options)
      : bytes_(bytes),
        options_(options),
        memory_max_(options.max_memory_bytes != 0 ? options.max_memory_bytes : pickle_memory_max(bytes.size())) {}

  bool is_stopped() const noexcept { return is_stopped_; }
  PickleGraph& graph() noexcept { return graph_; }
  std::size_t cursor() const noexcept { return cursor_; }

  // Input.
  std::uint8_t take_opcode();
  std::uint8_t take_byte() { return static_cast<std::uint8_t>(take(1)[0]); }
  std::string_view take(std::uint64_t length);
  std::string_view take_line();  // without its line feed
  template <class Unsigned>
  Unsigned take_little_endian();
  template <class Unsigned>
  std::string_view take_counted() {  // bytes after their length
    return take(take_little_endian<Unsigned>());
  }

  // Stack and memo. Nothing below the last mark is visible.
  void push(NodeId id);
  NodeId pop();
  NodeId top() const;
  void mark();
  std::vector<NodeId> pop_to_mark();
  void drop_to_mark();
  void pop_one();  // a value, or a mark
  void remember(std::uint64_t index, NodeId id);
  void remember_next(NodeId id) { remember(remembered_, id); }
  void recall(std::uint64_t index);
  std::uint64_t take_text_index();
  void check_protocol();
  void check_frame();
  void stop();

  // Values.
  void push_integer_line();
  void push_long_line();
  void push_float_line();
  void push_binary_float();
  void push_quoted_line();
  void push_escaped_line();
  void push_python2_string(std::string_view bytes);
  void push_unicode(std::string_view text);
  void push_bytes(PickleKind kind, std::string_view bytes) { push(add_text(kind, bytes)); }

  // Containers.
  void push_tuple(std::size_t count);
  void push_fixed_to_mark(PickleKind kind);
  void push_list_to_mark();
  void push_dict_to_mark();
  void append(std::span<const NodeId> items);
  void set_item();
  void set_items(std::span<const NodeId> items);
  void add_items(std::span<const NodeId> items);

  // Objects.
  void push_global_lines();
  void push_stack_global();
  void push_persistent(NodeId id);
  void push_persistent_line();
  void reduce();
  void new_object();
  void new_object_with_keywords();
  void instantiate_lines();  // INST
  void instantiate_stack();  // OBJ
  void build();

  [[noreturn]] void fail(ErrorKind kind, std::string what, std::string got = {}, std::string wanted = {}) const;
  [[noreturn]] void corrupt(std::string what, std::string got = {}, std::string wanted = {}) const {
    fail(ErrorKind::corrupt, std::move(what), std::move(got), std::move(wanted));
  }

  [[noreturn]] void fail_early(std::string what, std::string got = {}, std::string wanted = {}) const;

 private:
  std::size_t floor() const noexcept { return marks_.empty() ? 0 : marks_.back(); }
  std::span<const NodeId> items_above_mark() const;
  void push_global(std::string_view module, std::string_view name);
  NodeId add_global(std::string_view module, std::string_view name);
  void instantiate(NodeId callable, std::span<const NodeId> args);
  std::optional<NodeId> native_value(NodeId callable, NodeId args);
  std::optional<NodeId> native_ordered_dict(NodeId callable, std::span<const NodeId> args);
  std::optional<NodeId> native_bytes(PickleKind kind, std::span<const NodeId> args);
  void charge_copy(std::size_t amount);
  // Throws limit where what there is and `more` bytes beside it are too many.
  void check_memory(std::uint64_t more = 0) const;
  template <class T>
  void check_growth(const std::vector<T>& vector, std::size_t by) const {
    // While a vector moves, it is there twice.
    check_memory(by * sizeof(T) + (vector.capacity() - vector.size() < by ? vector.size() * sizeof(T) : 0));
  }
  void add_to(std::vector<NodeId>& items, std::span<const NodeId> more);
  NodeId add_text(PickleKind kind, std::string_view text);  // of the pickle itself

  std::span<const std::byte> bytes_;
  const PickleReadOptions& options_;
  std::size_t cursor_ = 0;
  std::size_t opcode_offset_ = 0;
  bool is_stopped_ = false;
  std::uint8_t protocol_ = 0;
  std::size_t copied_ = 0;  // of nodes and bytes that memo references can make the input repeat
  std::size_t remembered_ = 0;
  std::uint64_t grown_bytes_ = 0;  // items of lists, dicts and sets
  const std::uint64_t memory_max_;
  PickleGraph graph_;
  std::vector<NodeId> stack_;
  std::vector<std::size_t> marks_;  // heights of stack_
  std::vector<NodeId> memo_;
};

template <class Unsigned>
Unsigned PickleMachine::take_little_endian() {
  const std::string_view raw = take(sizeof(Unsigned));
  Unsigned value = 0;
  for (std::size_t i = raw.size(); i-- > 0;) {
    value = static_cast<Unsigned>((static_cast<std::uint64_t>(value) << 8) | static_cast<unsigned char>(raw[i]));
  }
  return value;
}

}  // namespace tenon
