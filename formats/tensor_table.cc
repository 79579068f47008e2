#include "formats/tensor_table.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "formats/structure.h"
#include "tenon/error.h"
#include "tenon/name.h"

namespace tenon {

namespace {

constexpr std::uint64_t leaf_bytes = 64 * 1024;  // as VerifiedReader has them
constexpr std::uint64_t piece_bytes = 16 * leaf_bytes;

// `name` continues `prefix` with whole components.
bool is_below(std::string_view name, std::string_view prefix) {
  return name.starts_with(prefix) && name.size() > prefix.size() &&
         (name[prefix.size()] == '/' || name[prefix.size()] == '.');
}

// The key of a row in a plain mapping: its one component as it was, else the whole name.
NodeId mapping_key(PickleGraph& graph, std::string_view name) {
  const Path path = parse_name(name);
  if (path.size() == 1) {
    if (const auto* text = std::get_if<std::string>(&path[0])) return graph.add_string(*text);
    if (const auto* number = std::get_if<std::int64_t>(&path[0])) return graph.add_integer(*number);
  }
  return graph.add_string(name);
}

// A graph for rows without a structure (or a part of it that no single container holds): one dict.
PickleGraph mapping_graph(const TensorTable& table, const std::string& prefix) {
  PickleGraph graph;
  graph.root = graph.add_container(PickleKind::dict);
  std::unordered_map<std::uint32_t, NodeId> node_of_object;
  for (std::uint32_t i = 0; i < table.size; ++i) {
    const TensorRow row = table.row(i);
    const bool is_selected = prefix.empty() || row.name == prefix || is_below(row.name, prefix);
    if (!is_selected) continue;
    const auto [entry, is_new] = node_of_object.try_emplace(row.object, no_node);
    if (is_new) entry->second = graph.add_persistent(graph.add_integer(row.object));
    const bool is_lone = row.name == prefix || row.name == ".";
    if (is_lone) {
      graph.root = entry->second;
      return graph;
    }
    const std::string_view rest = prefix.empty() ? row.name : row.name.substr(prefix.size() + 1);
    const NodeId key = mapping_key(graph, rest);
    auto& items = graph.mutable_items(graph.root);
    items.push_back(key);
    items.push_back(entry->second);
  }
  if (node_of_object.empty() && !prefix.empty()) {
    throw Error(ErrorKind::not_found, {.what = "no tensor is named " + printable(prefix) + " or lies below it"});
  }
  return graph;
}

}  // namespace

TensorTable make_tensor_table(const Snapshot& snapshot) {
  return {.size = snapshot.size(),
          .slot_count = snapshot.slot_count(),
          .row = [&snapshot](std::uint32_t index) { return snapshot.row(index); },
          .slot = [&snapshot](std::uint32_t index) { return snapshot.slot(index); },
          .structure = snapshot.structure(),
          .reader = [&snapshot](std::uint32_t slot) { return snapshot.verified_reader(slot); }};
}

// Whole leaves are read and checked; what was asked for is copied out of them.
VerifiedReader part_reader(const TensorTable& table, const TorchObjectRecord& part) {
  const std::uint64_t slot_bytes = table.slot(part.slot).nbytes;
  VerifiedReader whole = table.reader(part.slot);
  if (part.offset == 0 && part.nbytes == slot_bytes) return whole;
  return [whole = std::move(whole), part, slot_bytes](std::uint64_t offset, std::span<std::byte> out) {
    const std::uint64_t first = part.offset + offset;
    const std::uint64_t begin = first - first % leaf_bytes;
    const std::uint64_t end = first + out.size();
    const std::uint64_t padding = (leaf_bytes - end % leaf_bytes) % leaf_bytes;
    std::vector<std::byte> leaves(std::min(end + padding, slot_bytes) - begin);
    whole(begin, leaves);
    std::copy_n(leaves.data() + (first - begin), out.size(), out.data());
  };
}

// Pieces end at leaves, so that none is read twice.
void send_part(const TensorTable& table, const TorchObjectRecord& part,
               const std::function<void(std::span<const std::byte>)>& sink) {
  if (part.nbytes == 0) return;
  const VerifiedReader read = part_reader(table, part);
  std::vector<std::byte> buffer(std::min(part.nbytes, piece_bytes));
  for (std::uint64_t offset = 0; offset < part.nbytes;) {
    const std::uint64_t to_leaf = piece_bytes - (part.offset + offset) % leaf_bytes;
    const auto piece = std::span(buffer).first(std::min(part.nbytes - offset, to_leaf));
    read(offset, piece);
    sink(piece);
    offset += piece.size();
  }
}

PickleGraph select_object(const TensorTable& table, const std::string& prefix) {
  if (table.structure.empty()) return mapping_graph(table, prefix);
  const auto canonical = [&](std::uint32_t row) { return table.row(row).object; };
  PickleGraph graph = decode_structure(table.structure, table.size, canonical);
  if (prefix.empty()) return graph;
  const auto found = find_in_structure(graph, prefix);
  if (!found) return mapping_graph(table, prefix);
  graph.root = *found;
  return graph;
}

}  // namespace tenon
