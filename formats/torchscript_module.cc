#include "formats/torchscript_module.h"

#include <array>
#include <optional>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "formats/torch_tensor.h"
#include "tenon/error.h"
#include "tenon/name.h"

namespace tenon {

namespace {

constexpr int max_wrapped = 64;  // values in values
constexpr std::uint64_t names_bytes_min = std::uint64_t{8} << 20;
constexpr std::uint64_t names_bytes_per_pickle_byte = 4;

bool is_compiled_class(const PickleGraph& graph, NodeId node) {
  if (!graph.is(node, PickleKind::global)) return false;
  const std::string_view module = graph.global_module(node);
  return module == "__torch__" || module.starts_with("__torch__.");
}

// An instance of a compiled class whose state is its attributes.
bool is_module(const PickleGraph& graph, NodeId node) {
  if (!graph.is(node, PickleKind::object)) return false;
  const PickleObject& object = graph.object(node);
  return is_compiled_class(graph, object.callable) && graph.is(object.state, PickleKind::dict);
}

std::string class_name(const PickleGraph& graph, NodeId module) {
  const NodeId callable = graph.object(module).callable;
  return fmt::format("{}.{}", graph.global_module(callable), graph.global_name(callable));
}

// The value inside a typed container, a named tuple, or an instance with a state of its own making; no_node if `node`
// is none of these.
NodeId wrapped_value(const PickleGraph& graph, NodeId node) {
  if (!graph.is(node, PickleKind::object)) return no_node;
  const PickleObject& object = graph.object(node);
  if (!graph.is(object.callable, PickleKind::global)) return no_node;
  const auto args = graph.items(object.args);
  if (graph.global_module(object.callable) == "torch.jit._pickle") {
    const bool is_reference = graph.global_name(object.callable) == "build_tensor_from_id";
    return args.empty() || is_reference ? no_node : args[0];
  }
  if (!is_compiled_class(graph, object.callable) || is_module(graph, node)) return no_node;
  if (object.state != no_node) return object.state;
  return object.is_newobj || args.empty() ? no_node : object.args;
}

void unwrap(PickleGraph& graph, NodeId node) {
  NodeId value = wrapped_value(graph, node);
  if (value == no_node) return;
  for (int depth = 0; depth < max_wrapped; ++depth) {
    const NodeId next = wrapped_value(graph, value);
    if (next == no_node) break;
    value = next;
  }
  if (value != node) graph.become(node, value);
}

bool is_utility_call(const PickleGraph& graph, NodeId node, std::string_view function) {
  return graph.is(node, PickleKind::object) && graph.is_global(graph.object(node).callable, "torch._utils", function);
}

// at::Layout, with the number of index tensors of each.
struct SparseLayout {
  std::int64_t code;
  std::string_view name;
  std::size_t indices;
};
constexpr std::array sparse_layouts{SparseLayout{1, "torch.sparse_coo", 1}, SparseLayout{2, "torch.sparse_csr", 2},
                                    SparseLayout{4, "torch.sparse_csc", 2}, SparseLayout{5, "torch.sparse_bsr", 2},
                                    SparseLayout{6, "torch.sparse_bsc", 2}};

constexpr std::size_t max_sparse_args = 7;

// (layout code, size, requires_grad, indices..., values, hooks) becomes (layout, (indices..., values, size)).
void rewrite_sparse(PickleGraph& graph, NodeId node) {
  const NodeId callable = graph.object(node).callable;
  const auto span = graph.items(graph.object(node).args);
  if (span.empty() || span.size() > max_sparse_args || !graph.is(span[0], PickleKind::integer)) return;
  const std::vector<NodeId> args(span.begin(), span.end());
  for (const SparseLayout& layout : sparse_layouts) {
    if (layout.code != graph.integer(args[0]) || args.size() != layout.indices + 5) continue;
    const NodeId name = graph.add_tuple({graph.add_string(layout.name)});
    const NodeId made_layout = graph.add_object(graph.add_global("torch.serialization", "_get_layout"), name);
    std::vector<NodeId> data(args.begin() + 3, args.end() - 1);
    data.push_back(graph.add_object(graph.add_global("torch", "Size"), graph.add_tuple({args[1]})));
    const NodeId made_data = graph.add_fixed(PickleKind::tuple, data);
    graph.become(node, graph.add_object(callable, graph.add_tuple({made_layout, made_data})));
  }
}

bool is_meta_storage(const PickleGraph& graph, NodeId node) {
  if (!graph.is(node, PickleKind::persistent)) return false;
  const NodeId id = graph.items(node)[0];
  const auto items = graph.items(id);
  return graph.is(id, PickleKind::tuple) && items.size() == 5 && graph.is(items[3], PickleKind::string) &&
         graph.text(items[3]) == "meta";
}

// A tensor on the device "meta" has an empty record.
void rewrite_meta(PickleGraph& graph, NodeId node, const std::string& file) {
  const auto span = graph.items(graph.object(node).args);
  if (span.size() < 6 || !is_meta_storage(graph, span[0])) return;
  const std::vector<NodeId> args(span.begin(), span.begin() + 6);
  const DType dtype = parse_torch_storage(graph, args[0], file).dtype;
  if (dtype == DType::invalid) return;
  const NodeId type = graph.add_global("torch", dtype_info(dtype).name);
  const NodeId function = graph.add_global("torch._utils", "_rebuild_meta_tensor_no_storage");
  graph.become(node, graph.add_object(function, graph.add_tuple({type, args[2], args[3], args[4]})));
}

// Walks modules depth first, in the order of their attributes.
class Flattener {
 public:
  Flattener(PickleGraph& graph, const TorchScriptClasses& classes, const std::string& file)
      : graph_(graph),
        classes_(classes),
        file_(file),
        repeats_left_(graph.size()),
        names_bytes_max_(names_bytes_min + names_bytes_per_pickle_byte * graph.pickle_bytes) {}

