#include "formats/torchscript_container.h"

#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "formats/quantizer.h"
#include "formats/structure.h"
#include "formats/torch_tensor.h"
#include "formats/torchscript_code.h"
#include "formats/torchscript_pickle.h"
#include "formats/torchscript_types.h"
#include "tenon/error.h"
#include "tenon/name.h"

namespace tenon {

namespace {

[[noreturn]] void refuse(const TensorRow& row, std::string what) {
  throw Error(ErrorKind::unsupported, {.what = std::move(what), .got = printable(row.name)});
}

bool has_key(const TorchScriptLevel& level, std::string_view key) {
  for (const auto& [name, value] : level.members) {
    if (name == key) return true;
  }
  return false;
}

// The classes, one for each module.
class CodeWriter {
 public:
  CodeWriter(const TensorTable& table, const PickleGraph& graph, const TorchScriptTypes& types)
      : table_(table), graph_(graph), types_(types) {}

  std::string run() const {
    std::string code;
    for (const TorchScriptLevel& level : types_.levels()) code += declare(level);
    return code;
  }

 private:
  std::string declare(const TorchScriptLevel& level) const {
    std::string code = fmt::format("class {}(Module):\n", level.class_name);
    code += fmt::format("  __parameters__ = [{}]\n", names_of(level, TensorKind::parameter));
    code += fmt::format("  __buffers__ = [{}]\n", names_of(level, TensorKind::buffer));
    code += "  __annotations__ = []\n";
    for (const auto& [name, value] : level.members) code += annotation(name, types_.type_of(value));
    if (!has_key(level, "training")) code += annotation("training", "bool");
    return code;
  }

  static std::string annotation(std::string_view name, std::string_view type) {
    return fmt::format("  __annotations__[{}] = {}\n", torchscript_quoted(name), type);
  }

  std::string names_of(const TorchScriptLevel& level, TensorKind kind) const {
    std::string names;
    for (const auto& [name, value] : level.members) {
      const auto row = structure_row(graph_, value);
      if (row && table_.row(row->row).kind == kind) names += torchscript_quoted(name) + ", ";
    }
    return names;
  }

  const TensorTable& table_;
  const PickleGraph& graph_;
  const TorchScriptTypes& types_;
};

// The object itself.
class ObjectWriter {
 public:
  ObjectWriter(const TensorTable& table, const PickleGraph& graph, const TorchScriptTypes& types)
      : table_(table), graph_(graph), types_(types) {}

  std::vector<std::byte> run() {
    write_level(types_.levels().back());
    return out_.finish();
  }
  std::vector<TorchObjectRecord>& records() { return records_; }

 private:
  struct StorageUse {
    std::uint32_t number = 0;
    DType dtype = DType::invalid;
  };
  void write(NodeId node);
  void write_new(NodeId node);
  void write_level(const TorchScriptLevel& level);
  void write_list(NodeId node, const std::string& type);
  void write_dict(NodeId node, const std::string& type);
  void write_items(NodeId node);
  void write_object(NodeId node, const std::string& type);
  void write_tensor(const StructureRow& structure);
  void write_quantizer(const StructureRow& structure, const TensorRow& row);
  void write_storage(const TensorRow& row);
  void write_new_storage(const TensorRow& row, std::string_view location, std::uint64_t nbytes);
  void write_metadata(const TensorRow& row);

