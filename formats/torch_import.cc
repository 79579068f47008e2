#include "formats/torch_import.h"

#include <algorithm>
#include <memory>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "formats/latin1_text.h"
#include "formats/numpy_value.h"
#include "formats/row_names.h"
#include "formats/structure.h"
#include "formats/torch_slots.h"
#include "formats/torch_tensor.h"
#include "tenon/error.h"
#include "tenon/name.h"

namespace tenon {

namespace {

constexpr const char* memory_hint = "if you trust the file: tenon import --max-memory SIZE, or ImportOptions";

// Walks the object once and makes a row of every tensor, bare storage and numpy array.
class Importer {
 public:
  Importer(PickleGraph object, const TorchRecords& records, const ImportOptions& options)
      : records_(records),
        pickle_(records.pickle_label()),
        slots_(records),
        shared_graph_(std::make_shared<PickleGraph>(std::move(object))),
        graph_(*shared_graph_),
        names_(draft_.tensors, graph_, options.max_memory_bytes, pickle_, memory_hint) {}

  Draft run();
  std::vector<std::string>& slot_keys() { return slot_keys_; }

 private:
  // What becomes a row once the walk is over, and whether there is more below it.
  struct Found {
    NodeId node;
    StructureRow structure;
    NodeId content;  // what is walked below it; no_node: nothing
  };

  NodeId visit(NodeId node, const std::string& name);
  NodeId add_tensor(NodeId node, const TorchTensor& tensor, const std::string& name);
  NodeId add_row(NodeId node, TensorDraft row, StructureRow structure, NodeId content = no_node);
  void add_repeated_row(std::uint32_t first, const std::string& name);
  TensorDraft make_tensor_row(const TorchTensor& tensor, const std::string& name);
  NodeId add_persistent(NodeId node, const std::string& name);
  TensorDraft make_known_row(const TensorDraft& known, const std::string& name);
  TensorDraft make_storage_row(const TorchStorage& storage, const std::string& name);
  TensorDraft make_array_row(const NumpyArray& array, const std::string& name);
  void refuse_reserved_name(NodeId node) const;
  void refuse_mixed_quantized() const;

