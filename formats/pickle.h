// Pickles as data: a restricted reader and writer, and the graph between them. Nothing is ever imported or called;
// a class is two strings, an instance is "callable, arguments, state". What Python shares by identity shares one node,
// so aliasing and cycles survive a round trip.
//
// Owner: a PickleGraph owns all its nodes; ids are valid for its life. Texts are valid as long, too; spans of items
// until the next call that adds or changes a node. Threads: const methods from several threads. Errors: read_pickle
// throws corrupt, unsupported (named) or limit; each names the file and the offset of the opcode.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <memory_resource>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/error.h"
#include "tenon/structure.h"

namespace tenon {

// In the id itself are None, booleans and integers of 30 bits; a float's id says where its eight bytes are. All others
// are nodes, with ids below PickleGraph::size(). What has no identity in Python may have any number of ids.

enum class PickleKind : std::uint8_t {
  none,
  boolean,
  integer,      // fits 64 bits
  big_integer,  // does not: text() is little-endian two's complement, as pickle has it
  floating,
  string,  // text() is UTF-8, lone surrogates encoded as Python's "surrogatepass" does
  bytes,
  bytearray,
  list,
  tuple,
  dict,  // items() alternate key and value, in insertion order
  set,
  frozenset,
  global,      // a class or function by module and name
  persistent,  // items() is one node: the persistent id
  object,
};

// An instance: `callable(*args)`, or `callable.__new__(callable, *args)`, then items, then state.
struct PickleObject {
  NodeId callable = no_node;
  NodeId args = no_node;  // a tuple
  bool is_newobj = false;
  NodeId state = no_node;  // no_node: none was given
  std::vector<NodeId> list_items{};
  std::vector<NodeId> dict_items{};  // key, value, key, value
};

class PickleGraph {
 public:
  using Sink = std::function<void(std::span<const std::byte>)>;
  using SendBytes = std::function<void(const Sink&)>;  // all of them in order, each time it is called

  NodeId root = no_node;
  std::uint64_t pickle_bytes = 0;  // what it was read from
  std::uint64_t taken_bytes = 0;   // what it took when it was read, items included

  static constexpr std::uint64_t allocation_bytes_min = 32;  // of what grows, beside its items

  std::size_t size() const noexcept { return nodes_.size(); }
  std::size_t value_count() const noexcept { return nodes_.size() + floats_.size(); }  // without what ids hold
  // What the graph takes, but for the items of what grows: whoever adds them counts them.
  std::uint64_t memory_bytes() const noexcept {
    const std::uint64_t in_deques = nodes_.size() * sizeof(Node) + floats_.size() * sizeof(double) +
                                    containers_.size() * sizeof(std::vector<NodeId>) +
                                    objects_.size() * sizeof(PickleObject);
    return in_deques + in_deques / 16 + arena_bytes_;
  }
  std::uint64_t outside_bytes() const noexcept { return outside_bytes_; }  // of texts, beside memory_bytes()
  PickleKind kind(NodeId id) const noexcept { return is_node(id) ? nodes_[id].kind : kind_of_value(id); }
  bool is(NodeId id, PickleKind kind) const noexcept { return id != no_node && this->kind(id) == kind; }
  bool is_container(NodeId id) const noexcept;  // may hold other nodes

