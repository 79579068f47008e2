#include "formats/structure_parts.h"

#include <array>

#include "formats/structure.h"

namespace tenon {

namespace {

using Parts = std::vector<StructurePart>;

constexpr int max_wrapped = 8;  // calls around calls

// torch.serialization _get_layout('torch.sparse_coo')
std::string_view layout_name(const PickleGraph& graph, NodeId node) {
  if (!graph.is(node, PickleKind::object)) return {};
  const PickleObject& object = graph.object(node);
  const auto args = graph.items(object.args);
  const bool is_layout = graph.is_global(object.callable, "torch.serialization", "_get_layout") && args.size() == 1 &&
                         graph.is(args[0], PickleKind::string);
  return is_layout ? graph.text(args[0]) : std::string_view();
}

// The first items of a tuple, each with its suffix.
std::optional<Parts> name_items(std::span<const NodeId> items, std::span<const std::string_view> suffixes) {
  if (items.size() < suffixes.size()) return std::nullopt;
  Parts parts;
  for (std::size_t i = 0; i < suffixes.size(); ++i) parts.push_back({items[i], suffixes[i]});
  return parts;
}

// (layout, data)
std::optional<Parts> sparse_parts(const PickleGraph& graph, std::span<const NodeId> args) {
  if (args.size() != 2 || !graph.is(args[1], PickleKind::tuple)) return std::nullopt;
  constexpr std::array<std::string_view, 2> coordinates{".indices", ".values"};
  constexpr std::array<std::string_view, 3> rows{".crow_indices", ".col_indices", ".values"};
  constexpr std::array<std::string_view, 3> columns{".ccol_indices", ".row_indices", ".values"};
  const std::string_view layout = layout_name(graph, args[0]);
  const auto data = graph.items(args[1]);
  if (layout == "torch.sparse_coo") return name_items(data, coordinates);
  if (layout == "torch.sparse_csr" || layout == "torch.sparse_bsr") return name_items(data, rows);
  if (layout == "torch.sparse_csc" || layout == "torch.sparse_bsc") return name_items(data, columns);
  return std::nullopt;
}

// (..., (scheme, scales, zero_points, axis), requires_grad, hooks)
std::optional<Parts> quantized_parts(const PickleGraph& graph, std::span<const NodeId> args) {
  if (args.size() != 7 || !graph.is(args[4], PickleKind::tuple)) return std::nullopt;
  const auto quantizer = graph.items(args[4]);
  if (quantizer.size() != 4) return std::nullopt;
  return Parts{{quantizer[1], ".scales"}, {quantizer[2], ".zero_points"}};
}

std::optional<Parts> parts_of_call(const PickleGraph& graph, NodeId function, std::span<const NodeId> args, int depth);

std::optional<Parts> append_state(std::optional<Parts> parts, NodeId state) {
  if (parts) parts->push_back({state, {}});
  return parts;
}

std::optional<Parts> parts_of_utility(const PickleGraph& graph, std::string_view name, std::span<const NodeId> args) {
  constexpr std::array<std::string_view, 4> nested{".buffer", ".sizes", ".strides", ".offsets"};
  constexpr std::array<std::string_view, 1> itself{""};
  if (name == "_rebuild_sparse_tensor") return sparse_parts(graph, args);
  if (name == "_rebuild_qtensor") return quantized_parts(graph, args);
  if (name == "_rebuild_nested_tensor") return name_items(args, nested);
  if (name == "_rebuild_wrapper_subclass") return Parts{};
  if (name == "_rebuild_device_tensor_from_numpy" || name == "_rebuild_xla_tensor" ||
      name == "_rebuild_device_tensor_from_cpu_tensor" || name == "_rebuild_parameter") {
    return name_items(args, itself);
  }
  if (name == "_rebuild_parameter_with_state" && args.size() == 4) return Parts{{args[0], {}}, {args[3], {}}};
  return std::nullopt;
}

// torch._tensor _rebuild_from_type_v2(function, type, args, state) holds what the inner call does, and a state.
std::optional<Parts> parts_of_call(const PickleGraph& graph, NodeId function, std::span<const NodeId> args, int depth) {
  if (!graph.is(function, PickleKind::global) || depth > max_wrapped) return std::nullopt;
  const std::string_view module = graph.global_module(function);
  const std::string_view name = graph.global_name(function);
  if (module == "torch._utils") return parts_of_utility(graph, name, args);
  if (module == "torch.jit._pickle" && !args.empty()) return Parts{{args[0], {}}};  // lists and dicts of TorchScript
  const bool is_typed = module == "torch._tensor" && (name == "_rebuild_from_type_v2" || name == "_rebuild_from_type");
  if (!is_typed || args.size() != 4 || !graph.is(args[2], PickleKind::tuple)) return std::nullopt;
  return append_state(parts_of_call(graph, args[0], graph.items(args[2]), depth + 1), args[3]);
}

// The marker tensor(row, type, attributes[, scales, zero_points])
std::optional<Parts> parts_of_marker(std::span<const NodeId> args) {
  if (args.size() == 3) return Parts{{args[2], {}}};
  if (args.size() == 5) return Parts{{args[3], ".scales"}, {args[4], ".zero_points"}, {args[2], {}}};
  return std::nullopt;
}

}  // namespace

std::optional<Parts> parts_of_object(const PickleGraph& graph, const PickleObject& object) {
  const bool is_plain_call = !object.is_newobj && object.state == no_node && object.list_items.empty() &&
                             object.dict_items.empty() && graph.is(object.args, PickleKind::tuple);
  if (!is_plain_call) return std::nullopt;
  const auto args = graph.items(object.args);
  if (graph.is_global(object.callable, structure_module, "tensor")) return parts_of_marker(args);
  return parts_of_call(graph, object.callable, args, 0);
}

}  // namespace tenon
