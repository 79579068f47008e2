// The nesting that held a snapshot's tensors, as nodes to walk: containers, scalars, tensors by row, and objects that
// only the language that saved them can make. Nothing is imported or called here.
//
// Owner and lifetime: a Structure is a handle and owns its nodes; what node() returns is valid as long as a copy of the
// handle lives. It does not keep the snapshot. Threads: const methods from any. Errors: of() throws corrupt for a
// structure that contradicts itself or the rows, limit, and not_found for a prefix that selects nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "tenon/export.h"
#include "tenon/snapshot.h"

namespace tenon {

// Small values are in the id itself, so that long lists of numbers cost little more than their ids; other ids are below
// Structure::size(). A container, a text and an object always are.
using NodeId = std::uint32_t;
inline constexpr NodeId no_node = 0xFFFFFFFFu;

enum class NodeKind : std::uint8_t {
  none,
  boolean,
  integer,
  big_integer,  // more than 64 bits: `text` is little-endian two's complement
  floating,
  string,  // `text` is UTF-8, lone surrogates encoded as Python's "surrogatepass" does
  bytes,
  bytearray,
  list,
  tuple,
  dict,  // `items` alternate key and value
  set,
  frozenset,
  global,   // a class or function: `text` its module, `name` its name
  tensor,   // `row`; `type` and `attributes` where it is no plain tensor
  storage,  // the storage itself: what `row` spans
  object,   // callable(*args), or callable.__new__(callable, *args), then items, then state
};

// What is shared is one node: who makes objects of nodes makes one of each. Only lists, dicts, sets, objects and the
// attributes of tensors can lead back to themselves.
struct StructureNode {
  NodeKind kind = NodeKind::none;
  bool boolean = false;
  bool is_newobj = false;       // of an object: made by __new__
  bool is_numpy_array = false;  // of a tensor: an array rather than a tensor of torch
  std::int64_t integer = 0;
  double floating = 0;
  std::string_view text{};
  std::string_view name{};
  std::span<const NodeId> items{};  // of containers; of an object what is appended to it
  std::span<const NodeId> pairs{};  // of an object: key, value, set in it
  std::uint32_t row = 0;
  NodeId type = no_node;        // of a tensor: its class, a global; of an array, the function that rebuilds it
  NodeId attributes = no_node;  // of a tensor: its Python state
  NodeId scales = no_node;      // of a quantizer's channels, with zero_points: tensors or lists
  NodeId zero_points = no_node;
  NodeId callable = no_node;
  NodeId args = no_node;  // a tuple
  NodeId state = no_node;
};

class TENON_API Structure {
 public:
  // All of the snapshot, or the subtree at `prefix`. Rows that no single container holds (names below "layers.1"), and
  // all rows of a snapshot without a structure, are a dict.
  static Structure of(const Snapshot& snapshot, std::string_view prefix = {});

  NodeId root() const noexcept;
  std::uint32_t size() const noexcept;
  // REQUIRES: root(), or an id that a node names.
  StructureNode node(NodeId id) const;

 private:
  struct State;
  explicit Structure(std::shared_ptr<const State> state) noexcept : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

}  // namespace tenon
