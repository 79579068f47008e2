#include "formats/torchscript_v1.h"

#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "formats/pickle.h"
#include "formats/record_attachments.h"
#include "formats/torch_archive.h"
#include "formats/torch_import.h"
#include "formats/torch_tensor.h"
#include "formats/torchscript_module.h"
#include "formats/torchscript_v1_model.h"
#include "tenon/error.h"

namespace tenon {

namespace {

constexpr std::uint64_t max_json_bytes = std::uint64_t{16} << 20;
constexpr std::int64_t newest_version = 5;  // 6 was never released: it has a data.pkl
constexpr std::int64_t first_with_values = 2;

// The values of attributes.pkl, and what they are put together with to one object.
class Builder {
 public:
  Builder(const V1Model& model, const ArchiveStorages& storages, PickleGraph values)
      : model_(model), storages_(storages), graph_(std::move(values)) {
    const auto items = graph_.items(graph_.root);
    values_.assign(items.begin(), items.end());
    tensors_.assign(model_.tensors.size(), no_node);
  }

  // A module whose attributes are modules and values, as TorchScript's later pickles have it.
  PickleGraph run();
  TorchScriptClasses& classes() noexcept { return classes_; }

 private:
  NodeId make_module(std::size_t index, const std::vector<NodeId>& modules);
  void add_constants(NodeId root);
  NodeId tensor(std::int64_t index);
  NodeId make_tensor(std::size_t index);
  NodeId storage(const V1Tensor& tensor);
  NodeId value(std::int64_t index) const;
  void resolve_references();
  NodeId reference(NodeId node) const;
  bool is_instance_of(NodeId node, std::string_view name) const {
    return graph_.is(node, PickleKind::object) && graph_.is_global(graph_.object(node).callable, "__main__", name);
  }
  NodeId extents(const std::vector<std::int64_t>& values);
  void add_member(NodeId dict, std::string_view name, NodeId value);
  [[noreturn]] void refuse(std::string what, std::int64_t got, std::size_t size) const;

