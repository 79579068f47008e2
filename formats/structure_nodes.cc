#include <string>
#include <utility>

#include "formats/numpy_value.h"
#include "formats/pickle.h"
#include "formats/structure.h"
#include "formats/torch_object.h"
#include "tenon/structure.h"

namespace tenon {

struct Structure::State {
  PickleGraph graph;
};

namespace {

NodeKind plain_kind(PickleKind kind) {
  switch (kind) {
    case PickleKind::none:
      return NodeKind::none;
    case PickleKind::boolean:
      return NodeKind::boolean;
    case PickleKind::integer:
      return NodeKind::integer;
    case PickleKind::big_integer:
      return NodeKind::big_integer;
    case PickleKind::floating:
      return NodeKind::floating;
    case PickleKind::string:
      return NodeKind::string;
    case PickleKind::bytes:
      return NodeKind::bytes;
    case PickleKind::bytearray:
      return NodeKind::bytearray;
    case PickleKind::list:
      return NodeKind::list;
    case PickleKind::tuple:
      return NodeKind::tuple;
    case PickleKind::dict:
      return NodeKind::dict;
    case PickleKind::set:
      return NodeKind::set;
    case PickleKind::frozenset:
      return NodeKind::frozenset;
    case PickleKind::global:
      return NodeKind::global;
    case PickleKind::persistent:
      return NodeKind::tensor;
    case PickleKind::object:
      return NodeKind::object;
  }
  return NodeKind::none;
}

void fill_object(const PickleObject& object, StructureNode& node) {
  node.is_newobj = object.is_newobj;
  node.callable = object.callable;
  node.args = object.args;
  node.state = object.state;
  node.items = object.list_items;
  node.pairs = object.dict_items;
}

void fill_row(const StructureRow& row, StructureNode& node) {
  node.kind = row.is_storage ? NodeKind::storage : NodeKind::tensor;
  node.row = row.row;
  node.type = row.type;
  node.attributes = row.attributes;
  node.scales = row.scales;
  node.zero_points = row.zero_points;
}

}  // namespace

Structure Structure::of(const Snapshot& snapshot, std::string_view prefix) {
  const TensorTable table = make_tensor_table(snapshot);
  return Structure(std::make_shared<const State>(State{select_object(table, std::string(prefix))}));
}

NodeId Structure::root() const noexcept { return state_->graph.root; }
std::uint32_t Structure::size() const noexcept { return static_cast<std::uint32_t>(state_->graph.size()); }

StructureNode Structure::node(NodeId id) const {
  const PickleGraph& graph = state_->graph;
  StructureNode node{.kind = plain_kind(graph.kind(id))};
  switch (node.kind) {
    case NodeKind::none:
      break;
    case NodeKind::boolean:
      node.boolean = graph.boolean(id);
      break;
    case NodeKind::integer:
      node.integer = graph.integer(id);
      break;
    case NodeKind::floating:
      node.floating = graph.floating(id);
      break;
    case NodeKind::global:
      node.text = graph.global_module(id);
      node.name = graph.global_name(id);
      break;
    case NodeKind::string:
    case NodeKind::bytes:
    case NodeKind::bytearray:
    case NodeKind::big_integer:
      node.text = graph.text(id);
      break;
    case NodeKind::tensor:
    case NodeKind::object:
      if (const auto row = structure_row(graph, id)) {
        fill_row(*row, node);
        node.is_numpy_array = row->type != no_node && is_numpy_rebuild(graph, row->type);
      } else {
        fill_object(graph.object(id), node);
      }
      break;
    default:
      node.items = graph.items(id);
  }
  return node;
}

}  // namespace tenon
