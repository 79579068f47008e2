#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "formats/numpy_value.h"
#include "formats/structure.h"
#include "tenon/formats.h"
#include "tenon/name.h"

namespace tenon {

namespace {

constexpr std::size_t max_lines = 200'000;
constexpr std::size_t max_bytes = std::size_t{8} << 20;
constexpr std::size_t max_indent = 100;
constexpr std::size_t max_text_bytes = 120;
constexpr std::size_t max_inline_items = 12;

class Describer {
 public:
  Describer(const PickleGraph& graph, const std::function<std::string(std::uint32_t)>& describe_row)
      : graph_(graph), describe_row_(describe_row), is_shown_(graph.size()), inline_(graph.size()) {}

  std::string run() {
    pending_.push_back({.node = graph_.root});
    for (std::size_t lines = 0; !pending_.empty(); ++lines) {
      if (lines == max_lines || text_.size() > max_bytes) return std::move(text_ += "...\n");
      const Line line = std::move(pending_.back());
      pending_.pop_back();
      show(line);
    }
    return std::move(text_);
  }

 private:
  struct Line {
    NodeId node;
    NodeId key = no_node;      // "'key': "
    std::string_view label{};  // "state: "
    std::size_t depth = 0;
  };

  void show(const Line& line);
  std::string label_of(const Line& line) const;
  void show_content(const Line& line);
  void show_items(std::span<const NodeId> items, std::vector<Line>& lines, std::size_t depth);
  void show_pairs(std::span<const NodeId> pairs, std::vector<Line>& lines, std::size_t depth);
  bool is_inline(NodeId node) const;
  bool is_short_sequence(NodeId node) const;
  std::string summary(NodeId node) const;
  std::string scalar(NodeId node) const;
  std::string row_text(const StructureRow& row) const;
  std::string inline_items(NodeId node) const;

