// The structure of a snapshot: the nesting that held its tensors, as a pickle graph whose tensors are row numbers.
//
// On disk it is a protocol-2 pickle in which a persistent id is an integer: the row of a tensor. Two calls stand for
// what a row cannot express; nobody ever makes them, they are markers:
//   tenon.structure tensor(row, type, attributes[, scales, zero_points])
//       a tensor with its Python class (a global, or None where the row's kind says it all), its attribute state (or
//       None), and what a quantizer has for each channel; of a numpy array, the type is the function that rebuilds it
//   tenon.structure storage(row)
//       the storage itself, not a tensor: the slot, or the part of it that the row spans
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/pickle.h"
#include "tenon/name.h"

namespace tenon {

inline constexpr std::string_view structure_module = "tenon.structure";

// Walks everything below `graph.root` in insertion order and gives every place its name (see tenon/name.h). A dict's
// value is named by its key, an item of a list or tuple by its index; where an object has only one kind of
// content, that is named directly (`optimizer/param_groups`), else by <args>, <items>, <state>. What known calls hold
// is named as structure_parts.h says (`w.indices`).
//
// `visit` is called with every container, object and persistent id, and returns the node whose content is walked below
// that name: the node itself, another, or no_node for a leaf. What is shared is visited once per place, unless `visit`
// returned every node below it as it was: then there is nothing to find. Cycles end where they close. Throws limit for
// absurd depth and names, and where shared containers make absurdly many places.
using StructureVisitor = std::function<NodeId(NodeId node, const std::string& name)>;
// `file` is for its message.
void walk_structure(const PickleGraph& graph, const StructureVisitor& visit, const std::string& file = {});

// The node whose name is `name`; nullopt if there is none, or if only a scalar is there.
std::optional<NodeId> find_in_structure(const PickleGraph& graph, std::string_view name);

// A tensor or storage of a decoded structure.
struct StructureRow {
  std::uint32_t row = 0;
  bool is_storage = false;
  NodeId type = no_node;        // the Python class, if it is not plain
  NodeId attributes = no_node;  // Python attribute state
  NodeId scales = no_node;      // of a quantizer's channels; with zero_points or not at all
  NodeId zero_points = no_node;
};

// What a node of a decoded structure says about a row; nullopt if it is neither a persistent id nor a marker.
std::optional<StructureRow> structure_row(const PickleGraph& graph, NodeId node);
// Makes `node` stand for that row, for all who refer to it.
void become_row(PickleGraph& graph, NodeId node, const StructureRow& row);

// REQUIRES: every persistent id is a row number.
std::vector<std::byte> encode_structure(const PickleGraph& graph);
// `canonical` maps a row to the first row that is the same object; all rows that map to one become one node, so
// identity does not depend on how the encoder shared them. Throws corrupt for a row that is not below `row_count`.
PickleGraph decode_structure(std::span<const std::byte> bytes, std::uint32_t row_count,
                             const std::function<std::uint32_t(std::uint32_t)>& canonical);

// What names the value of a dict under that key, its `position`-th.
PathKey path_key(const PickleGraph& graph, NodeId key, std::size_t position);
// As Python would write it; empty for what has no short literal.
std::string literal_of(const PickleGraph& graph, NodeId node);

// The graph as indented text, one line per value; `describe_row` says what a tensor is. What is shared is shown once.
std::string describe_graph(const PickleGraph& graph, const std::function<std::string(std::uint32_t row)>& describe_row);

}  // namespace tenon
