#include <string>
#include <utility>
#include <vector>

#include "formats/pickle.h"
#include "formats/pickle_output.h"
#include "tenon/error.h"

namespace tenon {

namespace {

constexpr std::size_t batch = 1000;  // items per APPENDS or SETITEMS, as Python has it
// Of each node: how often it is referred to, until it has a place in the memo. Only what is shared needs one.
constexpr std::uint32_t unseen = 0xFFFFFFFFu;
constexpr std::uint32_t referred_once = 0xFFFFFFFEu;
constexpr std::uint32_t referred_often = 0xFFFFFFFDu;

struct References {
  std::vector<std::uint32_t> of_node;
  std::size_t count = 0;  // of all, also to what is no node
};

References count_references(const PickleGraph& graph, NodeId root) {
  References references{.of_node = std::vector<std::uint32_t>(graph.size(), unseen)};
  std::vector<NodeId> pending;
  const auto refer = [&](NodeId id) {
    ++references.count;
    if (id >= graph.size()) return;
    std::uint32_t& seen = references.of_node[id];
    if (seen == unseen && graph.is_container(id)) pending.push_back(id);
    seen = seen == unseen ? referred_once : referred_often;
  };
  refer(root);
  while (!pending.empty()) {
    const NodeId id = pending.back();
    pending.pop_back();
    graph.for_each_child(id, refer);
  }
  return references;
}

// Depth first with a stack of what is still to be written; a node that is complete may enter the memo.
class Writer {
 public:
  Writer(const PickleGraph& graph, NodeId root) : graph_(graph) {
    References references = count_references(graph, root);
    memo_ = std::move(references.of_node);
    // Cyclic tuples are written anew inside themselves, as Python does; this bounds how much of that we follow.
    budget_ = 8 * references.count + 1024;
    // More than it will be, for growing would mean two of it; pages that stay empty cost nothing.
    constexpr std::size_t small_value_bytes = 5;
    out_.reserve(graph.memory_bytes() + 2 * graph.outside_bytes() + small_value_bytes * references.count);
  }

  std::vector<std::byte> run(NodeId root) {
    out_.put("\x80\x02");
    todo_.push_back({Step::node, root});
    while (!todo_.empty()) {
      const Task task = todo_.back();
      todo_.pop_back();
      perform(task);
    }
    out_.put('.');
    return out_.take();
  }

 private:
  enum class Step : std::uint8_t {
    node,
    items,       // of a list, from `position` on: MARK ... APPENDS
    pairs,       // of a dict: MARK ... SETITEMS
    list_items,  // of an object
    dict_items,
    opcode,       // `position` is the opcode
    tuple_items,  // from `position` on
    finish_tuple,
    finish_set,
    finish_reduce,
    finish_persistent,
  };
  struct Task {
    Step step;
    NodeId node = no_node;
    std::size_t position = 0;
  };

  void perform(const Task& task);
  void write_node(NodeId id);
  bool write_scalar(NodeId id);
  void write_tuple(NodeId id);
  void write_set(NodeId id);
  void write_bytes(NodeId id);
  void write_object(NodeId id);
  void fill_object(NodeId id);
  void write_batch(const Task& task, std::span<const NodeId> items, std::size_t step, char opcode);
  void write_latin1_call(NodeId bytes);
  void finish_immutable(NodeId id);
  bool can_close_cycle(NodeId id) const;
  void remember(NodeId id);
  bool recall(NodeId id);
  bool is_remembered(NodeId id) const { return id < memo_.size() && memo_[id] < referred_often; }

  void defer(Step step, NodeId node, std::size_t position = 0) { todo_.push_back({step, node, position}); }
  void defer_opcode(char opcode) { defer(Step::opcode, no_node, static_cast<unsigned char>(opcode)); }
  // Pushes so that the first item is written first.
  void defer_items(std::span<const NodeId> items) {
    for (std::size_t i = items.size(); i-- > 0;) defer(Step::node, items[i]);
  }
  void write_tuple_item(NodeId tuple, std::size_t position);

