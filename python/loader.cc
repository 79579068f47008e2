#include "python/loader.h"

#include <optional>
#include <string>
#include <vector>

#include "python/arrays.h"
#include "python/torch_names.h"
#include "tenon/error.h"

namespace tenon::python {

namespace {

constexpr int max_depth = 2'000;

class Loader {
 public:
  Loader(const Snapshot& snapshot, const LoadRequest& request)
      : snapshot_(snapshot),
        request_(request),
        structure_(Structure::of(snapshot, request.prefix)),
        objects_(structure_.size()),
        globals_(structure_.size()) {}

  py::object run() {
    resolve(look_ahead());
    find_memory();
    if (request_.tensors == Tensors::torch) torch_.emplace(snapshot_, *memory_, request_.placement);
    return make(structure_.root());
  }

 private:
  std::vector<NodeId> look_ahead();
  void resolve(const std::vector<NodeId>& globals);
  void find_memory();
  std::vector<NodeId> children_of(const StructureNode& node) const;
  bool is_value(NodeId id) const { return id >= objects_.size(); }  // told by the id; nothing refers to it twice
  py::object make(NodeId id);
  py::object make_new(NodeId id, const StructureNode& node);
  py::object make_list(NodeId id, const StructureNode& node);
  py::object make_tuple(const StructureNode& node);
  py::object make_dict(NodeId id, const StructureNode& node);
  py::object make_set(NodeId id, const StructureNode& node);
  py::object make_object(NodeId id, const StructureNode& node);
  py::object make_tensor(const StructureNode& node);
  py::object make_array(std::uint32_t row);
  py::object make_storage(const StructureNode& node);
  void fill(const py::object& object, const StructureNode& node);

  const Snapshot& snapshot_;
  const LoadRequest& request_;
  const Structure structure_;
  std::vector<std::uint32_t> slots_;  // of all tensors below the root
  std::optional<SlotMemory> memory_;
  std::optional<TorchTensors> torch_;
  std::optional<Arrays> arrays_;
  std::vector<py::object> objects_;  // of nodes that are made
  std::vector<py::object> globals_;
  int depth_ = 0;
};

std::vector<NodeId> Loader::children_of(const StructureNode& node) const {
  std::vector<NodeId> out(node.items.begin(), node.items.end());
  out.insert(out.end(), node.pairs.begin(), node.pairs.end());
  const NodeId type = node.is_numpy_array ? no_node : node.type;
  for (const NodeId id : {type, node.attributes, node.scales, node.zero_points, node.callable, node.args, node.state}) {
    if (id != no_node) out.push_back(id);
  }
  return out;
}

// The slots and the classes and functions below the root.
std::vector<NodeId> Loader::look_ahead() {
  std::vector<bool> is_seen(structure_.size());
  std::vector<NodeId> pending{structure_.root()};
  std::vector<NodeId> globals;
  while (!pending.empty()) {
    const NodeId id = pending.back();
    pending.pop_back();
    if (is_value(id) || is_seen[id]) continue;
    is_seen[id] = true;
    const StructureNode node = structure_.node(id);
    const bool is_row = node.kind == NodeKind::tensor || node.kind == NodeKind::storage;
    if (node.kind == NodeKind::global) globals.push_back(id);
    if (is_row && request_.copies_part && snapshot_.row(node.row).slot != no_slot)
      slots_.push_back(snapshot_.row(node.row).slot);
    const bool is_leaf = node.items.empty() && node.pairs.empty() && node.kind != NodeKind::object &&
                         node.type == no_node && node.attributes == no_node && node.scales == no_node;
    if (is_leaf) continue;
    const auto children = children_of(node);
    pending.insert(pending.end(), children.rbegin(), children.rend());
  }
  return globals;
}

// All at once, so that one error can name everything that the policy refuses.
void Loader::resolve(const std::vector<NodeId>& globals) {
  if (globals.empty()) return;
  py::list names;
  for (const NodeId id : globals) {
    const StructureNode node = structure_.node(id);
    names.append(py::make_tuple(text(node.text), text(node.name)));
  }
  const py::list resolved = request_.policy.attr("resolve")(names);
  for (std::size_t i = 0; i < globals.size(); ++i) globals_[globals[i]] = resolved[i];
}

void Loader::find_memory() {
  if (!request_.copies_part) {
    memory_.emplace(snapshot_);
    return;
  }
  const py::gil_scoped_release unlocked;
  memory_.emplace(snapshot_, slots_);
}

py::object Loader::make(NodeId id) {
  if (is_value(id)) return make_new(id, structure_.node(id));
  if (objects_[id]) return objects_[id];
  if (++depth_ > max_depth) {
    throw Error(ErrorKind::limit,
                {.what = "object is nested too deeply for Python", .wanted = std::to_string(max_depth) + " levels"});
  }
  py::object made = make_new(id, structure_.node(id));
  --depth_;
  if (!objects_[id]) objects_[id] = std::move(made);  // a cycle may have made it on the way
  return objects_[id];
}

py::object Loader::make_new(NodeId id, const StructureNode& node) {
  switch (node.kind) {
    case NodeKind::none:
      return py::none();
    case NodeKind::boolean:
      return py::bool_(node.boolean);
    case NodeKind::integer:
      return integer(node.integer);
    case NodeKind::big_integer:
      return py::type::of(py::int_(0)).attr("from_bytes")(bytes(node.text), "little", py::arg("signed") = true);
    case NodeKind::floating:
      return own(PyFloat_FromDouble(node.floating));
    case NodeKind::string:
      return text(node.text);
    case NodeKind::bytes:
      return bytes(node.text);
    case NodeKind::bytearray:
      return own(PyByteArray_FromStringAndSize(node.text.data(), static_cast<Py_ssize_t>(node.text.size())));
    case NodeKind::list:
      return make_list(id, node);
    case NodeKind::tuple:
      return make_tuple(node);
    case NodeKind::dict:
      return make_dict(id, node);
    case NodeKind::set:
      return make_set(id, node);
    case NodeKind::frozenset:
      return own(PyFrozenSet_New(make_tuple(node).ptr()));
    case NodeKind::global:
      return globals_[id];
    case NodeKind::tensor:
      return make_tensor(node);
    case NodeKind::storage:
      return make_storage(node);
    case NodeKind::object:
      return make_object(id, node);
  }
  return {};
}

py::object Loader::make_list(NodeId id, const StructureNode& node) {
  py::list list;
  objects_[id] = list;
  for (const NodeId item : node.items) list.append(make(item));
  return list;
}

py::object Loader::make_tuple(const StructureNode& node) {
  py::object tuple = own(PyTuple_New(static_cast<Py_ssize_t>(node.items.size())));
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    PyTuple_SET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(i), make(node.items[i]).release().ptr());
  }
  return tuple;
}