  // REQUIRES: the node has that kind.
  bool boolean(NodeId id) const noexcept { return is_node(id) ? nodes_[id].integer != 0 : id == true_id; }
  std::int64_t integer(NodeId id) const noexcept { return is_node(id) ? nodes_[id].integer : small_integer(id); }
  double floating(NodeId id) const noexcept;
  std::string_view text(NodeId id) const;  // string, bytes, bytearray, big_integer
  // Of a text: its length; its bytes, a piece at a time; and long bytes of protocol 2 as the pickle has them, in UTF-8
  // with one letter a byte, nullopt for other texts. All spare the whole, which text() makes at its first call.
  std::uint64_t text_bytes(NodeId id) const noexcept;
  void send_text(NodeId id, const Sink& sink) const;
  std::optional<std::string_view> encoded_bytes(NodeId id) const noexcept;
  std::string_view global_module(NodeId id) const noexcept;
  std::string_view global_name(NodeId id) const noexcept;
  bool is_global(NodeId id, std::string_view module, std::string_view name) const noexcept;
  // Of list, tuple, dict, set, frozenset and persistent; empty for other kinds and for no_node.
  std::span<const NodeId> items(NodeId id) const noexcept;
  const PickleObject& object(NodeId id) const noexcept { return objects_[nodes_[id].number]; }
  // Calls `visit` with every node that `id` refers to directly.
  void for_each_child(NodeId id, const std::function<void(NodeId)>& visit) const;

  NodeId add_none() const noexcept { return none_id; }
  NodeId add_boolean(bool value) const noexcept { return value ? true_id : false_id; }
  NodeId add_integer(std::int64_t value);
  NodeId add_floating(double value);
  // Little-endian two's complement of any length; becomes an integer if it fits.
  NodeId add_long(std::string_view twos_complement);
  NodeId add_text(PickleKind kind, std::string_view text);
  // Borrows the text, for as long as it keeps its owner.
  NodeId add_borrowed_text(PickleKind kind, std::string_view text, const std::shared_ptr<const void>& owner);
  // Bytes by encoded_bytes(), which live as long as the graph: a text of it. `nbytes` is the count of letters.
  NodeId add_encoded_bytes(PickleKind kind, std::string_view utf8, std::uint64_t nbytes);
  // Bytes that are fetched when they are wanted; what `send` throws is thrown on.
  NodeId add_deferred_bytes(std::uint64_t nbytes, SendBytes send);
  NodeId add_string(std::string_view text) { return add_text(PickleKind::string, text); }
  NodeId add_container(PickleKind kind);                             // an empty list, dict or set
  NodeId add_fixed(PickleKind kind, std::span<const NodeId> items);  // tuple, frozenset
  NodeId add_tuple(std::initializer_list<NodeId> items) {
    return add_fixed(PickleKind::tuple, {items.begin(), items.size()});
  }
  NodeId add_global(std::string_view module, std::string_view name);
  NodeId add_persistent(NodeId id);
  NodeId add_object(NodeId callable, NodeId args, bool is_newobj = false);

  // REQUIRES: a list, dict or set.
  std::vector<NodeId>& mutable_items(NodeId id);
  PickleObject& mutable_object(NodeId id) noexcept { return objects_[nodes_[id].number]; }
  // Makes `id` what `other` is, for all who refer to it. Containers are then shared, not copied: `other` must not be
  // referred to any more. REQUIRES: both are nodes.
  // REQUIRES: `id` is a node, not a value in its id; `other` may be either.
  void become(NodeId id, NodeId other) noexcept;

 private:
  struct Node {
    PickleKind kind = PickleKind::none;
    bool is_long = false;      // bytes in long_bytes_
    std::uint32_t number = 0;  // in containers_, objects_ or long_bytes_; length of a text; count of fixed items
    union {
      std::int64_t integer = 0;
      const char* text;     // of a global: module, line feed, name
      const NodeId* items;  // of what does not grow
    };
  };
  static_assert(sizeof(Node) == 16);
  struct LongBytes {
    std::uint64_t nbytes = 0;
    SendBytes send{};
    std::optional<std::string_view> utf8{};
    mutable std::once_flag is_made{};
    mutable std::string bytes{};
  };