  const PickleGraph& graph_;
  std::vector<std::uint32_t> memo_;
  std::size_t budget_ = 0;
  std::uint32_t memo_size_ = 0;
  std::vector<Task> todo_;
  PickleOutput out_;
};

void Writer::perform(const Task& task) {
  switch (task.step) {
    case Step::node:
      return write_node(task.node);
    case Step::items:
      return write_batch(task, graph_.items(task.node), 1, 'e');
    case Step::pairs:
      return write_batch(task, graph_.items(task.node), 2, 'u');
    case Step::list_items:
      return write_batch(task, graph_.object(task.node).list_items, 1, 'e');
    case Step::dict_items:
      return write_batch(task, graph_.object(task.node).dict_items, 2, 'u');
    case Step::opcode:
      return out_.put(static_cast<char>(task.position));
    case Step::tuple_items:
      return write_tuple_item(task.node, task.position);
    case Step::finish_tuple: {
      const std::size_t size = graph_.items(task.node).size();
      constexpr std::string_view short_tuples = "\x85\x86\x87";
      out_.put(size <= 3 ? short_tuples[size - 1] : 't');
      return finish_immutable(task.node);
    }
    case Step::finish_set:
      out_.put("\x85R");  // one argument, the list
      return finish_immutable(task.node);
    case Step::finish_reduce:
      out_.put(graph_.object(task.node).is_newobj ? '\x81' : 'R');
      return fill_object(task.node);
    case Step::finish_persistent:
      out_.put('Q');
      return finish_immutable(task.node);
  }
}

void Writer::write_node(NodeId id) {
  if (recall(id)) return;
  if (budget_-- == 0) {
    throw Error(ErrorKind::limit, {.what = "structure refers to itself too often to be written"});
  }
  if (write_scalar(id)) return;
  switch (graph_.kind(id)) {
    case PickleKind::list:
    case PickleKind::dict: {
      const bool is_list = graph_.kind(id) == PickleKind::list;
      out_.put(is_list ? ']' : '}');
      remember(id);
      return defer(is_list ? Step::items : Step::pairs, id);
    }
    case PickleKind::tuple:
      return write_tuple(id);
    case PickleKind::set:
    case PickleKind::frozenset:
      return write_set(id);
    case PickleKind::persistent:
      defer(Step::finish_persistent, id);
      return defer(Step::node, graph_.items(id)[0]);
    case PickleKind::object:
      return write_object(id);
    default:
      return;
  }
}

bool Writer::write_scalar(NodeId id) {
  switch (graph_.kind(id)) {
    case PickleKind::none:
      out_.put('N');
      return true;
    case PickleKind::boolean:
      out_.put(graph_.boolean(id) ? '\x88' : '\x89');
      return true;
    case PickleKind::integer:
      out_.put_integer(graph_.integer(id));
      return true;
    case PickleKind::big_integer:
      out_.put_long(graph_.text(id));
      return true;
    case PickleKind::floating:
      out_.put_floating(graph_.floating(id));
      return true;
    case PickleKind::string:
      out_.put_string(graph_.text(id));
      break;
    case PickleKind::bytes:
    case PickleKind::bytearray:
      write_bytes(id);
      break;
    case PickleKind::global:
      out_.put_global(graph_.global_module(id), graph_.global_name(id));
      break;
    default:
      return false;
  }
  remember(id);
  return true;
}

void Writer::write_tuple(NodeId id) {
  const auto items = graph_.items(id);
  if (items.empty()) return out_.put(')');
  if (items.size() > 3) out_.put('(');
  defer(Step::finish_tuple, id);
  defer(Step::tuple_items, id);
}

// One by one: a tuple may have millions, and no batches.
void Writer::write_tuple_item(NodeId tuple, std::size_t position) {
  const auto items = graph_.items(tuple);
  if (position + 1 < items.size()) defer(Step::tuple_items, tuple, position + 1);
  defer(Step::node, items[position]);
}

// Protocol 2 has no sets: they are calls with a list.
void Writer::write_set(NodeId id) {
  out_.put(graph_.kind(id) == PickleKind::set ? "c__builtin__\nset\n]" : "c__builtin__\nfrozenset\n]");
  defer(Step::finish_set, id);
  defer(Step::items, id);
}

// Nor does it have bytes: they are text that is encoded.
void Writer::write_bytes(NodeId id) {
  if (graph_.kind(id) == PickleKind::bytes) return write_latin1_call(id);
  out_.put("c__builtin__\nbytearray\n");
  write_latin1_call(id);
  out_.put("\x85R");
}

void Writer::write_latin1_call(NodeId bytes) {
  out_.put("c_codecs\nencode\n");
  const auto encoded = graph_.encoded_bytes(bytes);
  if (encoded) {
    out_.put_string(*encoded);
  } else {
    out_.put_latin1(graph_.text_bytes(bytes), [&](const PickleGraph::Sink& sink) { graph_.send_text(bytes, sink); });
  }
  out_.put_string("latin1");
  out_.put("\x86R");
}

void Writer::write_object(NodeId id) {
  defer(Step::finish_reduce, id);
  defer(Step::node, graph_.object(id).args);
  defer(Step::node, graph_.object(id).callable);
}

// Items and state come after the object is remembered, for they may refer to it; and only once.
void Writer::fill_object(NodeId id) {
  const bool is_filled_already = is_remembered(id);
  finish_immutable(id);
  if (is_filled_already) return;
  const PickleObject& object = graph_.object(id);
  if (object.state != no_node) {
    defer_opcode('b');
    defer(Step::node, object.state);
  }
  if (!object.dict_items.empty()) defer(Step::dict_items, id);
  if (!object.list_items.empty()) defer(Step::list_items, id);
}

// One batch, then the next one.
void Writer::write_batch(const Task& task, std::span<const NodeId> items, std::size_t step, char opcode) {
  if (task.position == items.size()) return;
  const std::size_t count = std::min(batch * step, items.size() - task.position);
  out_.put('(');
  defer(task.step, task.node, task.position + count);
  defer_opcode(opcode);
  defer_items(items.subspan(task.position, count));
}

// A value that could not be remembered before it was complete. If a cycle led back to it meanwhile, that inner copy is
// the one that others refer to.
void Writer::finish_immutable(NodeId id) {
  if (!is_remembered(id)) return remember(id);
  out_.put('0');
  recall(id);
}

// What a cycle can close through is always remembered: if it is inside a tuple that is not complete yet, that tuple is
// written again where the cycle meets it, and must find its content in the memo.
bool Writer::can_close_cycle(NodeId id) const {
  const PickleKind kind = graph_.kind(id);
  if (kind != PickleKind::object) return kind == PickleKind::list || kind == PickleKind::dict;
  const PickleObject& object = graph_.object(id);
  return object.state != no_node || !object.list_items.empty() || !object.dict_items.empty();
}

void Writer::remember(NodeId id) {
  if (memo_[id] != referred_often && !can_close_cycle(id)) return;
  memo_[id] = memo_size_++;
  const bool is_short = memo_[id] <= 0xFF;
  out_.put(is_short ? 'q' : 'r');
  out_.put_little_endian(memo_[id], is_short ? 1 : 4);
}

bool Writer::recall(NodeId id) {
  if (!is_remembered(id)) return false;
  const bool is_short = memo_[id] <= 0xFF;
  out_.put(is_short ? 'h' : 'j');
  out_.put_little_endian(memo_[id], is_short ? 1 : 4);
  return true;
}

}  // namespace

std::vector<std::byte> write_pickle(const PickleGraph& graph, NodeId root) { return Writer(graph, root).run(root); }

}  // namespace tenon
