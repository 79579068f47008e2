#include "formats/torch_tensor.h"

#include <span>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "tenon/error.h"

namespace tenon {

namespace {

[[noreturn]] void corrupt(const std::string& file, std::string what, std::string got = {}, std::string wanted = {}) {
  throw Error(ErrorKind::corrupt,
              {.what = std::move(what), .file = file, .got = std::move(got), .wanted = std::move(wanted)});
}

bool is_text(const PickleGraph& graph, NodeId id) {
  return graph.is(id, PickleKind::string) || graph.is(id, PickleKind::bytes);
}

// A storage class is known by its name alone, as torch does: `torch FloatStorage`, `torch.cuda FloatStorage`.
DType storage_dtype(std::string_view class_name, const std::string& file) {
  if (class_name == "UntypedStorage") return DType::invalid;
  const DType dtype = dtype_from_torch_storage(class_name);
  if (dtype != DType::invalid) return dtype;
  throw Error(ErrorKind::unsupported, {.what = "unknown storage class", .file = file, .got = std::string(class_name)});
}

// Reads the arguments of one rebuild call; every reader throws corrupt for the wrong kind.
class Arguments {
 public:
  Arguments(const PickleGraph& graph, NodeId args, const std::string& file)
      : graph_(graph), items_(graph.items(args)), file_(file) {}

  std::size_t size() const { return items_.size(); }
  NodeId operator[](std::size_t i) const { return items_[i]; }

  std::int64_t extent(std::size_t i) const { return extent_of(items_[i]); }

  std::vector<std::int64_t> extents(std::size_t i) const {
    if (!graph_.is(items_[i], PickleKind::tuple) && !graph_.is(items_[i], PickleKind::list)) {
      corrupt(file_, "tensor with a malformed shape or stride");
    }
    std::vector<std::int64_t> out;
    for (const NodeId item : graph_.items(items_[i])) out.push_back(extent_of(item));
    return out;
  }

  bool boolean(std::size_t i) const {
    if (!graph_.is(items_[i], PickleKind::boolean)) corrupt(file_, "tensor with a malformed requires_grad");
    return graph_.boolean(items_[i]);
  }

 private:
  std::int64_t extent_of(NodeId id) const {
    if (!graph_.is(id, PickleKind::integer)) corrupt(file_, "tensor with an offset, size or stride that is no integer");
    if (graph_.integer(id) < 0) {
      corrupt(file_, "tensor with a negative offset, size or stride", std::to_string(graph_.integer(id)));
    }
    return graph_.integer(id);
  }

