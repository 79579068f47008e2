#include "formats/structure.h"

#include <cmath>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "formats/structure_parts.h"
#include "tenon/error.h"
#include "tenon/name.h"

namespace tenon {

namespace {

constexpr std::size_t max_depth = 10'000;
constexpr std::size_t max_name_bytes = 64 * 1024;
constexpr std::size_t max_repeats = std::size_t{1} << 20;  // children of what is at several places
// Of the keys on all ways: a short pickle can repeat a long one.
constexpr std::size_t names_bytes_min = std::size_t{128} << 20;
constexpr std::size_t names_bytes_per_pickle_byte = 16;
constexpr std::size_t max_literal_bytes = 256;
constexpr int max_literal_depth = 8;

struct Child {
  NodeId node = no_node;         // no_node: nothing to walk at this position
  std::optional<PathKey> key{};  // nullopt: the name of its owner
  std::string_view suffix{};     // is added to that
};

// A place on the way down: `owner` was reached, the content of `content` is walked.
struct Frame {
  NodeId owner;
  NodeId content;
  std::size_t name_bytes;
  std::size_t position = 0;
  std::optional<std::vector<StructurePart>> parts{};  // where `content` is an object whose content is known
  bool has_finds = false;                             // something below was not as it was, or is not known yet
};

class Walker {
 public:
  Walker(const PickleGraph& graph, const StructureVisitor& visit, const std::string& file)
      : graph_(graph),
        visit_(visit),
        file_(file),
        is_on_path_(graph.size()),
        is_visited_(graph.size()),
        has_finds_(graph.size()),
        repeats_left_(graph.value_count() + max_repeats),
        names_bytes_left_(names_bytes_min + names_bytes_per_pickle_byte * graph.pickle_bytes) {}

  void run() {
    reach(graph_.root);
    while (!frames_.empty()) advance();
  }

 private:
  void advance();
  void reach(NodeId node);
  void leave();
  void note_find();
  void count_repeat(std::size_t children);
  void append_key(const PathKey& key);
  [[noreturn]] void fail(const char* what, std::string wanted) const;
  std::optional<std::vector<StructurePart>> parts_of(NodeId node) const;
  std::size_t child_count(const Frame& frame) const;
  Child child_at(const Frame& frame, std::size_t position) const;
  Child child_of_object(const PickleObject& object, std::size_t position) const;
  Child pair_at(std::span<const NodeId> pairs, std::size_t position) const;
  bool is_walked(NodeId node) const { return graph_.is_container(node); }

