#include <algorithm>
#include <bit>
#include <cassert>

#include "formats/pickle.h"

namespace tenon {

namespace {

[[maybe_unused]] bool has_text(PickleKind kind) noexcept {
  return kind == PickleKind::string || kind == PickleKind::bytes || kind == PickleKind::bytearray ||
         kind == PickleKind::big_integer;
}

bool is_growing(PickleKind kind) noexcept {
  return kind == PickleKind::list || kind == PickleKind::dict || kind == PickleKind::set;
}

bool is_fixed(PickleKind kind) noexcept {
  return kind == PickleKind::tuple || kind == PickleKind::frozenset || kind == PickleKind::persistent;
}

// Drops sign bytes that carry nothing, so that equal values have equal bytes.
std::string_view minimal_long(std::string_view bytes) noexcept {
  const auto at = [&](std::size_t back) { return static_cast<unsigned char>(bytes[bytes.size() - back]); };
  while (bytes.size() > 1) {
    const bool next_is_negative = (at(2) & 0x80u) != 0;
    if (at(1) != (next_is_negative ? 0xFFu : 0x00u)) break;
    bytes.remove_suffix(1);
  }
  return bytes;
}

std::int64_t decode_long(std::string_view bytes) noexcept {
  std::uint64_t value = 0;
  if (!bytes.empty() && (static_cast<unsigned char>(bytes.back()) & 0x80u) != 0) value = ~std::uint64_t{0};
  for (std::size_t i = bytes.size(); i-- > 0;) value = (value << 8) | static_cast<unsigned char>(bytes[i]);
  return static_cast<std::int64_t>(value);
}

}  // namespace

bool PickleGraph::is_container(NodeId id) const noexcept {
  const PickleKind kind = nodes_[id].kind;
  return is_growing(kind) || is_fixed(kind) || kind == PickleKind::object;
}

double PickleGraph::floating(NodeId id) const noexcept { return std::bit_cast<double>(nodes_[id].integer); }

std::string_view PickleGraph::text(NodeId id) const noexcept {
  const Node& node = nodes_[id];
  assert(has_text(node.kind));
  return std::string_view(text_).substr(static_cast<std::size_t>(node.integer), node.length);
}

std::string_view PickleGraph::global_module(NodeId id) const noexcept {
  const Node& node = nodes_[id];
  assert(node.kind == PickleKind::global);
  return std::string_view(text_).substr(static_cast<std::size_t>(node.integer), node.index);
}

std::string_view PickleGraph::global_name(NodeId id) const noexcept {
  const Node& node = nodes_[id];
  return std::string_view(text_).substr(static_cast<std::size_t>(node.integer) + node.index, node.length - node.index);
}

bool PickleGraph::is_global(NodeId id, std::string_view module, std::string_view name) const noexcept {
  return is(id, PickleKind::global) && global_module(id) == module && global_name(id) == name;
}

std::span<const NodeId> PickleGraph::items(NodeId id) const noexcept {
  const Node& node = nodes_[id];
  if (is_growing(node.kind)) return containers_[node.index];
  if (is_fixed(node.kind)) return std::span(fixed_).subspan(static_cast<std::size_t>(node.integer), node.length);
  return {};
}

void PickleGraph::for_each_child(NodeId id, const std::function<void(NodeId)>& visit) const {
  for (const NodeId item : items(id)) visit(item);
  if (kind(id) != PickleKind::object) return;
  const PickleObject& instance = object(id);
  visit(instance.callable);
  visit(instance.args);
  for (const NodeId item : instance.list_items) visit(item);
  for (const NodeId item : instance.dict_items) visit(item);
  if (instance.state != no_node) visit(instance.state);
}

NodeId PickleGraph::add(PickleKind kind, std::uint32_t index, std::int64_t integer, std::uint64_t length) {
  assert(nodes_.size() < no_node);
  nodes_.push_back({kind, index, integer, length});
  return static_cast<NodeId>(nodes_.size() - 1);
}

NodeId PickleGraph::add_boolean(bool value) { return add(PickleKind::boolean, 0, value ? 1 : 0); }
NodeId PickleGraph::add_integer(std::int64_t value) { return add(PickleKind::integer, 0, value); }
NodeId PickleGraph::add_floating(double value) {
  return add(PickleKind::floating, 0, std::bit_cast<std::int64_t>(value));
}

NodeId PickleGraph::add_long(std::string_view twos_complement) {
  const std::string_view bytes = minimal_long(twos_complement);
  return bytes.size() <= 8 ? add_integer(decode_long(bytes)) : add_text(PickleKind::big_integer, bytes);
}

NodeId PickleGraph::add_text(PickleKind kind, std::string_view text) {
  assert(has_text(kind));
  const auto offset = static_cast<std::int64_t>(text_.size());
  text_.append(text);
  return add(kind, 0, offset, text.size());
}

std::vector<NodeId>& PickleGraph::mutable_items(NodeId id) {
  Node& node = nodes_[id];
  if (node.index == 0) {
    containers_.emplace_back();
    node.index = static_cast<std::uint32_t>(containers_.size() - 1);
  }
  return containers_[node.index];
}

NodeId PickleGraph::add_container(PickleKind kind) {
  assert(is_growing(kind));
  if (containers_.empty()) containers_.emplace_back();
  return add(kind);
}

NodeId PickleGraph::add_fixed(PickleKind kind, std::span<const NodeId> items) {
  assert(is_fixed(kind));
  const auto offset = static_cast<std::int64_t>(fixed_.size());
  fixed_.insert(fixed_.end(), items.begin(), items.end());
  return add(kind, 0, offset, items.size());
}

NodeId PickleGraph::add_global(std::string_view module, std::string_view name) {
  const auto offset = static_cast<std::int64_t>(text_.size());
  text_.append(module).append(name);
  return add(PickleKind::global, static_cast<std::uint32_t>(module.size()), offset, module.size() + name.size());
}

NodeId PickleGraph::add_persistent(NodeId id) { return add_fixed(PickleKind::persistent, {&id, 1}); }

NodeId PickleGraph::add_object(NodeId callable, NodeId args, bool is_newobj) {
  objects_.push_back({.callable = callable, .args = args, .is_newobj = is_newobj});
  return add(PickleKind::object, static_cast<std::uint32_t>(objects_.size() - 1));
}

}  // namespace tenon
