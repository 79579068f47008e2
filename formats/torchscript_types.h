// How a structure is said in TorchScript's types: what is a value of a type, and what is a module.
//
// A dict whose keys are strings is a module, each key the name of an attribute, letter by letter. Tensors, numbers,
// strings, None, devices, tuples, lists of one type and dicts of one type with keys that are no strings are values. A
// list, tuple or dict that is no value (its items differ in type, or hold modules) is a module, too, whose attributes
// are named by index or key: "0", "1".
#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "formats/pickle.h"

namespace tenon {

struct TorchScriptLevel {
  NodeId node = no_node;
  std::string class_name;                               // "Snapshot_3", of the module "__torch__"
  std::vector<std::pair<std::string, NodeId>> members;  // attribute and value
};

// Errors: unsupported, naming the place, for what TorchScript has no type for; limit for absurd depth and types.
class TorchScriptTypes {
 public:
  // Borrows the graph, a decoded structure.
  explicit TorchScriptTypes(const PickleGraph& graph) : graph_(graph) {}

  // Makes `root` a module, and everything below it a type. The attribute is "value" where `root` itself is one.
  void add_root(NodeId root);
  // "Tensor", "List[int]", "__torch__.Snapshot_3". REQUIRES: `node` is below the root.
  const std::string& type_of(NodeId node) const { return types_.at(node); }
  // nullptr for a value.
  const TorchScriptLevel* level_of(NodeId node) const;
  // Inner ones first; the last is the root.
  const std::vector<TorchScriptLevel>& levels() const noexcept { return levels_; }

 private:
  using Members = std::vector<std::pair<std::string, NodeId>>;
  const std::string& add(NodeId node, const std::string& name);
  std::string describe(NodeId node, const std::string& name);
  std::string describe_row(NodeId node, const std::string& name) const;
  std::string describe_sequence(NodeId node, const std::string& name);
  std::string describe_dict(NodeId node, std::span<const NodeId> items, const std::string& name);
  std::string describe_object(NodeId node, const std::string& name);
  std::string make_level(NodeId node, Members members, const std::string& name);

  const PickleGraph& graph_;
  std::unordered_map<NodeId, std::string> types_;
  std::unordered_set<NodeId> open_;
  std::vector<TorchScriptLevel> levels_;
  std::unordered_map<NodeId, std::size_t> level_of_node_;
};

// "torch.Size" has its numbers in a tuple, an OrderedDict its items beside its arguments.
std::span<const NodeId> torchscript_items(const PickleGraph& graph, NodeId node);

}  // namespace tenon
