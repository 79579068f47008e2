#include <algorithm>
#include <bit>
#include <cassert>

#include "formats/latin1_text.h"
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
  const PickleKind found = kind(id);
  return is_growing(found) || is_fixed(found) || found == PickleKind::object;
}

void PickleGraph::become(NodeId id, NodeId other) noexcept {
  assert(is_node(id));
  if (is_node(other)) {
    nodes_[id] = nodes_[other];
    return;
  }
  Node value{.kind = kind(other)};
  if (value.kind == PickleKind::integer) value.integer = integer(other);
  if (value.kind == PickleKind::boolean) value.integer = boolean(other) ? 1 : 0;
  if (value.kind == PickleKind::floating) value.integer = std::bit_cast<std::int64_t>(floating(other));
  nodes_[id] = value;
}

double PickleGraph::floating(NodeId id) const noexcept {
  return is_node(id) ? std::bit_cast<double>(nodes_[id].integer) : floats_[id - first_float];
}

std::string_view PickleGraph::text(NodeId id) const {
  assert(has_text(kind(id)));
  const Node& node = nodes_[id];
  if (!node.is_long) return text_of(node);
  const LongBytes& text = long_bytes_[node.number];
  std::call_once(text.is_made, [&] {
    std::string bytes;
    bytes.reserve(text.nbytes);
    text.send([&](std::span<const std::byte> piece) {
      bytes.append(reinterpret_cast<const char*>(piece.data()), piece.size());
    });
    text.bytes = std::move(bytes);
  });
  return text.bytes;
}

std::uint64_t PickleGraph::text_bytes(NodeId id) const noexcept {
  assert(has_text(kind(id)));
  const Node& node = nodes_[id];
  return node.is_long ? long_bytes_[node.number].nbytes : node.number;
}

void PickleGraph::send_text(NodeId id, const Sink& sink) const {
  assert(has_text(kind(id)));
  const Node& node = nodes_[id];
  node.is_long ? long_bytes_[node.number].send(sink) : sink(std::as_bytes(std::span(text_of(node))));
}

std::optional<std::string_view> PickleGraph::encoded_bytes(NodeId id) const noexcept {
  const Node& node = nodes_[id];
  return node.is_long ? long_bytes_[node.number].utf8 : std::nullopt;
}

std::string_view PickleGraph::global_module(NodeId id) const noexcept {
  assert(kind(id) == PickleKind::global);
  const std::string_view both = text_of(nodes_[id]);
  return both.substr(0, both.find('\n'));
}

std::string_view PickleGraph::global_name(NodeId id) const noexcept {
  assert(kind(id) == PickleKind::global);
  const std::string_view both = text_of(nodes_[id]);
  return both.substr(both.find('\n') + 1);
}

bool PickleGraph::is_global(NodeId id, std::string_view module, std::string_view name) const noexcept {
  return is(id, PickleKind::global) && global_module(id) == module && global_name(id) == name;
}