  const V1Model& model_;
  const ArchiveStorages& storages_;
  PickleGraph graph_;
  TorchScriptClasses classes_;
  std::vector<NodeId> values_;
  std::vector<NodeId> tensors_;  // no_node: nothing refers to it yet
};

// Submodules stand behind what they are in, so the last come first.
PickleGraph Builder::run() {
  resolve_references();
  std::vector<NodeId> modules(model_.modules.size(), no_node);
  for (std::size_t i = modules.size(); i-- > 0;) modules[i] = make_module(i, modules);
  graph_.root = modules[0];
  add_constants(graph_.object(graph_.root).state);
  return std::move(graph_);
}

// Its class says which one it is, and so what is declared of it.
NodeId Builder::make_module(std::size_t index, const std::vector<NodeId>& modules) {
  const V1Module& module = model_.modules[index];
  const std::string name = fmt::format("Module_{}", index);
  const NodeId members = graph_.add_container(PickleKind::dict);
  std::unordered_set<std::string_view> buffers;
  for (const V1Parameter& parameter : module.parameters) {
    add_member(members, parameter.name, tensor(parameter.tensor));
    if (parameter.is_buffer) buffers.insert(parameter.name);
    const TensorKind kind = parameter.is_buffer ? TensorKind::buffer : TensorKind::parameter;
    classes_.declare("__torch__." + name, parameter.name, kind);
  }
  for (const V1Attribute& attribute : module.attributes) {
    if (!buffers.contains(attribute.name)) add_member(members, attribute.name, value(attribute.value));
  }
  if (module.state >= 0) add_member(members, "__getstate__", value(module.state));
  for (const std::size_t submodule : module.submodules) {
    add_member(members, model_.modules[submodule].name, modules[submodule]);
  }
  const NodeId made = graph_.add_object(graph_.add_global("__torch__", name), graph_.add_tuple({}), true);
  graph_.mutable_object(made).state = members;
  return made;
}

// What no module refers to is there for the code.
void Builder::add_constants(NodeId root) {
  const NodeId constants = graph_.add_container(PickleKind::dict);
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    if (tensors_[i] != no_node) continue;
    const NodeId key = graph_.add_integer(static_cast<std::int64_t>(i));
    const NodeId made = make_tensor(i);
    auto& items = graph_.mutable_items(constants);
    items.insert(items.end(), {key, made});
  }
  if (!graph_.items(constants).empty()) add_member(root, "constants", constants);
}

NodeId Builder::tensor(std::int64_t index) {
  if (index < 0 || static_cast<std::uint64_t>(index) >= tensors_.size()) {
    refuse("model.json refers to a tensor that is not in its table", index, tensors_.size());
  }
  NodeId& made = tensors_[static_cast<std::size_t>(index)];
  if (made == no_node) made = make_tensor(static_cast<std::size_t>(index));
  return made;
}

NodeId Builder::make_tensor(std::size_t index) {
  const V1Tensor& tensor = model_.tensors[index];
  const NodeId hooks = graph_.add_object(graph_.add_global("collections", "OrderedDict"), graph_.add_tuple({}));
  const NodeId requires_grad = graph_.add_boolean(tensor.requires_grad);
  std::vector<NodeId> args{storage(tensor), graph_.add_integer(tensor.offset), extents(tensor.shape),
                           extents(tensor.stride)};
  if (tensor.is_quantized) {
    args.push_back(graph_.add_tuple({graph_.add_global("torch", "per_tensor_affine"), graph_.add_floating(tensor.scale),
                                     graph_.add_integer(tensor.zero_point)}));
  }
  args.insert(args.end(), {requires_grad, hooks});
  const std::string_view function = tensor.is_quantized ? "_rebuild_qtensor" : "_rebuild_tensor_v2";
  return graph_.add_object(graph_.add_global("torch._utils", function), graph_.add_fixed(PickleKind::tuple, args));
}

// All of its record. One that is missing has some element that is looked for in vain.
NodeId Builder::storage(const V1Tensor& tensor) {
  const auto record = storages_.find(tensor.key);
  const std::uint64_t numel = record ? record->nbytes / item_bytes(tensor.dtype) : 1;
  return graph_.add_persistent(graph_.add_tuple({graph_.add_string("storage"),
                                                 graph_.add_global("torch", dtype_info(tensor.dtype).torch_storage),
                                                 graph_.add_string(tensor.key), graph_.add_string(tensor.device),
                                                 graph_.add_integer(static_cast<std::int64_t>(numel))}));
}

NodeId Builder::value(std::int64_t index) const {
  if (index < 0) return graph_.add_none();
  if (static_cast<std::uint64_t>(index) >= values_.size()) {
    refuse("model.json refers to a value that is not in attributes.pkl", index, values_.size());
  }
  return values_[static_cast<std::size_t>(index)];
}

// In attributes.pkl a tensor is its number in the table: build_tensor_from_id(3), or a TensorID with the state 3. A
// list of integers was an instance first, too.
void Builder::resolve_references() {
  const std::size_t size = graph_.size();
  for (NodeId node = 0; node < size; ++node) {
    if (is_instance_of(node, "IntList") && graph_.is(graph_.object(node).state, PickleKind::list)) {
      graph_.become(node, graph_.object(node).state);
    }
    const NodeId number = reference(node);
    if (number == no_node) continue;
    if (!graph_.is(number, PickleKind::integer)) {
      throw Error(ErrorKind::corrupt,
                  {.what = "attributes.pkl refers to a tensor by no number", .file = storages_.pickle_label()});
    }
    const PickleObject rebuilt = graph_.object(tensor(graph_.integer(number)));
    graph_.become(node, graph_.add_object(rebuilt.callable, rebuilt.args));
  }
}

NodeId Builder::reference(NodeId node) const {
  if (!graph_.is(node, PickleKind::object)) return no_node;
  const PickleObject& object = graph_.object(node);
  if (is_instance_of(node, "TensorID")) return object.state;
  if (!graph_.is_global(object.callable, "torch.jit._pickle", "build_tensor_from_id")) return no_node;
  if (object.state != no_node) return object.state;
  const auto args = graph_.items(object.args);
  return args.size() == 1 ? args[0] : no_node;
}

NodeId Builder::extents(const std::vector<std::int64_t>& values) {
  std::vector<NodeId> items;
  for (const std::int64_t value : values) items.push_back(graph_.add_integer(value));
  return graph_.add_fixed(PickleKind::tuple, items);
}

void Builder::add_member(NodeId dict, std::string_view name, NodeId value) {
  const NodeId key = graph_.add_string(name);
  auto& items = graph_.mutable_items(dict);
  items.insert(items.end(), {key, value});
}

void Builder::refuse(std::string what, std::int64_t got, std::size_t size) const {
  throw Error(ErrorKind::corrupt, {.what = std::move(what),
                                   .file = storages_.pickle_label(),
                                   .got = std::to_string(got),
                                   .wanted = fmt::format("less than {}", size)});
}

V1Model read_model(const TorchArchive& archive) {
  const auto json = archive.read(*archive.find("model.json"), max_json_bytes);
  const std::string label = archive.label("model.json");
  V1Model model = read_v1_model(json, label);
  if (model.version >= 1 && model.version <= newest_version) return model;
  throw Error(ErrorKind::unsupported, {.what = "model.json has an unknown version",
                                       .file = label,
                                       .got = std::to_string(model.version),
                                       .wanted = fmt::format("1 to {}", newest_version)});
}

// An empty tuple where there are none.
PickleGraph read_values(const TorchArchive& archive, const V1Model& model, const ImportOptions& options) {
  const ZipEntry* entry = archive.find("attributes.pkl");
  if (entry == nullptr || model.version < first_with_values) {
    PickleGraph graph;
    graph.root = graph.add_tuple({});
    return graph;
  }
  PickleReadOptions reading = object_read_options(options);
  reading.file = archive.label("attributes.pkl");
  reading.is_torchscript = true;
  PickleGraph graph = read_whole_pickle(archive.read(*entry, archive.reader()->file().size_bytes()), reading);
  if (graph.is(graph.root, PickleKind::tuple) || graph.is(graph.root, PickleKind::list)) return graph;
  throw Error(ErrorKind::corrupt, {.what = "attributes.pkl holds no list of values", .file = reading.file});
}

}  // namespace

Draft read_torchscript_v1(const ForeignFile& file) {
  const TorchArchive archive(file);
  const ArchiveStorages storages(archive, "", "model.json");
  const V1Model model = read_model(archive);
  Builder builder(model, storages, read_values(archive, model, file.options()));
  PickleGraph object = builder.run();
  object.pickle_bytes += archive.find("model.json")->uncompressed_bytes;
  TorchScriptModule module = flatten_torchscript(std::move(object), builder.classes(), storages.pickle_label());
  std::vector<std::string> keys;
  Draft draft = import_torch_object(std::move(module.graph), storages, file.options(), &keys);
  apply_kinds(module, draft.tensors);
  const std::unordered_set<std::string> used(keys.begin(), keys.end());
  RecordAttachments attachments(archive);
  attachments.take([&](std::string_view name) { return !used.contains(std::string(name)); });
  draft.attachments = std::move(attachments.drafts());
  return draft;
}

}  // namespace tenon