  const PickleGraph& graph_;
  const StructureVisitor& visit_;
  const std::string& file_;
  std::vector<bool> is_on_path_;
  std::vector<bool> is_visited_;
  std::vector<bool> has_finds_;  // of what was visited and left
  std::size_t repeats_left_;
  std::size_t names_bytes_left_;
  std::string name_;
  std::vector<Frame> frames_;
};

void Walker::advance() {
  Frame& frame = frames_.back();
  name_.resize(frame.name_bytes);
  if (frame.position == child_count(frame)) return leave();
  const Child child = child_at(frame, frame.position++);
  if (child.node == no_node || !is_walked(child.node)) return;
  if (child.key) append_key(*child.key);
  name_ += name_.empty() && child.suffix.starts_with('.') ? child.suffix.substr(1) : child.suffix;
  reach(child.node);
}

void Walker::reach(NodeId node) {
  if (!is_walked(node)) return;
  if (is_on_path_[node]) return note_find();
  if (is_visited_[node] && !has_finds_[node]) return;  // nothing to find, however many places it is at
  const bool is_repeated = is_visited_[node];
  is_visited_[node] = true;
  if (frames_.size() >= max_depth) fail("object is nested too deeply", fmt::format("at most {} levels", max_depth));
  if (name_.size() > max_name_bytes)
    fail("the names on the way to a value are too long", fmt::format("at most {} bytes", max_name_bytes));
  const NodeId content = visit_(node, name_);
  if (content != node) {
    has_finds_[node] = true;
    note_find();
  }
  if (content == no_node || !is_walked(content)) return;
  if (content != node && is_on_path_[content]) return;
  is_on_path_[node] = is_on_path_[content] = true;
  frames_.push_back({.owner = node, .content = content, .name_bytes = name_.size(), .parts = parts_of(content)});
  if (is_repeated) count_repeat(1 + child_count(frames_.back()));
}

void Walker::count_repeat(std::size_t children) {
  if (children > repeats_left_) fail("object is at too many places in itself", "fewer shared parts");
  repeats_left_ -= children;
}

void Walker::append_key(const PathKey& key) {
  append_component(name_, key);
  const std::size_t added = name_.size() - frames_.back().name_bytes;
  if (added > names_bytes_left_) fail("the names of all values are too long", "shorter keys");
  names_bytes_left_ -= added;
}

std::optional<std::vector<StructurePart>> Walker::parts_of(NodeId node) const {
  if (!graph_.is(node, PickleKind::object)) return std::nullopt;
  return parts_of_object(graph_, graph_.object(node));
}

// What closes a cycle counts, for what is below it is not known yet.
void Walker::note_find() {
  if (!frames_.empty()) frames_.back().has_finds = true;
}

void Walker::fail(const char* what, std::string wanted) const {
  throw Error(ErrorKind::limit, {.what = what, .file = file_, .wanted = std::move(wanted)});
}

void Walker::leave() {
  const Frame left = frames_.back();
  is_on_path_[left.owner] = false;
  is_on_path_[left.content] = false;
  frames_.pop_back();
  if (!left.has_finds) return;
  has_finds_[left.owner] = has_finds_[left.content] = true;
  note_find();
}

std::size_t Walker::child_count(const Frame& frame) const {
  if (frame.parts) return frame.parts->size();
  if (graph_.kind(frame.content) != PickleKind::object) return graph_.items(frame.content).size();
  const PickleObject& object = graph_.object(frame.content);
  return 3 + object.list_items.size() + object.dict_items.size();
}

Child Walker::child_at(const Frame& frame, std::size_t position) const {
  if (frame.parts) return {.node = (*frame.parts)[position].node, .suffix = (*frame.parts)[position].suffix};
  const NodeId node = frame.content;
  switch (graph_.kind(node)) {
    case PickleKind::dict:
      return pair_at(graph_.items(node), position);
    case PickleKind::object:
      return child_of_object(graph_.object(node), position);
    case PickleKind::persistent:
      return {};
    default: {
      const NodeId item = graph_.items(node)[position];
      if (!is_walked(item)) return {};
      return {item, static_cast<std::int64_t>(position)};
    }
  }
}

// Callable and arguments, list items, dict items, state.
Child Walker::child_of_object(const PickleObject& object, std::size_t position) const {
  if (position == 0) return {object.callable, OtherKey{"callable"}};
  if (position == 1) return {object.args, OtherKey{"args"}};
  position -= 2;
  if (position < object.list_items.size()) {
    // Beside dict items, the index alone could be one of their keys.
    if (object.dict_items.empty()) return {object.list_items[position], static_cast<std::int64_t>(position)};
    return {object.list_items[position], OtherKey{fmt::format("item {}", position)}};
  }
  position -= object.list_items.size();
  if (position < object.dict_items.size()) return pair_at(object.dict_items, position);
  const bool is_state_alone = object.list_items.empty() && object.dict_items.empty();
  return {object.state, is_state_alone ? std::nullopt : std::optional<PathKey>(OtherKey{"state"})};
}

void append_quoted(std::string& out, std::string_view text) {
  out += '\'';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\'' || c == '\\') out += '\\';
    byte < 0x20 || byte == 0x7F ? void(out += fmt::format("\\x{:02x}", byte)) : out.push_back(c);
  }
  out += '\'';
}

void append_byte_literal(std::string& out, std::string_view bytes) {
  out += "b'";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\'' || c == '\\') out += '\\';
    byte < 0x20 || byte >= 0x7F ? void(out += fmt::format("\\x{:02x}", byte)) : out.push_back(c);
  }
  out += '\'';
}

