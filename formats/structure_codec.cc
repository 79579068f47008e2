#include <limits>
#include <unordered_map>

#include "formats/structure.h"
#include "tenon/error.h"

namespace tenon {

namespace {

constexpr std::string_view file_label = "structure of the snapshot";

NodeId optional_node(const PickleGraph& graph, NodeId node) {
  return graph.is(node, PickleKind::none) ? no_node : node;
}

std::optional<std::uint32_t> row_of_persistent(const PickleGraph& graph, NodeId node) {
  if (!graph.is(node, PickleKind::persistent)) return std::nullopt;
  const NodeId id = graph.items(node)[0];
  if (!graph.is(id, PickleKind::integer)) return std::nullopt;
  return static_cast<std::uint32_t>(graph.integer(id));
}

[[noreturn]] void throw_bad_row(const PickleGraph& graph, NodeId id, std::uint32_t row_count) {
  const bool is_integer = graph.is(id, PickleKind::integer);
  throw Error(ErrorKind::corrupt, {.what = "structure refers to a tensor that the snapshot does not have",
                                   .file = std::string(file_label),
                                   .got = is_integer ? std::to_string(graph.integer(id)) : "no row number",
                                   .wanted = "a row below " + std::to_string(row_count)});
}

}  // namespace

std::optional<StructureRow> structure_row(const PickleGraph& graph, NodeId node) {
  if (const auto row = row_of_persistent(graph, node)) return StructureRow{.row = *row};
  if (!graph.is(node, PickleKind::object)) return std::nullopt;
  const PickleObject& object = graph.object(node);
  if (!graph.is(object.callable, PickleKind::global)) return std::nullopt;
  if (graph.global_module(object.callable) != structure_module) return std::nullopt;
  const bool is_storage = graph.global_name(object.callable) == "storage";
  const auto args = graph.items(object.args);
  const auto row = args.empty() ? std::nullopt : row_of_persistent(graph, args[0]);
  const bool has_size = is_storage ? args.size() == 1 : args.size() == 3 || args.size() == 5;
  if (!row || !has_size) {
    throw Error(ErrorKind::corrupt, {.what = "malformed marker in structure", .file = std::string(file_label)});
  }
  if (is_storage) return StructureRow{.row = *row, .is_storage = true};
  StructureRow out{.row = *row, .type = optional_node(graph, args[1]), .attributes = optional_node(graph, args[2])};
  if (args.size() == 5) {
    out.scales = args[3];
    out.zero_points = args[4];
  }
  return out;
}

void become_row(PickleGraph& graph, NodeId node, const StructureRow& row) {
  const NodeId persistent = graph.add_persistent(graph.add_integer(row.row));
  const bool is_plain = row.type == no_node && row.attributes == no_node && row.scales == no_node;
  if (!row.is_storage && is_plain) return graph.become(node, persistent);
  const NodeId marker = graph.add_global(structure_module, row.is_storage ? "storage" : "tensor");
  if (row.is_storage) return graph.become(node, graph.add_object(marker, graph.add_tuple({persistent})));
  const auto or_none = [&](NodeId id) { return id == no_node ? graph.add_none() : id; };
  const NodeId type = or_none(row.type);
  const NodeId attributes = or_none(row.attributes);
  const NodeId args = row.scales == no_node
                          ? graph.add_tuple({persistent, type, attributes})
                          : graph.add_tuple({persistent, type, attributes, row.scales, row.zero_points});
  graph.become(node, graph.add_object(marker, args));
}

std::vector<std::byte> encode_structure(const PickleGraph& graph) { return write_pickle(graph, graph.root); }

PickleGraph decode_structure(std::span<const std::byte> bytes, std::uint32_t row_count,
                             const std::function<std::uint32_t(std::uint32_t)>& canonical) {
  std::unordered_map<std::uint32_t, NodeId> node_of_row;
  // What the store has was let in once, whatever its size.
  PickleReadOptions options{.file = std::string(file_label),
                            .max_memory_bytes = std::numeric_limits<std::uint64_t>::max()};
  options.persistent = [&](PickleGraph& graph, NodeId id) {
    const bool is_row = graph.is(id, PickleKind::integer) && graph.integer(id) >= 0 && graph.integer(id) < row_count;
    if (!is_row) throw_bad_row(graph, id, row_count);
    const std::uint32_t row = canonical(static_cast<std::uint32_t>(graph.integer(id)));
    const auto [entry, is_new] = node_of_row.try_emplace(row, no_node);
    if (is_new) entry->second = graph.add_persistent(graph.add_integer(row));
    return entry->second;
  };
  return std::move(read_pickle(bytes, options).graph);
}

}  // namespace tenon