py::object Loader::make_dict(NodeId id, const StructureNode& node) {
  py::dict dict;
  objects_[id] = dict;
  for (std::size_t i = 0; i + 1 < node.items.size(); i += 2) {
    const py::object key = make(node.items[i]);
    const py::object value = make(node.items[i + 1]);
    if (PyDict_SetItem(dict.ptr(), key.ptr(), value.ptr()) != 0) throw py::error_already_set();
  }
  return dict;
}

py::object Loader::make_set(NodeId id, const StructureNode& node) {
  py::set set;
  objects_[id] = set;
  for (const NodeId item : node.items) {
    if (PySet_Add(set.ptr(), make(item).ptr()) != 0) throw py::error_already_set();
  }
  return set;
}

py::object Loader::make_object(NodeId id, const StructureNode& node) {
  const py::object callable = make(node.callable);
  const py::object args = make(node.args);
  if (objects_[id]) return objects_[id];
  py::object object = request_.policy.attr("make")(callable, args, node.is_newobj);
  objects_[id] = object;
  fill(object, node);
  return object;
}

void Loader::fill(const py::object& object, const StructureNode& node) {
  for (const NodeId item : node.items) {
    if (PyList_CheckExact(object.ptr())) {
      if (PyList_Append(object.ptr(), make(item).ptr()) != 0) throw py::error_already_set();
    } else {
      request_.policy.attr("append")(object, make(item));
    }
  }
  for (std::size_t i = 0; i + 1 < node.pairs.size(); i += 2) {
    const py::object key = make(node.pairs[i]);
    const py::object value = make(node.pairs[i + 1]);
    if (PyObject_SetItem(object.ptr(), key.ptr(), value.ptr()) != 0) throw py::error_already_set();
  }
  if (node.state != no_node) request_.policy.attr("set_state")(object, make(node.state));
}

py::object Loader::make_tensor(const StructureNode& node) {
  if (node.is_numpy_array || !torch_) return make_array(node.row);
  py::object tensor = node.scales != no_node || !snapshot_.row(node.row).quantizer.empty()
                          ? torch_->quantized(node.row, node.scales == no_node ? py::none() : make(node.scales),
                                              node.zero_points == no_node ? py::none() : make(node.zero_points))
                          : torch_->tensor(node.row);
  if (node.type == no_node && node.attributes == no_node) return tensor;
  return torch_names().rebuild_typed(tensor, node.type == no_node ? py::none() : make(node.type),
                                     node.attributes == no_node ? py::none() : make(node.attributes));
}

py::object Loader::make_array(std::uint32_t row) {
  if (!arrays_) arrays_.emplace(snapshot_, *memory_);
  if (py::object array = arrays_->array(row)) return array;
  return request_.make_handle(row);
}

// Without torch there are no storages: an array over the same bytes.
py::object Loader::make_storage(const StructureNode& node) {
  return torch_ ? torch_->storage(node.row) : make_array(node.row);
}

}  // namespace

py::object load_object(const Snapshot& snapshot, const LoadRequest& request) { return Loader(snapshot, request).run(); }

}  // namespace tenon::python