std::span<const NodeId> PickleGraph::items(NodeId id) const noexcept {
  if (!is_node(id)) return {};
  const Node& node = nodes_[id];
  if (is_growing(node.kind)) return containers_[node.number];
  if (is_fixed(node.kind)) return {node.items, node.number};
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

NodeId PickleGraph::add(const Node& node) {
  assert(nodes_.size() < first_integer);
  nodes_.push_back(node);
  return static_cast<NodeId>(nodes_.size() - 1);
}

void* PickleGraph::allocate(std::size_t bytes) {
  constexpr std::size_t alignment = alignof(NodeId);
  arena_bytes_ += (bytes + alignment - 1) / alignment * alignment;
  return arena_->allocate(bytes, alignment);
}

NodeId PickleGraph::add_integer(std::int64_t value) {
  constexpr std::int64_t end = std::int64_t{1} << 29;
  if (value < -end || value >= end) return add({.kind = PickleKind::integer, .integer = value});
  return first_integer | (static_cast<std::uint32_t>(value) & ~first_float);
}

NodeId PickleGraph::add_floating(double value) {
  assert(floats_.size() < none_id - first_float);
  floats_.push_back(value);
  return first_float + static_cast<NodeId>(floats_.size() - 1);
}

NodeId PickleGraph::add_long(std::string_view twos_complement) {
  const std::string_view bytes = minimal_long(twos_complement);
  return bytes.size() <= 8 ? add_integer(decode_long(bytes)) : add_text(PickleKind::big_integer, bytes);
}

NodeId PickleGraph::add_text(PickleKind kind, std::string_view text) {
  assert(has_text(kind) && text.size() <= no_node);
  auto* copy = static_cast<char*>(allocate(text.size()));
  std::copy(text.begin(), text.end(), copy);
  return add({.kind = kind, .number = static_cast<std::uint32_t>(text.size()), .text = copy});
}

NodeId PickleGraph::add_borrowed_text(PickleKind kind, std::string_view text,
                                      const std::shared_ptr<const void>& owner) {
  assert(has_text(kind) && text.size() <= no_node && (!owner_ || owner_ == owner));
  owner_ = owner;
  outside_bytes_ += text.size();
  return add({.kind = kind, .number = static_cast<std::uint32_t>(text.size()), .text = text.data()});
}

NodeId PickleGraph::add_encoded_bytes(PickleKind kind, std::string_view utf8, std::uint64_t nbytes) {
  assert(kind == PickleKind::bytes || kind == PickleKind::bytearray);
  const NodeId id = add_long_bytes(kind, nbytes, [utf8](const Sink& sink) { decode_latin1(utf8, sink); });
  long_bytes_.back().utf8 = utf8;
  return id;
}

NodeId PickleGraph::add_deferred_bytes(std::uint64_t nbytes, SendBytes send) {
  outside_bytes_ += nbytes;
  return add_long_bytes(PickleKind::bytes, nbytes, std::move(send));
}

NodeId PickleGraph::add_long_bytes(PickleKind kind, std::uint64_t nbytes, SendBytes send) {
  LongBytes& text = long_bytes_.emplace_back();
  text.nbytes = nbytes;
  text.send = std::move(send);
  return add({.kind = kind, .is_long = true, .number = static_cast<std::uint32_t>(long_bytes_.size() - 1)});
}

std::vector<NodeId>& PickleGraph::mutable_items(NodeId id) {
  Node& node = nodes_[id];
  if (node.number == 0) {
    containers_.emplace_back();
    node.number = static_cast<std::uint32_t>(containers_.size() - 1);
  }
  return containers_[node.number];
}

NodeId PickleGraph::add_container(PickleKind kind) {
  assert(is_growing(kind));
  if (containers_.empty()) containers_.emplace_back();
  return add({.kind = kind});
}

NodeId PickleGraph::add_fixed(PickleKind kind, std::span<const NodeId> items) {
  assert(is_fixed(kind) && items.size() <= no_node);
  auto* copy = static_cast<NodeId*>(allocate(items.size_bytes()));
  std::copy(items.begin(), items.end(), copy);
  return add({.kind = kind, .number = static_cast<std::uint32_t>(items.size()), .items = copy});
}

NodeId PickleGraph::add_global(std::string_view module, std::string_view name) {
  assert(module.find('\n') == std::string_view::npos);
  const std::size_t length = module.size() + 1 + name.size();
  assert(length <= no_node);
  auto* copy = static_cast<char*>(allocate(length));
  char* after_module = std::copy(module.begin(), module.end(), copy);
  *after_module = '\n';
  std::copy(name.begin(), name.end(), after_module + 1);
  return add({.kind = PickleKind::global, .number = static_cast<std::uint32_t>(length), .text = copy});
}

NodeId PickleGraph::add_persistent(NodeId id) { return add_fixed(PickleKind::persistent, {&id, 1}); }

NodeId PickleGraph::add_object(NodeId callable, NodeId args, bool is_newobj) {
  objects_.push_back({.callable = callable, .args = args, .is_newobj = is_newobj});
  return add({.kind = PickleKind::object, .number = static_cast<std::uint32_t>(objects_.size() - 1)});
}

}  // namespace tenon
