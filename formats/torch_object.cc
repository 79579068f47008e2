#include "formats/torch_object.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "formats/numpy_value.h"
#include "formats/quantizer.h"
#include "formats/structure.h"
#include "tenon/error.h"
#include "tenon/name.h"

namespace tenon {

namespace {

constexpr std::uint64_t long_bytes = 64 * 1024;

// Turns every row of a structure graph into the call that torch uses for it.
class Rebuilder {
 public:
  Rebuilder(const TensorTable& table, PickleGraph graph) : table_(table), graph_(std::move(graph)) {}

  TorchObject run() {
    find_rows();
    choose_storage_types();
    for (const auto& [node, row] : rows_) graph_.become(node, make_value(row));
    return {std::move(graph_), std::move(records_), rows_.size()};
  }

 private:
  struct Call {
    NodeId function;
    NodeId args;
  };
  struct SlotUse {
    std::size_t key = 0;                  // of its record: data/<key>
    NodeId reference = no_node;           // the persistent id's tuple
    std::optional<DType> common_dtype{};  // of all tensors in it; invalid where they differ
    bool has_bare_storage = false;
    DType storage_dtype = DType::invalid;
  };

  void find_rows();
  void note_use(const StructureRow& row);
  bool is_part_of_slot(const TensorRow& row) const;
  void choose_storage_types();
  NodeId make_value(const StructureRow& structure);
  NodeId make_array(const StructureRow& structure);
  NodeId add_bytes(const TorchObjectRecord& part);
  NodeId make_tensor(const StructureRow& structure);
  Call base_call(const StructureRow& structure, bool requires_grad);
  Call dense_call(const TensorRow& row, bool requires_grad);
  Call quantized_call(const StructureRow& structure, bool requires_grad);
  NodeId quantizer(const StructureRow& structure);
  NodeId make_storage_reference(const TensorRow& row);
  NodeId storage_reference(std::uint32_t slot);
  NodeId reference_to(std::size_t key, DType storage_dtype);
  NodeId offset_of(const TensorRow& row);
  NodeId dtype_global(DType dtype) { return global("torch", dtype_info(dtype).name); }
  NodeId metadata(const TensorRow& row);
  NodeId hooks() { return graph_.add_object(global("collections", "OrderedDict"), graph_.add_tuple({})); }
  NodeId extents(std::span<const std::int64_t> values);
  NodeId call(const Call& made) { return graph_.add_object(made.function, made.args); }
  NodeId global(std::string_view module, std::string_view name);
  NodeId shared_string(std::string_view text);