  const PickleGraph& graph_;
  const std::function<std::string(std::uint32_t)>& describe_row_;
  std::vector<bool> is_shown_;
  enum class Inline : std::uint8_t { unknown, yes, no };
  mutable std::vector<Inline> inline_;  // of each node: a list may be at many places, and long
  std::vector<Line> pending_;           // the next one last
  std::string text_;
};

void Describer::show(const Line& line) {
  const bool is_container = graph_.is_container(line.node);
  const bool is_repeated = is_container && is_shown_[line.node] && !is_inline(line.node);
  text_ += fmt::format("{:{}}{}{}{}\n", "", 2 * std::min(line.depth, max_indent), label_of(line), summary(line.node),
                       is_repeated ? " (as above)" : "");
  if (is_repeated || !is_container) return;
  is_shown_[line.node] = true;
  if (line.depth < max_indent) show_content(line);
}

// Made when it is shown: of lines that wait there may be many.
std::string Describer::label_of(const Line& line) const {
  if (line.key == no_node) return std::string(line.label);
  return (is_inline(line.key) ? inline_items(line.key) : scalar(line.key)) + ": ";
}

void Describer::show_content(const Line& line) {
  if (!graph_.is_container(line.node) || is_inline(line.node) || numpy_scalar_text(graph_, line.node)) return;
  std::vector<Line> lines;
  const std::size_t depth = line.depth + 1;
  if (const auto row = structure_row(graph_, line.node)) {
    if (row->scales != no_node) lines.push_back({.node = row->scales, .label = "scales: ", .depth = depth});
    if (row->zero_points != no_node)
      lines.push_back({.node = row->zero_points, .label = "zero_points: ", .depth = depth});
    if (row->attributes != no_node) lines.push_back({.node = row->attributes, .label = "attributes: ", .depth = depth});
  } else if (graph_.is(line.node, PickleKind::dict)) {
    show_pairs(graph_.items(line.node), lines, depth);
  } else if (graph_.is(line.node, PickleKind::object)) {
    const PickleObject& object = graph_.object(line.node);
    if (!graph_.items(object.args).empty())
      lines.push_back({.node = object.args, .label = "arguments: ", .depth = depth});
    show_items(object.list_items, lines, depth);
    show_pairs(object.dict_items, lines, depth);
    if (object.state != no_node) lines.push_back({.node = object.state, .label = "state: ", .depth = depth});
  } else {
    show_items(graph_.items(line.node), lines, depth);
  }
  pending_.insert(pending_.end(), std::make_move_iterator(lines.rbegin()), std::make_move_iterator(lines.rend()));
  if (pending_.size() <= 2 * max_lines) return;
  pending_.erase(pending_.begin(), pending_.end() - max_lines);  // there is no room for the last of them
}

// What comes after the last line that is shown need not be prepared.
void Describer::show_items(std::span<const NodeId> items, std::vector<Line>& lines, std::size_t depth) {
  for (const NodeId item : items.first(std::min(items.size(), max_lines)))
    lines.push_back({.node = item, .depth = depth});
}

void Describer::show_pairs(std::span<const NodeId> pairs, std::vector<Line>& lines, std::size_t depth) {
  for (std::size_t i = 0; i + 1 < std::min(pairs.size(), 2 * max_lines); i += 2) {
    lines.push_back({.node = pairs[i + 1], .key = pairs[i], .depth = depth});
  }
}

// A list or tuple of scalars fits its own line.
bool Describer::is_inline(NodeId node) const {
  if (!graph_.is_container(node)) return false;
  Inline& known = inline_[node];
  if (known == Inline::unknown) known = is_short_sequence(node) ? Inline::yes : Inline::no;
  return known == Inline::yes;
}

bool Describer::is_short_sequence(NodeId node) const {
  const PickleKind kind = graph_.kind(node);
  const bool is_sequence =
      kind == PickleKind::list || kind == PickleKind::tuple || kind == PickleKind::set || kind == PickleKind::frozenset;
  const auto items = graph_.items(node);
  return is_sequence &&
         std::none_of(items.begin(), items.end(), [&](NodeId item) { return graph_.is_container(item); });
}

std::string Describer::summary(NodeId node) const {
  if (const auto row = structure_row(graph_, node)) return row_text(*row);
  if (is_inline(node)) return inline_items(node);
  const std::size_t size = graph_.items(node).size();
  switch (graph_.kind(node)) {
    case PickleKind::dict:
      return fmt::format("dict of {}", size / 2);
    case PickleKind::list:
      return fmt::format("list of {}", size);
    case PickleKind::tuple:
      return fmt::format("tuple of {}", size);
    case PickleKind::set:
      return fmt::format("set of {}", size);
    case PickleKind::frozenset:
      return fmt::format("frozenset of {}", size);
    case PickleKind::object: {
      if (const auto text = numpy_scalar_text(graph_, node)) return *text;
      const NodeId callable = graph_.object(node).callable;
      return graph_.is(callable, PickleKind::global) ? scalar(callable) : "object";
    }
    default:
      return scalar(node);
  }
}

std::string Describer::row_text(const StructureRow& row) const {
  std::string text = (row.is_storage ? "storage of " : "") + describe_row_(row.row);
  if (row.type != no_node) {
    text += fmt::format(" {}", is_numpy_rebuild(graph_, row.type) ? numpy_array_wrapper : scalar(row.type));
  }
  return text;
}

std::string Describer::scalar(NodeId node) const {
  const auto shorten = [](std::string_view text) {
    const bool is_long = text.size() > max_text_bytes;
    return printable(text.substr(0, max_text_bytes)) + (is_long ? fmt::format("... ({} bytes)", text.size()) : "");
  };
  switch (graph_.kind(node)) {
    case PickleKind::none:
      return "None";
    case PickleKind::boolean:
      return graph_.boolean(node) ? "True" : "False";
    case PickleKind::integer:
      return std::to_string(graph_.integer(node));
    case PickleKind::floating:
      return fmt::format("{}", graph_.floating(node));
    case PickleKind::string:
      return "'" + shorten(graph_.text(node)) + "'";
    case PickleKind::global:
      return shorten(fmt::format("{}.{}", graph_.global_module(node), graph_.global_name(node)));
    case PickleKind::big_integer:
      return fmt::format("integer of {} bytes", graph_.text_bytes(node));
    case PickleKind::bytes:
      return fmt::format("{} bytes", graph_.text_bytes(node));
    case PickleKind::bytearray:
      return fmt::format("bytearray of {}", graph_.text_bytes(node));
    default:
      return "object";
  }
}

std::string Describer::inline_items(NodeId node) const {
  const auto items = graph_.items(node);
  std::vector<std::string> shown;
  for (const NodeId item : items.first(std::min(items.size(), max_inline_items))) shown.push_back(scalar(item));
  if (items.size() > shown.size()) shown.push_back(fmt::format("... ({} in all)", items.size()));
  const bool is_lone_tuple = graph_.is(node, PickleKind::tuple) && items.size() == 1;
  const std::string inner = fmt::format("{}{}", fmt::join(shown, ", "), is_lone_tuple ? "," : "");
  switch (graph_.kind(node)) {
    case PickleKind::tuple:
      return "(" + inner + ")";
    case PickleKind::list:
      return "[" + inner + "]";
    case PickleKind::set:
      return "set(" + inner + ")";
    default:
      return "frozenset(" + inner + ")";
  }
}

std::string row_text(DType dtype, std::span<const std::int64_t> shape) {
  return fmt::format("{} [{}]", dtype_info(dtype).name, fmt::join(shape, ", "));
}

// What is described, wherever it is.
struct Rows {
  std::uint32_t size;
  std::function<std::string(std::uint32_t)> name;
  std::function<std::string(std::uint32_t)> text;
};

std::string describe_rows(const Rows& rows, std::span<const std::byte> structure) {
  if (!structure.empty()) {
    const auto itself = [](std::uint32_t row) { return row; };
    return describe_graph(decode_structure(structure, rows.size, itself), rows.text);
  }
  std::string text = fmt::format("names of {} tensors\n", rows.size);
  for (std::uint32_t i = 0; i < rows.size; ++i) {
    text += fmt::format("  {}: {}\n", printable(rows.name(i)), rows.text(i));
  }
  return text;
}

}  // namespace

std::string describe_graph(const PickleGraph& graph, const std::function<std::string(std::uint32_t)>& describe_row) {
  return Describer(graph, describe_row).run();
}

std::string describe_structure(const Snapshot& snapshot) {
  return describe_rows(
      {.size = snapshot.size(),
       .name = [&](std::uint32_t i) { return std::string(snapshot.row(i).name); },
       .text = [&](std::uint32_t i) { return row_text(snapshot.row(i).dtype, snapshot.row(i).shape); }},
      snapshot.structure());
}

std::string describe_structure(const Draft& draft) {
  return describe_rows(
      {.size = static_cast<std::uint32_t>(draft.tensors.size()),
       .name = [&](std::uint32_t i) { return draft.tensors[i].name; },
       .text = [&](std::uint32_t i) { return row_text(draft.tensors[i].dtype, draft.tensors[i].shape); }},
      draft.structure);
}

}  // namespace tenon