  const TorchRecords& records_;
  const std::string pickle_;
  SlotTable slots_;
  const std::shared_ptr<PickleGraph> shared_graph_;  // numpy arrays are read from it
  PickleGraph& graph_;
  Draft draft_;
  std::vector<Found> found_;
  std::unordered_map<NodeId, std::size_t> row_of_node_;  // index in found_
  RowNames names_;
  std::size_t slots_with_rows_ = 0;
  std::vector<std::string> slot_keys_;
};

// A known call can hold a storage only where the call has a place for one; elsewhere it was not walked.
void require_rows_only(const PickleGraph& graph, const std::string& file) {
  std::vector<bool> is_seen(graph.size());
  std::vector<NodeId> pending;
  const auto reach = [&](NodeId node) {
    if (!graph.is_container(node) || is_seen[node]) return;
    is_seen[node] = true;
    pending.push_back(node);
  };
  reach(graph.root);
  while (!pending.empty()) {
    const NodeId node = pending.back();
    pending.pop_back();
    if (graph.is(node, PickleKind::persistent) && !graph.is(graph.items(node)[0], PickleKind::integer)) {
      throw Error(ErrorKind::unsupported, {.what = "object has a storage where none is expected", .file = file});
    }
    graph.for_each_child(node, reach);
  }
}

// torch keeps the values of a quantized tensor in a storage of their own type, and so does export.
void require_quantized_storages(const Draft& draft, const std::string& file) {
  for (const TensorDraft& row : draft.tensors) {
    if (row.quantizer.empty() || row.slot == no_slot || draft.slots[row.slot].storage_dtype == row.dtype) continue;
    throw Error(ErrorKind::unsupported, {.what = "quantized tensor shares its storage with another element type",
                                         .file = file,
                                         .got = printable(row.name)});
  }
}

Draft Importer::run() {
  rename_old_calls(graph_);
  walk_structure(
      graph_, [this](NodeId node, const std::string& name) { return visit(node, name); }, pickle_);
  refuse_mixed_quantized();
  for (Found& found : found_) {
    const bool is_array = draft_.tensors[found.structure.row].wrapper == numpy_array_wrapper;
    if (is_array && found.structure.type == no_node) found.structure.type = add_numpy_rebuild(graph_);
    become_row(graph_, found.node, found.structure);
  }
  require_rows_only(graph_, pickle_);
  draft_.structure = encode_structure(graph_);
  slot_keys_ = slots_.keys();
  draft_.slots = std::move(slots_.slots());
  require_quantized_storages(draft_, pickle_);
  return std::move(draft_);
}

NodeId Importer::visit(NodeId node, const std::string& name) {
  if (const auto known = row_of_node_.find(node); known != row_of_node_.end()) {
    const Found& found = found_[known->second];
    add_repeated_row(found.structure.row, name);
    return found.content;
  }
  if (graph_.is(node, PickleKind::persistent)) {
    return add_persistent(node, name);
  }
  if (!graph_.is(node, PickleKind::object)) return node;
  if (const auto tensor = parse_torch_tensor(graph_, node, pickle_)) return add_tensor(node, *tensor, name);
  if (const auto array = parse_numpy_array(graph_, node)) {
    return add_row(node, make_array_row(*array, name), {.type = array->function});
  }
  refuse_reserved_name(node);
  return node;
}

// A storage, or a tensor by number.
NodeId Importer::add_persistent(NodeId node, const std::string& name) {
  const NodeId id = graph_.items(node)[0];
  const TensorDraft* known = graph_.is(id, PickleKind::integer) ? records_.tensor(graph_.integer(id)) : nullptr;
  if (known != nullptr) return add_row(node, make_known_row(*known, name), {});
  return add_row(node, make_storage_row(parse_torch_storage(graph_, node, pickle_), name), {.is_storage = true});
}

NodeId Importer::add_tensor(NodeId node, const TorchTensor& tensor, const std::string& name) {
  const StructureRow structure{
      .type = tensor.type, .attributes = tensor.attributes, .scales = tensor.scales, .zero_points = tensor.zero_points};
  // Scales and zero points are named by the rule for the call that holds them.
  const NodeId content = tensor.scales != no_node ? node : tensor.attributes;
  return add_row(node, make_tensor_row(tensor, name), structure, content);
}

// torch has no call that rebuilds one; what is let in must come out again.
void Importer::refuse_mixed_quantized() const {
  for (const TensorDraft& row : draft_.tensors) {
    const bool is_typed = row.slot == no_slot || slots_.dtype_of(row.slot) == row.dtype;
    if (row.quantizer.empty() || is_typed) continue;
    throw Error(ErrorKind::unsupported, {.what = "quantized tensor shares its storage with another element type",
                                         .file = pickle_,
                                         .got = printable(row.name)});
  }
}

void Importer::refuse_reserved_name(NodeId node) const {
  const NodeId callable = graph_.object(node).callable;
  if (!graph_.is(callable, PickleKind::global) || graph_.global_module(callable) != structure_module) return;
  throw Error(ErrorKind::unsupported,
              {.what = "object uses a name that is reserved", .file = pickle_, .got = std::string(structure_module)});
}

NodeId Importer::add_row(NodeId node, TensorDraft row, StructureRow structure, NodeId content) {
  structure.row = static_cast<std::uint32_t>(draft_.tensors.size());
  row_of_node_.emplace(node, found_.size());
  found_.push_back({node, structure, content});
  draft_.tensors.push_back(std::move(row));
  names_.add_last(slots_.slots().size() > slots_with_rows_);
  slots_with_rows_ = slots_.slots().size();
  return content;
}

// The same Python object at a second place: a row of its own, which says so.
void Importer::add_repeated_row(std::uint32_t first, const std::string& name) {
  TensorDraft row = draft_.tensors[first];
  row.name = names_.make_unique(name);
  row.object = first;
  draft_.tensors.push_back(std::move(row));
  names_.add_last(false);
}

TensorDraft Importer::make_tensor_row(const TorchTensor& tensor, const std::string& name) {
  TensorDraft row{.name = names_.make_unique(name),
                  .dtype = tensor.dtype,
                  .kind = tensor.kind,
                  .requires_grad = tensor.requires_grad,
                  .is_conj = tensor.is_conj,
                  .is_neg = tensor.is_neg,
                  .shape = tensor.shape,
                  .stride = tensor.stride};
  if (tensor.type != no_node)
    row.wrapper = fmt::format("{}.{}", graph_.global_module(tensor.type), graph_.global_name(tensor.type));
  row.quantizer = tensor.quantizer;
  const std::uint64_t reached = reached_bytes(tensor, row.name, pickle_);
  if (tensor.storage == no_node) return row;
  const TorchStorage storage = parse_torch_storage(graph_, tensor.storage, pickle_);
  row.slot = slots_.slot_of(storage);
  slots_.check_byte_order(row.slot, tensor.dtype);
  const std::uint64_t available = storage.view ? storage.view->nbytes : slots_.slots()[row.slot].nbytes;
  if (reached > available) {
    throw Error(ErrorKind::corrupt, {.what = "tensor " + row.name + " reaches outside its storage",
                                     .file = pickle_,
                                     .got = fmt::format("{} bytes", reached),
                                     .wanted = fmt::format("at most {}", available)});
  }
  row.storage_offset_bytes = static_cast<std::uint64_t>(tensor.offset) * item_bytes(tensor.dtype);
  if (storage.view) row.storage_offset_bytes += storage.view->offset_bytes;
  return row;
}

TensorDraft Importer::make_known_row(const TensorDraft& known, const std::string& name) {
  TensorDraft row = known;
  row.name = names_.make_unique(name);
  if (row.slot != no_slot) row.slot = slots_.slot_of(std::to_string(row.slot), row.dtype);
  return row;
}

// All of the storage, as one dimension: of the slot, or of the part that torch before 0.4 made a storage of its own.
TensorDraft Importer::make_storage_row(const TorchStorage& storage, const std::string& name) {
  const std::uint32_t slot = slots_.slot_of(storage);
  const DType dtype = storage.dtype == DType::invalid ? DType::uint8 : storage.dtype;
  const std::uint64_t nbytes = storage.view ? storage.view->nbytes : slots_.slots()[slot].nbytes;
  const std::uint64_t elements = nbytes / item_bytes(dtype) * (8 * item_bytes(dtype) / dtype_info(dtype).bits);
  return {.name = names_.make_unique(name),
          .dtype = dtype,
          .slot = slot,
          .storage_offset_bytes = storage.view ? storage.view->offset_bytes : 0,
          .shape = {static_cast<std::int64_t>(elements)},
          .stride = {1}};
}

// Its bytes are in the pickle, so the graph is kept as long as the draft's sources.
TensorDraft Importer::make_array_row(const NumpyArray& array, const std::string& name) {
  SlotDraft slot{.nbytes = graph_.text_bytes(array.data)};
  if (const auto encoded = graph_.encoded_bytes(array.data)) {
    slot.source.read = [graph = shared_graph_, text = Latin1Text(*encoded)](
                           std::uint64_t offset, std::span<std::byte> out) { text.read(offset, out); };
  } else {
    slot.source.read = [graph = shared_graph_, data = array.data](std::uint64_t offset, std::span<std::byte> out) {
      const std::string_view bytes = graph->text(data);
      std::copy_n(reinterpret_cast<const std::byte*>(bytes.data()) + offset, out.size(), out.data());
    };
  }
  return {.name = names_.make_unique(name),
          .dtype = array.dtype,
          .slot = slots_.add(std::move(slot)),
          .shape = array.shape,
          .stride = array.stride,
          .wrapper = std::string(numpy_array_wrapper)};
}

}  // namespace

PickleReadOptions object_read_options(const ImportOptions& options) {
  return {.max_memory_bytes = options.max_memory_bytes, .memory_hint = memory_hint};
}

Draft import_torch_object(PickleGraph object, const TorchRecords& records, const ImportOptions& options,
                          std::vector<std::string>* slot_keys) {
  Importer importer(std::move(object), records, options);
  Draft draft = importer.run();
  if (slot_keys != nullptr) *slot_keys = std::move(importer.slot_keys());
  return draft;
}

}  // namespace tenon