  // Pairs of name and value.
  const std::vector<std::pair<std::string, NodeId>>& run(NodeId root);
  std::unordered_map<std::string, TensorKind>& kinds() { return kinds_; }

 private:
  struct Level {
    NodeId module;
    std::string prefix;
    std::string class_name;
    std::size_t next = 0;  // of the state's items
  };
  void enter(NodeId module, std::string prefix);
  void visit(NodeId key, NodeId value);
  void add_attribute(const Level& level, std::string name, std::string_view attribute, NodeId value);
  void count_name(std::size_t nbytes);

  const PickleGraph& graph_;
  const TorchScriptClasses& classes_;
  const std::string& file_;
  std::vector<Level> levels_;
  std::unordered_set<NodeId> open_;  // on the way to here: a module that holds itself ends there
  std::unordered_set<NodeId> seen_;
  std::size_t repeats_left_;
  std::uint64_t names_bytes_ = 0;
  const std::uint64_t names_bytes_max_;
  std::vector<std::pair<std::string, NodeId>> attributes_;
  std::unordered_map<std::string, TensorKind> kinds_;
};

const std::vector<std::pair<std::string, NodeId>>& Flattener::run(NodeId root) {
  enter(root, "");
  while (!levels_.empty()) {
    Level& level = levels_.back();
    const auto items = graph_.items(graph_.object(level.module).state);
    if (level.next + 1 >= items.size()) {
      open_.erase(level.module);
      levels_.pop_back();
      continue;
    }
    level.next += 2;
    visit(items[level.next - 2], items[level.next - 1]);
  }
  return attributes_;
}

// What several modules hold is walked at each place, as far as that at most doubles the work.
void Flattener::enter(NodeId module, std::string prefix) {
  if (!open_.insert(module).second) return;
  if (!seen_.insert(module).second) {
    const std::size_t cost = 1 + graph_.items(graph_.object(module).state).size();
    if (cost > repeats_left_) {
      open_.erase(module);
      return;
    }
    repeats_left_ -= cost;
  }
  levels_.push_back({module, std::move(prefix), class_name(graph_, module)});
}

void Flattener::visit(NodeId key, NodeId value) {
  const Level& level = levels_.back();
  if (!graph_.is(key, PickleKind::string)) {
    throw Error(ErrorKind::corrupt, {.what = "attribute of a module has a name that is no string", .file = file_});
  }
  const std::string_view attribute = graph_.text(key);
  std::string name = level.prefix.empty() ? std::string(attribute) : fmt::format("{}.{}", level.prefix, attribute);
  count_name(name.size());
  if (is_module(graph_, value)) return enter(value, std::move(name));
  add_attribute(level, std::move(name), attribute, value);
}

void Flattener::add_attribute(const Level& level, std::string name, std::string_view attribute, NodeId value) {
  const bool is_own = attribute == "training" || attribute == "_is_full_backward_hook";
  if (is_own && (graph_.is(value, PickleKind::boolean) || graph_.is(value, PickleKind::none))) return;
  const TensorKind kind = classes_.kind_of(level.class_name, attribute);
  if (kind != TensorKind::plain) {
    std::string row;
    append_component(row, name);
    kinds_.emplace(std::move(row), kind);
  }
  attributes_.emplace_back(std::move(name), value);
}

void Flattener::count_name(std::size_t nbytes) {
  names_bytes_ += nbytes;
  if (names_bytes_ <= names_bytes_max_) return;
  throw Error(ErrorKind::limit, {.what = "modules are nested so deeply that their names grow beyond all measure",
                                 .file = file_,
                                 .wanted = fmt::format("at most {} bytes of names", names_bytes_max_)});
}

// What is left of instances stands inside values, where their attributes are a dict.
void become_states(PickleGraph& graph) {
  const std::size_t size = graph.size();
  for (NodeId node = 0; node < size; ++node) {
    if (is_module(graph, node)) graph.become(node, graph.object(node).state);
  }
}

}  // namespace

void make_plain(PickleGraph& graph, const std::string& file) {
  const std::size_t size = graph.size();
  for (NodeId node = 0; node < size; ++node) {
    unwrap(graph, node);
    if (is_utility_call(graph, node, "_rebuild_sparse_tensor")) rewrite_sparse(graph, node);
    if (is_utility_call(graph, node, "_rebuild_tensor_v2")) rewrite_meta(graph, node, file);
  }
}

TorchScriptModule flatten_torchscript(PickleGraph object, const TorchScriptClasses& classes, const std::string& file) {
  TorchScriptModule made{.graph = std::move(object)};
  PickleGraph& graph = made.graph;
  make_plain(graph, file);
  if (is_module(graph, graph.root)) {
    Flattener flattener(graph, classes, file);
    const auto& attributes = flattener.run(graph.root);
    const NodeId root = graph.add_container(PickleKind::dict);
    for (const auto& [name, value] : attributes) {
      const NodeId key = graph.add_string(name);
      auto& items = graph.mutable_items(root);
      items.push_back(key);
      items.push_back(value);
    }
    graph.root = root;
    made.kinds = std::move(flattener.kinds());
  }
  become_states(graph);
  return made;
}

void apply_kinds(const TorchScriptModule& module, std::vector<TensorDraft>& tensors) {
  for (TensorDraft& tensor : tensors) {
    const auto found = module.kinds.find(tensor.name);
    if (found != module.kinds.end()) tensor.kind = found->second;
  }
}

}  // namespace tenon