  const TensorTable& table_;
  const PickleGraph& graph_;
  const TorchScriptTypes& types_;
  TorchScriptPickler out_;
  std::unordered_map<NodeId, std::uint32_t> number_of_node_;
  std::unordered_map<std::uint32_t, StorageUse> use_of_slot_;
  std::vector<TorchObjectRecord> records_;
};

// What one object of the program is at several places is written once.
void ObjectWriter::write(NodeId node) {
  const bool may_be_shared = structure_row(graph_, node).has_value() || graph_.is_container(node);
  if (!may_be_shared) return write_new(node);
  if (const auto known = number_of_node_.find(node); known != number_of_node_.end()) return out_.recall(known->second);
  write_new(node);
  number_of_node_.emplace(node, out_.remember());
}

void ObjectWriter::write_new(NodeId node) {
  if (const auto row = structure_row(graph_, node)) return write_tensor(*row);
  if (const TorchScriptLevel* level = types_.level_of(node)) return write_level(*level);
  switch (graph_.kind(node)) {
    case PickleKind::none:
      return out_.none();
    case PickleKind::boolean:
      return out_.boolean(graph_.boolean(node));
    case PickleKind::integer:
      return out_.integer(graph_.integer(node));
    case PickleKind::floating:
      return out_.floating(graph_.floating(node));
    case PickleKind::string:
      return out_.string(graph_.text(node));
    case PickleKind::list:
      return write_list(node, types_.type_of(node));
    case PickleKind::tuple:
      out_.begin_tuple();
      write_items(node);
      return out_.end_tuple();
    case PickleKind::dict:
      return write_dict(node, types_.type_of(node));
    default:
      return write_object(node, types_.type_of(node));
  }
}

void ObjectWriter::write_level(const TorchScriptLevel& level) {
  out_.begin_instance("__torch__", level.class_name);
  for (const auto& [name, value] : level.members) {
    out_.string(name);
    write(value);
  }
  if (!has_key(level, "training")) {
    out_.string("training");
    out_.boolean(false);
  }
  out_.end_instance();
}

void ObjectWriter::write_items(NodeId node) {
  for (const NodeId item : torchscript_items(graph_, node)) write(item);
}

// The reader makes a list of the right type where it is told: by the name of a function, or in words.
void ObjectWriter::write_list(NodeId node, const std::string& type) {
  std::string_view function = "restore_type_tag";
  if (type == "List[int]") function = "build_intlist";
  if (type == "List[float]") function = "build_doublelist";
  if (type == "List[bool]") function = "build_boollist";
  if (type == "List[Tensor]") function = "build_tensorlist";
  out_.global("torch.jit._pickle", function);
  out_.begin_tuple();
  out_.begin_list();
  write_items(node);
  out_.end_list();
  if (function == "restore_type_tag") out_.string(type);
  out_.end_tuple();
  out_.call();
}

void ObjectWriter::write_dict(NodeId node, const std::string& type) {
  out_.global("torch.jit._pickle", "restore_type_tag");
  out_.begin_tuple();
  out_.begin_dict();
  write_items(node);
  out_.end_dict();
  out_.string(type);
  out_.end_tuple();
  out_.call();
}

void ObjectWriter::write_object(NodeId node, const std::string& type) {
  if (type == "List[int]") return write_list(node, type);
  const auto args = graph_.items(graph_.object(node).args);
  if (type == "complex") {
    out_.global("builtins", "complex");
    out_.begin_tuple();
    for (const NodeId part : args) out_.floating(graph_.floating(part));
  } else {
    out_.global("torch", "device");
    out_.begin_tuple();
    std::string device(graph_.text(args[0]));
    if (args.size() > 1 && graph_.is(args[1], PickleKind::integer)) {
      device += fmt::format(":{}", graph_.integer(args[1]));
    }
    out_.string(device);
  }
  out_.end_tuple();
  out_.call();
}

void ObjectWriter::write_tensor(const StructureRow& structure) {
  const TensorRow row = table_.row(structure.row);
  const std::uint64_t item = item_bytes(row.dtype);
  if (row.storage_offset_bytes % item != 0) refuse(row, "tensor does not begin at a whole element of its storage");
  const bool is_quantized = !row.quantizer.empty();
  out_.global("torch._utils", is_quantized ? "_rebuild_qtensor" : "_rebuild_tensor_v2");
  out_.begin_tuple();
  write_storage(row);
  out_.integer(static_cast<std::int64_t>(row.storage_offset_bytes / item));
  out_.integers(row.shape);
  out_.integers(row.stride);
  if (is_quantized) write_quantizer(structure, row);
  out_.boolean(row.requires_grad);
  out_.hooks();
  if (row.is_conj || row.is_neg) write_metadata(row);
  out_.end_tuple();
  out_.call();
}

void ObjectWriter::write_quantizer(const StructureRow& structure, const TensorRow& row) {
  const auto quantizer = parse_quantizer(row.quantizer);
  const bool has_channels = structure.scales != no_node;
  if (!quantizer || has_channels != quantizer->is_per_channel() || (!has_channels && !quantizer->is_per_tensor())) {
    refuse(row, "tensor has a quantizer that TorchScript does not know");
  }
  out_.begin_tuple();
  out_.global("torch", quantizer->scheme);
  if (has_channels) {
    write(structure.scales);
    write(structure.zero_points);
    out_.integer(quantizer->axis);
  } else {
    out_.floating(quantizer->scale);
    out_.integer(quantizer->zero_point);
  }
  out_.end_tuple();
}

// A storage has one element type in TorchScript, and its result is remembered: keys are not repeated.
void ObjectWriter::write_storage(const TensorRow& row) {
  if (row.slot == no_slot) {
    const TorchTensor shape{.dtype = row.dtype,
                            .shape = {row.shape.begin(), row.shape.end()},
                            .stride = {row.stride.begin(), row.stride.end()}};
    return write_new_storage(row, "meta", reached_bytes(shape, std::string(row.name), "snapshot"));
  }
  if (const auto known = use_of_slot_.find(row.slot); known != use_of_slot_.end()) {
    if (known->second.dtype != row.dtype) {
      refuse(row, "tensors of different dtypes share a storage, which TorchScript cannot say");
    }
    return out_.recall(known->second.number);
  }
  const SlotRow slot = table_.slot(row.slot);
  write_new_storage(row, slot.location, slot.nbytes);
  use_of_slot_.emplace(row.slot, StorageUse{out_.remember(), row.dtype});
}

void ObjectWriter::write_new_storage(const TensorRow& row, std::string_view location, std::uint64_t nbytes) {
  out_.begin_tuple();
  out_.string("storage");
  out_.global("torch", torchscript_storage_class(row.dtype));
  out_.string(std::to_string(records_.size()));
  out_.string(location);
  out_.integer(static_cast<std::int64_t>(nbytes / item_bytes(row.dtype)));
  out_.end_tuple();
  out_.persistent();
  records_.push_back({.slot = row.slot, .offset = 0, .nbytes = row.slot == no_slot ? 0 : nbytes});
}

void ObjectWriter::write_metadata(const TensorRow& row) {
  out_.begin_dict();
  for (const auto& [flag, is_set] : {std::pair("conj", row.is_conj), std::pair("neg", row.is_neg)}) {
    if (!is_set) continue;
    out_.string(flag);
    out_.boolean(true);
  }
  out_.end_dict();
}

}  // namespace

TorchScriptContainer make_torchscript_container(const TensorTable& table, const std::string& prefix) {
  const PickleGraph graph = select_object(table, prefix);
  TorchScriptTypes types(graph);
  types.add_root(graph.root);
  ObjectWriter writer(table, graph, types);
  TorchScriptContainer container{.object = writer.run(), .code = CodeWriter(table, graph, types).run()};
  container.records = std::move(writer.records());
  return container;
}

}  // namespace tenon