  // Kinds of ids, by their highest bits: 0 a node, 10 an integer, 110 a float, 111 the three others.
  static constexpr NodeId first_integer = 0x80000000u;
  static constexpr NodeId first_float = 0xC0000000u;
  static constexpr NodeId none_id = 0xE0000000u;
  static constexpr NodeId false_id = none_id + 1;
  static constexpr NodeId true_id = none_id + 2;
  static bool is_node(NodeId id) noexcept { return id < first_integer; }
  static PickleKind kind_of_value(NodeId id) noexcept {
    if (id < first_float) return PickleKind::integer;
    if (id < none_id) return PickleKind::floating;
    return id == none_id ? PickleKind::none : PickleKind::boolean;
  }
  static std::int64_t small_integer(NodeId id) noexcept { return static_cast<std::int32_t>(id << 2) >> 2; }
  NodeId add(const Node& node);
  void* allocate(std::size_t bytes);
  NodeId add_long_bytes(PickleKind kind, std::uint64_t nbytes, SendBytes send);
  std::string_view text_of(const Node& node) const noexcept { return {node.text, node.number}; }

  // Nothing here grows by a copy beside what was there: a file of a million nodes must not cost several times that.
  std::deque<Node> nodes_;
  std::deque<double> floats_;
  std::deque<std::vector<NodeId>>
      containers_;  // 0 is that of all that are empty; the others get theirs when first changed
  std::deque<PickleObject> objects_;
  std::deque<LongBytes> long_bytes_;
  std::shared_ptr<const void> owner_;  // of borrowed texts
  std::uint64_t outside_bytes_ = 0;
  // Texts, and items of tuples and other kinds that do not grow.
  std::unique_ptr<std::pmr::monotonic_buffer_resource> arena_ = std::make_unique<std::pmr::monotonic_buffer_resource>();
  std::uint64_t arena_bytes_ = 0;
};

// Corrupt: the bytes end before the pickle does. Who has only a part of the file can try again with more.
class PickleEndsEarly : public Error {
 public:
  using Error::Error;
};

struct PickleReadOptions {
  std::string file{};             // for messages
  std::uint64_t base_offset = 0;  // of the pickle in that file, for messages
  // Of the pickle's bytes: where given, the graph may keep it, and long texts are not copied.
  std::shared_ptr<const void> owner{};
  std::size_t max_nodes = std::size_t{1} << 26;
  // What the graph may take while it is read; 0: pickle_memory_max. The pickle itself is not counted.
  std::uint64_t max_memory_bytes = 0;
  std::string memory_hint{};                     // of the error where that is too little
  std::size_t max_marks = std::size_t{1} << 20;  // nested unfinished containers
  // Where given, persistent ids that are text are refused with this hint: protocol 0 writes a tuple's repr().
  std::string text_id_hint{};
  bool is_torchscript = false;  // written by TorchScript's pickler, which calls an enum with its bare value
  // Chooses the node of a persistent id, so that equal ids can become one node. Default: a node of their own.
  std::function<NodeId(PickleGraph&, NodeId id)> persistent{};
  // Is told of every class and function that the pickle names, also of those before a flaw.
  std::function<void(std::string_view module, std::string_view name)> on_global{};
};

// What any pickle may take, or what long ones do: a byte of a pickle is seldom more than four in memory.
constexpr std::uint64_t pickle_memory_max(std::uint64_t pickle_bytes) noexcept {
  return std::max(std::uint64_t{44} << 20, 4 * pickle_bytes);
}

struct PickleReadResult {
  PickleGraph graph;
  std::size_t consumed_bytes = 0;  // through STOP
};

// Protocols 0 to 5. Python 2 byte strings become strings where they are UTF-8, else bytes. The spellings that older
// protocols use for bytes, bytearray, set and frozenset become those kinds, and Python 2's filled OrderedDict the
// object that Python 3 writes.
PickleReadResult read_pickle(std::span<const std::byte> bytes, const PickleReadOptions& options = {});

// Protocol 2, with no opcode that torch.load(weights_only=True) lacks where that is possible. Deterministic.
// Throws limit for a graph whose cycles cannot be written in bounded space.
std::vector<std::byte> write_pickle(const PickleGraph& graph, NodeId root);

}  // namespace tenon
