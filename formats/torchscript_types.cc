#include "formats/torchscript_types.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "formats/numpy_value.h"
#include "formats/structure.h"
#include "tenon/error.h"
#include "tenon/name.h"

namespace tenon {

namespace {

constexpr std::size_t max_depth = 200;
constexpr std::size_t max_type_bytes = std::size_t{64} << 10;
constexpr std::string_view class_prefix = "__torch__.";

[[noreturn]] void refuse(const std::string& name, std::string what) {
  throw Error(ErrorKind::unsupported, {.what = "TorchScript has no type for " + what,
                                       .got = name.empty() ? "the whole object" : printable(name),
                                       .hint = "export it with --format torch, or a part of it as REV:NAME"});
}

// The type that holds values of both; nullopt if there is none.
std::optional<std::string> unite(const std::string& a, const std::string& b) {
  if (a == b || b == "NoneType") {
    const bool is_optional = a == b || a == "NoneType" || a.starts_with("Optional[");
    return is_optional ? a : fmt::format("Optional[{}]", a);
  }
  if (a == "NoneType") return b.starts_with("Optional[") ? b : fmt::format("Optional[{}]", b);
  if (a == fmt::format("Optional[{}]", b)) return a;
  if (b == fmt::format("Optional[{}]", a)) return b;
  return std::nullopt;
}

bool is_class(const std::string& type) { return type.starts_with(class_prefix); }

// The one type of all; nullopt if they differ or one is a module.
std::optional<std::string> unite_all(const std::vector<std::string>& types) {
  std::optional<std::string> all;
  for (const std::string& type : types) {
    if (is_class(type)) return std::nullopt;
    all = all ? unite(*all, type) : type;
    if (!all) return std::nullopt;
  }
  return all;
}

bool is_call(const PickleGraph& graph, NodeId node, std::string_view module, std::string_view name) {
  return graph.is(node, PickleKind::object) && graph.is_global(graph.object(node).callable, module, name);
}

// With nothing beside its items but the metadata that state_dict() gives it.
bool is_ordered_dict(const PickleGraph& graph, NodeId node) {
  if (!is_call(graph, node, "collections", "OrderedDict")) return false;
  const PickleObject& object = graph.object(node);
  if (!graph.items(object.args).empty() || !object.list_items.empty()) return false;
  if (object.state == no_node) return true;
  const auto state = graph.items(object.state);
  return graph.is(object.state, PickleKind::dict) && state.size() == 2 && graph.is(state[0], PickleKind::string) &&
         graph.text(state[0]) == "_metadata";
}

std::string describe_unknown(const PickleGraph& graph, NodeId node) {
  switch (graph.kind(node)) {
    case PickleKind::bytes:
    case PickleKind::bytearray:
      return "bytes";
    case PickleKind::set:
    case PickleKind::frozenset:
      return "a set";
    case PickleKind::big_integer:
      return "an integer beyond 64 bits";
    case PickleKind::global:
      return fmt::format("the class or function {}.{}", graph.global_module(node), graph.global_name(node));
    case PickleKind::object: {
      const NodeId callable = graph.object(node).callable;
      if (!graph.is(callable, PickleKind::global)) return "an object";
      return fmt::format("a {}.{}", graph.global_module(callable), graph.global_name(callable));
    }
    default:
      return "this value";
  }
}

// How an attribute is called by a key; nullopt if it cannot be.
std::optional<std::string> attribute_of_key(const PickleGraph& graph, NodeId key) {
  if (graph.is(key, PickleKind::string)) return std::string(graph.text(key));
  if (graph.is(key, PickleKind::integer)) return std::to_string(graph.integer(key));
  return std::nullopt;
}

}  // namespace

std::span<const NodeId> torchscript_items(const PickleGraph& graph, NodeId node) {
  if (is_ordered_dict(graph, node)) return graph.object(node).dict_items;
  if (is_call(graph, node, "torch", "Size")) return graph.items(graph.items(graph.object(node).args)[0]);
  return graph.items(node);
}

void TorchScriptTypes::add_root(NodeId root) {
  if (!is_class(add(root, ""))) make_level(no_node, {{"value", root}}, "");
}

const TorchScriptLevel* TorchScriptTypes::level_of(NodeId node) const {
  const auto found = level_of_node_.find(node);
  return found == level_of_node_.end() ? nullptr : &levels_[found->second];
}

const std::string& TorchScriptTypes::add(NodeId node, const std::string& name) {
  if (const auto known = types_.find(node); known != types_.end()) return known->second;
  if (!open_.insert(node).second) refuse(name, "an object that contains itself");
  std::string type = open_.size() > max_depth ? std::string() : describe(node, name);
  if (type.empty() || type.size() > max_type_bytes) {
    throw Error(ErrorKind::limit, {.what = "object is nested too deeply for a TorchScript type",
                                   .got = printable(name),
                                   .wanted = fmt::format("at most {} levels", max_depth)});
  }
  open_.erase(node);
  return types_.emplace(node, std::move(type)).first->second;
}

std::string TorchScriptTypes::describe(NodeId node, const std::string& name) {
  if (structure_row(graph_, node)) return describe_row(node, name);
  switch (graph_.kind(node)) {
    case PickleKind::none:
      return "NoneType";
    case PickleKind::boolean:
      return "bool";
    case PickleKind::integer:
      return "int";
    case PickleKind::floating:
      return "float";
    case PickleKind::string:
      return "str";
    case PickleKind::list:
    case PickleKind::tuple:
      return describe_sequence(node, name);
    case PickleKind::dict:
      return describe_dict(node, graph_.items(node), name);
    case PickleKind::object:
      return describe_object(node, name);
    default:
      refuse(name, describe_unknown(graph_, node));
  }
}

std::string TorchScriptTypes::describe_row(NodeId node, const std::string& name) const {
  const StructureRow row = *structure_row(graph_, node);
  if (row.is_storage) refuse(name, "a storage that is no tensor");
  const bool is_array = row.type != no_node && is_numpy_rebuild(graph_, row.type);
  if (row.type != no_node && !is_array) {
    refuse(name,
           fmt::format("a tensor of the class {}.{}", graph_.global_module(row.type), graph_.global_name(row.type)));
  }
  if (row.attributes != no_node) refuse(name, "a tensor with Python attributes");
  return "Tensor";
}

std::string TorchScriptTypes::describe_sequence(NodeId node, const std::string& name) {
  Members members;
  std::vector<std::string> types;
  const auto items = graph_.items(node);
  for (std::size_t i = 0; i < items.size(); ++i) {
    std::string place = name;
    append_component(place, static_cast<std::int64_t>(i));
    members.emplace_back(std::to_string(i), items[i]);
    types.push_back(add(items[i], place));
  }
  const bool has_level = std::any_of(types.begin(), types.end(), is_class);
  if (graph_.is(node, PickleKind::tuple) && !has_level) {
    return types.empty() ? "Tuple[()]" : fmt::format("Tuple[{}]", fmt::join(types, ", "));
  }
  if (types.empty()) return "List[Tensor]";
  const auto all = unite_all(types);
  return all ? fmt::format("List[{}]", *all) : make_level(node, std::move(members), name);
}

std::string TorchScriptTypes::describe_dict(NodeId node, std::span<const NodeId> items, const std::string& name) {
  Members members;
  std::vector<std::string> types;
  std::set<PickleKind> key_kinds;
  for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
    const auto attribute = attribute_of_key(graph_, items[i]);
    std::string place = name;
    append_component(place, attribute ? PathKey(*attribute) : PathKey(OtherKey{"key"}));
    key_kinds.insert(graph_.kind(items[i]));
    types.push_back(add(items[i + 1], place));
    members.emplace_back(attribute.value_or(""), items[i + 1]);
  }
  if (key_kinds.size() > 1) refuse(name, "a dict with keys of several types");
  if (key_kinds.empty() || *key_kinds.begin() == PickleKind::string) return make_level(node, std::move(members), name);
  const PickleKind keys = *key_kinds.begin();
  const bool are_scalars = keys == PickleKind::integer || keys == PickleKind::floating || keys == PickleKind::boolean;
  if (!are_scalars) refuse(name, "a dict with keys that are neither strings nor numbers");
  const auto all = unite_all(types);
  const std::string_view key_type = keys == PickleKind::integer    ? "int"
                                    : keys == PickleKind::floating ? "float"
                                                                   : "bool";
  if (all) return fmt::format("Dict[{}, {}]", key_type, *all);
  if (keys != PickleKind::integer)
    refuse(name, "a dict whose values are of several types and whose keys name no attribute");
  return make_level(node, std::move(members), name);
}