  const PickleGraph& graph_;
  std::span<const NodeId> items_;
  const std::string& file_;
};

// None or OrderedDict(). Hooks that hold something are left to the opaque object.
bool are_empty_hooks(const PickleGraph& graph, NodeId id) {
  if (graph.is(id, PickleKind::none)) return true;
  if (!graph.is(id, PickleKind::object)) return graph.is(id, PickleKind::dict) && graph.items(id).empty();
  const PickleObject& object = graph.object(id);
  return graph.is_global(object.callable, "collections", "OrderedDict") && graph.items(object.args).empty() &&
         object.list_items.empty() && object.dict_items.empty() && object.state == no_node;
}

// {'conj': True, 'neg': True}; false for anything else.
bool apply_metadata(const PickleGraph& graph, NodeId id, TorchTensor& tensor) {
  if (graph.is(id, PickleKind::none)) return true;
  if (!graph.is(id, PickleKind::dict)) return false;
  const auto items = graph.items(id);
  for (std::size_t i = 0; i < items.size(); i += 2) {
    if (!graph.is(items[i], PickleKind::string) || !graph.is(items[i + 1], PickleKind::boolean)) return false;
    bool* flag = graph.text(items[i]) == "conj"  ? &tensor.is_conj
                 : graph.text(items[i]) == "neg" ? &tensor.is_neg
                                                 : nullptr;
    if (flag == nullptr) return false;
    *flag = graph.boolean(items[i + 1]);
  }
  return true;
}

DType torch_dtype(const PickleGraph& graph, NodeId id) {
  if (!graph.is(id, PickleKind::global) || graph.global_module(id) != "torch") return DType::invalid;
  return dtype_from_name(graph.global_name(id));
}

// _rebuild_tensor, _v2, _v3: (storage, offset, size, stride[, requires_grad, hooks[, dtype][, metadata]])
std::optional<TorchTensor> parse_dense(const PickleGraph& graph, std::string_view function, const Arguments& args,
                                       const std::string& file) {
  const bool is_v3 = function == "_rebuild_tensor_v3";
  const bool is_v1 = function == "_rebuild_tensor";
  const std::size_t least = is_v1 ? 4 : is_v3 ? 7 : 6;
  if (args.size() < least || args.size() > least + (is_v1 ? 0 : 1)) return std::nullopt;
  if (!graph.is(args[0], PickleKind::persistent)) return std::nullopt;
  TorchTensor tensor{.storage = args[0]};
  if (is_v3) {
    tensor.dtype = torch_dtype(graph, args[6]);
    if (tensor.dtype == DType::invalid) return std::nullopt;
  } else {
    const DType dtype = parse_torch_storage(graph, args[0], file).dtype;
    tensor.dtype = dtype == DType::invalid ? DType::uint8 : dtype;
  }
  if (!is_v1 && !are_empty_hooks(graph, args[5])) return std::nullopt;
  if (args.size() > least && !apply_metadata(graph, args[least], tensor)) return std::nullopt;
  tensor.offset = args.extent(1);
  tensor.shape = args.extents(2);
  tensor.stride = args.extents(3);
  if (!is_v1) tensor.requires_grad = args.boolean(4);
  return tensor;
}

// (dtype, size, stride, requires_grad)
std::optional<TorchTensor> parse_meta(const PickleGraph& graph, const Arguments& args) {
  if (args.size() != 4) return std::nullopt;
  TorchTensor tensor{.dtype = torch_dtype(graph, args[0])};
  if (tensor.dtype == DType::invalid) return std::nullopt;
  tensor.shape = args.extents(1);
  tensor.stride = args.extents(2);
  tensor.requires_grad = args.boolean(3);
  return tensor;
}

std::optional<TorchTensor> parse_base(const PickleGraph& graph, NodeId function, NodeId args, const std::string& file) {
  if (!graph.is(function, PickleKind::global) || graph.global_module(function) != "torch._utils") return std::nullopt;
  const std::string_view name = graph.global_name(function);
  const Arguments arguments(graph, args, file);
  if (name == "_rebuild_meta_tensor_no_storage") return parse_meta(graph, arguments);
  const bool is_dense = name == "_rebuild_tensor" || name == "_rebuild_tensor_v2" || name == "_rebuild_tensor_v3";
  return is_dense ? parse_dense(graph, name, arguments, file) : std::nullopt;
}

bool is_plain_call(const PickleObject& object) {
  return !object.is_newobj && object.state == no_node && object.list_items.empty() && object.dict_items.empty();
}

// _rebuild_parameter(data, requires_grad, hooks) and _rebuild_parameter_with_state(data, requires_grad, hooks, state)
std::optional<TorchTensor> parse_parameter(const PickleGraph& graph, NodeId function, NodeId args,
                                           const std::string& file) {
  const bool has_state = graph.is_global(function, "torch._utils", "_rebuild_parameter_with_state");
  if (!has_state && !graph.is_global(function, "torch._utils", "_rebuild_parameter")) return std::nullopt;
  const Arguments arguments(graph, args, file);
  if (arguments.size() != (has_state ? 4u : 3u) || !are_empty_hooks(graph, arguments[2])) return std::nullopt;
  if (!graph.is(arguments[0], PickleKind::object)) return std::nullopt;
  const PickleObject& data = graph.object(arguments[0]);
  if (!is_plain_call(data)) return std::nullopt;
  auto tensor = parse_base(graph, data.callable, data.args, file);
  if (!tensor) return std::nullopt;
  tensor->kind = TensorKind::parameter;
  tensor->requires_grad = arguments.boolean(1);
  if (has_state && !graph.is(arguments[3], PickleKind::none)) tensor->attributes = arguments[3];
  return tensor;
}

std::optional<TorchTensor> parse_call(const PickleGraph& graph, NodeId function, NodeId args, const std::string& file) {
  auto tensor = parse_base(graph, function, args, file);
  return tensor ? std::move(tensor) : parse_parameter(graph, function, args, file);
}

// torch._tensor _rebuild_from_type_v2(function, type, args, state): a subclass, or a tensor with Python attributes
std::optional<TorchTensor> parse_typed(const PickleGraph& graph, const PickleObject& object, const std::string& file) {
  const auto items = graph.items(object.args);
  if (items.size() != 4 || !graph.is(items[1], PickleKind::global) || !graph.is(items[2], PickleKind::tuple)) {
    return std::nullopt;
  }
  auto tensor = parse_call(graph, items[0], items[2], file);
  if (!tensor || tensor->attributes != no_node) return std::nullopt;
  const bool is_plain_parameter =
      tensor->kind == TensorKind::parameter && graph.is_global(items[1], "torch.nn.parameter", "Parameter");
  const bool is_plain_tensor = tensor->kind == TensorKind::plain && graph.is_global(items[1], "torch", "Tensor");
  if (!is_plain_parameter && !is_plain_tensor) tensor->type = items[1];
  if (graph.is_global(items[1], "torch.nn.parameter", "Buffer")) tensor->kind = TensorKind::buffer;
  if (!graph.is(items[3], PickleKind::none)) tensor->attributes = items[3];
  return tensor;
}

}  // namespace

TorchStorage parse_torch_storage(const PickleGraph& graph, NodeId node, const std::string& file) {
  const NodeId id = graph.items(node)[0];
  const auto items = graph.items(id);
  const bool is_storage = graph.is(id, PickleKind::tuple) && items.size() == 5 && is_text(graph, items[0]) &&
                          graph.text(items[0]) == "storage";
  if (!is_storage) {
    throw Error(ErrorKind::unsupported,
                {.what = "pickle refers to something that is not a torch storage", .file = file});
  }
  const bool is_well_formed = graph.is(items[1], PickleKind::global) && is_text(graph, items[2]) &&
                              is_text(graph, items[3]) && graph.is(items[4], PickleKind::integer);
  if (!is_well_formed) corrupt(file, "malformed reference to a torch storage");
  TorchStorage storage{.dtype = storage_dtype(graph.global_name(items[1]), file),
                       .key = std::string(graph.text(items[2])),
                       .location = std::string(graph.text(items[3]))};
  const std::int64_t numel = graph.integer(items[4]);
  const std::uint64_t item = storage.dtype == DType::invalid ? 1 : item_bytes(storage.dtype);
  if (numel < 0 || __builtin_mul_overflow(static_cast<std::uint64_t>(numel), item, &storage.nbytes)) {
    corrupt(file, "torch storage with an impossible number of elements", std::to_string(numel));
  }
  return storage;
}

std::optional<TorchTensor> parse_torch_tensor(const PickleGraph& graph, NodeId node, const std::string& file) {
  if (!graph.is(node, PickleKind::object)) return std::nullopt;
  const PickleObject& object = graph.object(node);
  if (!is_plain_call(object) || !graph.is(object.callable, PickleKind::global)) return std::nullopt;
  const bool is_typed = graph.is_global(object.callable, "torch._tensor", "_rebuild_from_type_v2");
  return is_typed ? parse_typed(graph, object, file) : parse_call(graph, object.callable, object.args, file);
}

std::uint64_t reached_bytes(const TorchTensor& tensor, const std::string& name, const std::string& file) {
  const auto describe = [&] {
    return fmt::format("shape [{}], stride [{}], offset {}", fmt::join(tensor.shape, ", "),
                       fmt::join(tensor.stride, ", "), tensor.offset);
  };
  if (tensor.shape.size() != tensor.stride.size())
    corrupt(file, "tensor " + name + " has unequal shape and stride", describe());
  bool is_empty = false;
  bool overflows = false;
  std::int64_t numel = 1;
  std::int64_t last = tensor.offset;
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    if (tensor.shape[i] == 0) {
      is_empty = true;
      continue;
    }
    std::int64_t step = 0;
    overflows |= __builtin_mul_overflow(numel, tensor.shape[i], &numel);
    overflows |= __builtin_mul_overflow(tensor.shape[i] - 1, tensor.stride[i], &step);
    overflows |= __builtin_add_overflow(last, step, &last);
  }
  std::int64_t bytes = 0;
  overflows |= __builtin_add_overflow(last, std::int64_t{1}, &last);
  overflows |= __builtin_mul_overflow(last, static_cast<std::int64_t>(item_bytes(tensor.dtype)), &bytes);
  if (overflows) corrupt(file, "tensor " + name + " is impossibly large", describe());
  return is_empty ? 0 : static_cast<std::uint64_t>(bytes);
}

}  // namespace tenon