  const TensorTable& table_;
  PickleGraph graph_;
  std::vector<std::pair<NodeId, StructureRow>> rows_;
  std::unordered_map<std::uint32_t, SlotUse> uses_;
  std::map<std::pair<std::uint32_t, std::uint64_t>, NodeId> parts_;  // by slot and offset: storages within slots
  std::vector<TorchObjectRecord> records_;
  std::map<std::string, NodeId, std::less<>> shared_;
};

// Depth first in the order of writing, so that storages are numbered as torch numbers them.
void Rebuilder::find_rows() {
  std::vector<bool> is_seen(graph_.size());
  std::vector<NodeId> pending{graph_.root};
  std::vector<NodeId> children;
  while (!pending.empty()) {
    const NodeId node = pending.back();
    pending.pop_back();
    if (!graph_.is_container(node) || is_seen[node]) continue;
    is_seen[node] = true;
    children.clear();
    if (const auto row = structure_row(graph_, node)) {
      rows_.emplace_back(node, *row);
      note_use(*row);
      for (const NodeId child : {row->scales, row->zero_points, row->attributes}) {
        if (child != no_node) children.push_back(child);
      }
    } else {
      graph_.for_each_child(node, [&](NodeId child) {
        if (graph_.is_container(child)) children.push_back(child);  // of the rest there may be millions
      });
    }
    pending.insert(pending.end(), children.rbegin(), children.rend());
  }
}

void Rebuilder::note_use(const StructureRow& structure) {
  const TensorRow row = table_.row(structure.row);
  if (row.slot == no_slot) {
    if (!structure.is_storage) return;
    throw Error(ErrorKind::corrupt,
                {.what = "structure has a storage where the row has none", .got = printable(row.name)});
  }
  const bool is_in_pickle = !structure.is_storage && is_numpy_rebuild(graph_, structure.type);
  if (is_in_pickle || (structure.is_storage && is_part_of_slot(row))) return;
  const auto [entry, is_new] = uses_.try_emplace(row.slot);
  SlotUse& use = entry->second;
  if (is_new) {
    use.key = records_.size();
    records_.push_back({.slot = row.slot, .nbytes = table_.slot(row.slot).nbytes});
  }
  if (structure.is_storage) {
    use.has_bare_storage = true;
  } else if (!use.common_dtype) {
    use.common_dtype = row.dtype;
  } else if (*use.common_dtype != row.dtype) {
    use.common_dtype = DType::invalid;
  }
}

// torch 2 writes no storage that is a part of another: it becomes a record of its own, and shares no longer.
bool Rebuilder::is_part_of_slot(const TensorRow& row) const {
  if (row.shape.size() != 1) return false;
  const std::uint64_t item = item_bytes(row.dtype);
  const std::uint64_t nbytes = static_cast<std::uint64_t>(row.shape[0]) * item;
  return row.storage_offset_bytes != 0 || nbytes + item <= table_.slot(row.slot).nbytes;
}

// Typed where torch itself would, and also where an untyped slot has tensors of one such type only: old releases of
// torch read no others. A bare storage keeps what it was.
void Rebuilder::choose_storage_types() {
  for (auto& [slot, use] : uses_) {
    const DType declared = table_.slot(slot).storage_dtype;
    const std::uint64_t nbytes = table_.slot(slot).nbytes;
    DType wanted = use.common_dtype.value_or(declared);
    if (use.has_bare_storage && wanted != declared) wanted = DType::invalid;
    const bool is_typed = wanted != DType::invalid && !dtype_info(wanted).torch_storage.empty() &&
                          nbytes % item_bytes(wanted) == 0;  // torch refuses a typed storage with a rest
    use.storage_dtype = is_typed ? wanted : DType::invalid;
  }
}

NodeId Rebuilder::make_value(const StructureRow& structure) {
  if (structure.is_storage) return make_storage_reference(table_.row(structure.row));
  return is_numpy_rebuild(graph_, structure.type) ? make_array(structure) : make_tensor(structure);
}

// Numpy's arrays have their bytes in the pickle.
NodeId Rebuilder::make_array(const StructureRow& structure) {
  const TensorRow row = table_.row(structure.row);
  std::uint64_t nbytes = item_bytes(row.dtype);
  for (const std::int64_t extent : row.shape) nbytes *= static_cast<std::uint64_t>(extent);
  const bool is_there = row.slot != no_slot && row.storage_offset_bytes <= table_.slot(row.slot).nbytes &&
                        nbytes <= table_.slot(row.slot).nbytes - row.storage_offset_bytes;
  if (!is_there) {
    throw Error(ErrorKind::unsupported, {.what = "numpy array does not lie in one piece", .got = printable(row.name)});
  }
  const NodeId data = add_bytes({row.slot, row.storage_offset_bytes, nbytes});
  return make_numpy_array(graph_, structure.type, row, data);
}

// Long ones are read when they are written: until then they would be in memory beside the pickle.
NodeId Rebuilder::add_bytes(const TorchObjectRecord& part) {
  const PickleGraph::SendBytes send = [&table = table_, part](const PickleGraph::Sink& sink) {
    send_part(table, part, sink);
  };
  if (part.nbytes >= long_bytes) return graph_.add_deferred_bytes(part.nbytes, send);
  std::string bytes;
  send([&](std::span<const std::byte> piece) {
    bytes.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  });
  return graph_.add_text(PickleKind::bytes, bytes);
}

// torch._tensor _rebuild_from_type_v2 and _rebuild_parameter_with_state add what only Python knows.
NodeId Rebuilder::make_tensor(const StructureRow& structure) {
  const TensorRow row = table_.row(structure.row);
  const bool is_parameter = row.kind == TensorKind::parameter;
  Call made = base_call(structure, is_parameter ? false : row.requires_grad);
  const bool has_attributes = structure.attributes != no_node;
  const NodeId attributes = has_attributes ? structure.attributes : graph_.add_none();
  if (is_parameter) {
    const NodeId data = call(made);
    const NodeId requires_grad = graph_.add_boolean(row.requires_grad);
    if (has_attributes && structure.type == no_node) {
      return call({global("torch._utils", "_rebuild_parameter_with_state"),
                   graph_.add_tuple({data, requires_grad, hooks(), attributes})});
    }
    made = {global("torch._utils", "_rebuild_parameter"), graph_.add_tuple({data, requires_grad, hooks()})};
  }
  if (structure.type == no_node && !has_attributes) return call(made);
  const NodeId type = structure.type == no_node ? global("torch", "Tensor") : structure.type;
  return call({global("torch._tensor", "_rebuild_from_type_v2"),
               graph_.add_tuple({made.function, type, made.args, attributes})});
}

Rebuilder::Call Rebuilder::base_call(const StructureRow& structure, bool requires_grad) {
  const TensorRow row = table_.row(structure.row);
  if (!row.quantizer.empty()) return quantized_call(structure, requires_grad);
  if (row.slot != no_slot) return dense_call(row, requires_grad);
  return {global("torch._utils", "_rebuild_meta_tensor_no_storage"),
          graph_.add_tuple(
              {dtype_global(row.dtype), extents(row.shape), extents(row.stride), graph_.add_boolean(requires_grad)})};
}

Rebuilder::Call Rebuilder::quantized_call(const StructureRow& structure, bool requires_grad) {
  const TensorRow row = table_.row(structure.row);
  const bool is_typed = row.slot != no_slot && uses_.at(row.slot).storage_dtype == row.dtype;
  if (!is_typed) {
    throw Error(ErrorKind::unsupported,
                {.what = "quantized tensor shares its storage with another element type", .got = printable(row.name)});
  }
  const NodeId storage = graph_.add_persistent(storage_reference(row.slot));
  return {global("torch._utils", "_rebuild_qtensor"),
          graph_.add_tuple({storage, offset_of(row), extents(row.shape), extents(row.stride), quantizer(structure),
                            graph_.add_boolean(requires_grad), hooks()})};
}

NodeId Rebuilder::quantizer(const StructureRow& structure) {
  const TensorRow row = table_.row(structure.row);
  const auto parsed = parse_quantizer(row.quantizer);
  const bool lacks_parts = parsed && parsed->is_per_channel() && structure.scales == no_node;
  if (!parsed || lacks_parts) {
    throw Error(ErrorKind::unsupported, {.what = "tensor has a quantizer that is not known, or not whole",
                                         .got = fmt::format("{}: {}", printable(row.name), row.quantizer)});
  }
  const NodeId scheme = global("torch", parsed->scheme);
  if (parsed->is_per_channel()) {
    return graph_.add_tuple({scheme, structure.scales, structure.zero_points, graph_.add_integer(parsed->axis)});
  }
  return graph_.add_tuple({scheme, graph_.add_floating(parsed->scale), graph_.add_integer(parsed->zero_point)});
}

Rebuilder::Call Rebuilder::dense_call(const TensorRow& row, bool requires_grad) {
  const bool is_typed = uses_.at(row.slot).storage_dtype == row.dtype;
  std::vector<NodeId> args{graph_.add_persistent(storage_reference(row.slot)),
                           offset_of(row),
                           extents(row.shape),
                           extents(row.stride),
                           graph_.add_boolean(requires_grad),
                           hooks()};
  if (!is_typed) args.push_back(dtype_global(row.dtype));
  if (row.is_conj || row.is_neg) args.push_back(metadata(row));
  const NodeId function = global("torch._utils", is_typed ? "_rebuild_tensor_v2" : "_rebuild_tensor_v3");
  return {function, graph_.add_fixed(PickleKind::tuple, args)};
}

NodeId Rebuilder::make_storage_reference(const TensorRow& row) {
  if (!is_part_of_slot(row)) return graph_.add_persistent(storage_reference(row.slot));
  const auto [entry, is_new] = parts_.try_emplace({row.slot, row.storage_offset_bytes}, no_node);
  if (is_new) {
    const std::uint64_t nbytes = static_cast<std::uint64_t>(row.shape[0]) * item_bytes(row.dtype);
    records_.push_back({.slot = row.slot, .offset = row.storage_offset_bytes, .nbytes = nbytes});
    entry->second = reference_to(records_.size() - 1, row.dtype);
  }
  return graph_.add_persistent(entry->second);
}

NodeId Rebuilder::storage_reference(std::uint32_t slot) {
  SlotUse& use = uses_.at(slot);
  if (use.reference == no_node) use.reference = reference_to(use.key, use.storage_dtype);
  return use.reference;
}

// ('storage', class, key, location, numel), one node per record.
NodeId Rebuilder::reference_to(std::size_t key, DType storage_dtype) {
  const bool is_typed = storage_dtype != DType::invalid && !dtype_info(storage_dtype).torch_storage.empty();
  const NodeId type =
      is_typed ? global("torch", dtype_info(storage_dtype).torch_storage) : global("torch.storage", "UntypedStorage");
  const std::uint64_t numel = records_[key].nbytes / (is_typed ? item_bytes(storage_dtype) : 1);
  const std::string_view location = table_.slot(records_[key].slot).location;
  return graph_.add_tuple({shared_string("storage"), type, graph_.add_string(std::to_string(key)),
                           shared_string(location), graph_.add_integer(static_cast<std::int64_t>(numel))});
}

NodeId Rebuilder::offset_of(const TensorRow& row) {
  const std::uint64_t item = item_bytes(row.dtype);
  if (row.storage_offset_bytes % item != 0) {
    throw Error(ErrorKind::unsupported,
                {.what = "tensor does not begin at a whole element of its storage",
                 .got = fmt::format("{}: byte {}", printable(row.name), row.storage_offset_bytes),
                 .wanted = fmt::format("a multiple of {}", item)});
  }
  return graph_.add_integer(static_cast<std::int64_t>(row.storage_offset_bytes / item));
}

NodeId Rebuilder::metadata(const TensorRow& row) {
  const NodeId dict = graph_.add_container(PickleKind::dict);
  const auto add = [&](std::string_view flag) {
    const NodeId key = shared_string(flag);
    const NodeId value = graph_.add_boolean(true);
    auto& items = graph_.mutable_items(dict);
    items.push_back(key);
    items.push_back(value);
  };
  if (row.is_conj) add("conj");
  if (row.is_neg) add("neg");
  return dict;
}

NodeId Rebuilder::extents(std::span<const std::int64_t> values) {
  std::vector<NodeId> items;
  for (const std::int64_t value : values) items.push_back(graph_.add_integer(value));
  return graph_.add_fixed(PickleKind::tuple, items);
}

NodeId Rebuilder::global(std::string_view module, std::string_view name) {
  const auto [entry, is_new] = shared_.try_emplace(fmt::format("c{}\n{}", module, name), no_node);
  if (is_new) entry->second = graph_.add_global(module, name);
  return entry->second;
}

NodeId Rebuilder::shared_string(std::string_view text) {
  const auto [entry, is_new] = shared_.try_emplace(fmt::format("s{}", text), no_node);
  if (is_new) entry->second = graph_.add_string(text);
  return entry->second;
}

}  // namespace

TorchObject make_torch_object(const TensorTable& table, const std::string& prefix) {
  return Rebuilder(table, select_object(table, prefix)).run();
}

}  // namespace tenon
