#include "formats/structure_scalars.h"

#include <cstdint>

namespace tenon {

namespace {

class ScalarLister {
 public:
  explicit ScalarLister(const PickleGraph& graph) : graph_(graph) {}

  // Returns what is walked below the node: of a tensor, only what comes with it.
  NodeId visit(NodeId node, const std::string& name) {
    const auto row = structure_row(graph_, node);
    if (row) return row->attributes;
    switch (graph_.kind(node)) {
      case PickleKind::dict:
        add_pairs(graph_.items(node), name);
        break;
      case PickleKind::object: {
        const PickleObject& object = graph_.object(node);
        add_pairs(object.dict_items, name);
        if (object.dict_items.empty()) add_items(object.list_items, name);
        break;
      }
      case PickleKind::persistent:
        break;
      default:
        add_items(graph_.items(node), name);
    }
    return node;
  }

  void add(NodeId node, const std::string& owner, const PathKey* key) {
    if (graph_.is_container(node) || node == no_node) return;
    std::string name = owner;
    if (key != nullptr) append_component(name, *key);
    scalars.push_back({name.empty() ? "." : std::move(name), node});
  }

  std::vector<StructureScalar> scalars;

 private:
  void add_pairs(std::span<const NodeId> pairs, const std::string& owner) {
    for (std::size_t i = 0; i + 1 < pairs.size(); i += 2) {
      if (graph_.is_container(pairs[i + 1])) continue;
      const PathKey key = path_key(graph_, pairs[i], i / 2);
      add(pairs[i + 1], owner, &key);
    }
  }
  void add_items(std::span<const NodeId> items, const std::string& owner) {
    for (std::size_t i = 0; i < items.size(); ++i) {
      const PathKey key = static_cast<std::int64_t>(i);
      add(items[i], owner, &key);
    }
  }

  const PickleGraph& graph_;
};

}  // namespace

std::vector<StructureScalar> list_scalars(const PickleGraph& graph, const std::string& file) {
  ScalarLister lister(graph);
  if (graph.root != no_node) lister.add(graph.root, "", nullptr);
  walk_structure(
      graph, [&](NodeId node, const std::string& name) { return lister.visit(node, name); }, file);
  return std::move(lister.scalars);
}

}  // namespace tenon