std::string TorchScriptTypes::describe_object(NodeId node, const std::string& name) {
  const PickleObject& object = graph_.object(node);
  const auto args = graph_.items(object.args);
  if (is_ordered_dict(graph_, node)) return describe_dict(node, object.dict_items, name);
  const bool is_complex =
      is_call(graph_, node, "__builtin__", "complex") || is_call(graph_, node, "builtins", "complex");
  if (is_complex && args.size() == 2 && graph_.is(args[0], PickleKind::floating) &&
      graph_.is(args[1], PickleKind::floating)) {
    return "complex";
  }
  if (is_call(graph_, node, "torch", "device") && !args.empty() && graph_.is(args[0], PickleKind::string)) {
    return "Device";
  }
  if (is_call(graph_, node, "torch", "Size") && args.size() == 1 && graph_.is(args[0], PickleKind::tuple)) {
    const auto extents = graph_.items(args[0]);
    const auto is_integer = [&](NodeId extent) { return graph_.is(extent, PickleKind::integer); };
    if (std::all_of(extents.begin(), extents.end(), is_integer)) return "List[int]";
  }
  refuse(name, describe_unknown(graph_, node));
}

std::string TorchScriptTypes::make_level(NodeId node, Members members, const std::string& name) {
  std::set<std::string_view> attributes;
  for (const auto& [attribute, value] : members) {
    if (!attributes.insert(attribute).second) refuse(name, "a dict that has a key twice");
  }
  std::string class_name = fmt::format("Snapshot_{}", levels_.size());
  level_of_node_.emplace(node, levels_.size());
  levels_.push_back({node, class_name, std::move(members)});
  return std::string(class_prefix) + class_name;
}

}  // namespace tenon
