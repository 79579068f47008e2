#include "tools/name_tree.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <unordered_map>
#include <utility>

#include "tenon/name.h"
#include "tools/text.h"

namespace tenon::tools {
namespace {

constexpr std::size_t depth_max = 128;  // deeper names keep their rest in one label: nesting is a file's to choose

// While the tree grows, children are found by label, and by whether they are a tensor: of the names "a." and "a.b" the
// first is one under the label that is a branch of the second.
struct Growing {
  NameNode node;
  std::vector<Growing> children;
  std::array<std::unordered_map<std::string, std::size_t>, 2> by_label;  // of branches; of tensors
};

Growing& child(Growing& parent, const std::string& label, bool is_tensor) {
  const auto [found, is_new] = parent.by_label[is_tensor ? 1 : 0].try_emplace(label, parent.children.size());
  if (is_new) {
    parent.children.emplace_back();
    parent.children.back().node.label = label;
  }
  return parent.children[found->second];
}

void add_bytes(NameNode& node, std::uint64_t nbytes) {
  if (__builtin_add_overflow(node.nbytes, nbytes, &node.nbytes)) node.nbytes = uncountable;
}

void insert(Growing& root, const Content& content, std::uint32_t index) {
  const TensorRow row = content.row(index);
  const std::uint64_t nbytes = tensor_bytes(row);
  Growing* at = &root;
  root.node.tensors += 1;
  add_bytes(root.node, nbytes);
  const std::vector<std::string> labels = split_name(row.name);
  for (const std::string& label : labels) {
    at = &child(*at, label, &label == &labels.back());
    at->node.tensors += 1;
    add_bytes(at->node, nbytes);
  }
  at->node.row = index;
}

NameNode finish(Growing growing) {
  NameNode node = std::move(growing.node);
  for (Growing& grown : growing.children) node.children.push_back(finish(std::move(grown)));
  return node;
}

// "12." is 12 and "."; nullopt for a label that does not begin with a number.
std::optional<std::pair<std::uint64_t, std::string_view>> split_number(std::string_view label) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(label.data(), label.data() + label.size(), number);
  if (error != std::errc()) return std::nullopt;
  return std::pair(number, label.substr(static_cast<std::size_t>(end - label.data())));
}

// Equal for subtrees that hold alike tensors under the same labels. The label of `node` itself stays out.
std::string signature(const NameNode& node, const Content& content) {
  if (node.row) {
    const TensorRow row = content.row(*node.row);
    return fmt::format("{}{}{}", dtype_name(row.dtype), format_shape(row.shape), kind_name(row.kind));
  }
  std::string text = "{";
  for (const NameNode& below : node.children) {
    text += fmt::format("{}:{}={};", below.label.size(), below.label, signature(below, content));
  }
  return text + "}";
}

// One after the other: numbers that follow each other, the same rest, the same signature.
struct Run {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  std::string rest;
  std::string signature;
};

bool extends(const Run& run, std::uint64_t number, std::string_view rest, const std::string& node_signature) {
  return number == run.last + 1 && rest == run.rest && node_signature == run.signature;
}

void absorb(NameNode& node, Run& run, const NameNode& next) {
  ++run.last;
  node.tensors += next.tensors;
  add_bytes(node, next.nbytes);
  node.folded += 1;
  node.label = fmt::format("[{}-{}]{}", run.first, run.last, run.rest);
}

}  // namespace

NameNode build_name_tree(const Content& content, std::span<const std::uint32_t> rows) {
  Growing root;
  for (std::uint32_t index : rows) insert(root, content, index);
  return finish(std::move(root));
}

void fold(NameNode& node, const Content& content) {
  std::vector<NameNode> folded;
  std::optional<Run> run;
  for (NameNode& next : node.children) {
    const auto numbered = split_number(next.label);
    std::string next_signature = numbered ? signature(next, content) : "";
    if (numbered && run && extends(*run, numbered->first, numbered->second, next_signature)) {
      absorb(folded.back(), *run, next);
      continue;
    }
    run.reset();
    if (numbered) {
      run = Run{numbered->first, numbered->first, std::string(numbered->second), std::move(next_signature)};
    }
    folded.push_back(std::move(next));
  }
  node.children = std::move(folded);
  for (NameNode& below : node.children) fold(below, content);
}

void join_chains(NameNode& node) {
  for (NameNode& below : node.children) {
    while (below.children.size() == 1) {
      NameNode only = std::move(below.children.front());
      only.label.insert(0, below.label);
      only.folded *= below.folded;
      only.tensors = below.tensors;
      only.nbytes = below.nbytes;
      below = std::move(only);
    }
    join_chains(below);
  }
}

std::vector<std::string> split_name(std::string_view name) {
  std::vector<std::string> labels;
  const Path path = parse_name(name);
  if (path.empty()) return {std::string(name)};
  for (std::size_t i = 0; i < path.size(); ++i) {
    std::string component;
    append_component(component, path[i]);
    if (i + 1 < path.size()) component += '/';
    const bool is_literal = component.starts_with('"') || component.starts_with('<');
    for (std::size_t dot; !is_literal && labels.size() + 1 < depth_max; component.erase(0, dot + 1)) {
      dot = component.find('.');
      if (dot == std::string::npos || dot + 1 == component.size()) break;
      labels.push_back(component.substr(0, dot + 1));
    }
    if (labels.size() < depth_max) {
      labels.push_back(component);
    } else {
      labels.back() += component;
    }
  }
  return labels;
}

}  // namespace tenon::tools