std::string float_literal(double value) {
  if (std::isnan(value)) return "nan";
  std::string text = fmt::format("{}", value);
  if (text.find_first_not_of("-0123456789") == std::string::npos) text += ".0";
  return text;
}

bool is_long(const PickleGraph& graph, NodeId key) {
  switch (graph.kind(key)) {
    case PickleKind::string:
    case PickleKind::bytes:
    case PickleKind::big_integer:
      return graph.text_bytes(key) > max_literal_bytes;
    case PickleKind::global:
      return graph.global_module(key).size() + graph.global_name(key).size() > max_literal_bytes;
    default:
      return false;
  }
}

// As Python would write it. False for what has no short literal; `depth` bounds the recursion.
bool append_literal(const PickleGraph& graph, NodeId key, std::string& out, int depth = 0) {
  if (depth > max_literal_depth || out.size() > max_literal_bytes || is_long(graph, key)) return false;
  switch (graph.kind(key)) {
    case PickleKind::none:
      out += "None";
      return true;
    case PickleKind::boolean:
      out += graph.boolean(key) ? "True" : "False";
      return true;
    case PickleKind::integer:
      out += std::to_string(graph.integer(key));
      return true;
    case PickleKind::floating:
      out += float_literal(graph.floating(key));
      return true;
    case PickleKind::global:
      out += fmt::format("{}.{}", graph.global_module(key), graph.global_name(key));
      return true;
    case PickleKind::string:
      append_quoted(out, graph.text(key));
      break;
    case PickleKind::bytes:
      append_byte_literal(out, graph.text(key));
      break;
    case PickleKind::big_integer: {
      out += "int.from_bytes(";
      append_byte_literal(out, graph.text(key));
      out += ')';
      break;
    }
    case PickleKind::tuple: {
      out += '(';
      const auto items = graph.items(key);
      for (std::size_t i = 0; i < items.size(); ++i) {
        if (i > 0) out += ", ";
        if (!append_literal(graph, items[i], out, depth + 1)) return false;
      }
      out += items.size() == 1 ? ",)" : ")";
      break;
    }
    default:
      return false;
  }
  return out.size() <= max_literal_bytes;
}

}  // namespace

PathKey path_key(const PickleGraph& graph, NodeId key, std::size_t position) {
  if (graph.kind(key) == PickleKind::string) return std::string(graph.text(key));
  if (graph.kind(key) == PickleKind::integer) return graph.integer(key);
  std::string literal;
  if (append_literal(graph, key, literal)) return OtherKey{std::move(literal)};
  return OtherKey{fmt::format("value {}", position)};
}

std::string literal_of(const PickleGraph& graph, NodeId node) {
  std::string literal;
  return append_literal(graph, node, literal) ? literal : std::string();
}

namespace {

// Keys are walked, too: a tensor, or something that holds one, may be a key.
Child Walker::pair_at(std::span<const NodeId> pairs, std::size_t position) const {
  const NodeId node = pairs[position];
  if (!is_walked(node)) return {};
  if (position % 2 == 0) return {node, OtherKey{fmt::format("key {}", position / 2)}};
  return {node, path_key(graph_, pairs[position - 1], position / 2)};
}

}  // namespace

void walk_structure(const PickleGraph& graph, const StructureVisitor& visit, const std::string& file) {
  Walker(graph, visit, file).run();
}

std::optional<NodeId> find_in_structure(const PickleGraph& graph, std::string_view name) {
  std::optional<NodeId> found;
  walk_structure(graph, [&](NodeId node, const std::string& here) {
    const bool is_match = here == name || (here.empty() && name == ".");
    if (is_match && !found) found = node;
    const bool may_lead_there = !found && (here.empty() || name.starts_with(here));
    if (!may_lead_there) return no_node;
    // A tensor's own content is not walked, only what comes with it.
    const auto row = structure_row(graph, node);
    return !row || row->scales != no_node ? node : row->attributes;
  });
  return found;
}

}  // namespace tenon
