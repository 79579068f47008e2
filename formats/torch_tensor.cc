#include "formats/torch_tensor.h"

#include <span>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "formats/quantizer.h"
#include "tenon/error.h"

namespace tenon {

namespace {

constexpr std::size_t max_rank = 64;
constexpr std::size_t max_metadata_items = 4;  // keys and values

[[noreturn]] void corrupt(const std::string& file, std::string what, std::string got = {}, std::string wanted = {}) {
  throw Error(ErrorKind::corrupt,
              {.what = std::move(what), .file = file, .got = std::move(got), .wanted = std::move(wanted)});
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
    const auto items = graph_.items(items_[i]);
    if (items.size() > max_rank) {
      throw Error(ErrorKind::limit, {.what = "tensor has too many dimensions",
                                     .file = file_,
                                     .got = std::to_string(items.size()),
                                     .wanted = fmt::format("at most {}", max_rank)});
    }
    std::vector<std::int64_t> out;
    for (const NodeId item : items) out.push_back(extent_of(item));
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
  const auto items = graph.items(id);
  if (!graph.is(id, PickleKind::dict) || items.size() > max_metadata_items) return false;
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

// (scheme, scale, zero_point) or (scheme, scales, zero_points, axis)
bool apply_quantizer(const PickleGraph& graph, NodeId id, TorchTensor& tensor) {
  const auto items = graph.items(id);
  if (!graph.is(id, PickleKind::tuple) || items.size() < 3 || !graph.is(items[0], PickleKind::global)) return false;
  Quantizer quantizer{.scheme = std::string(graph.global_name(items[0]))};
  if (graph.global_module(items[0]) != "torch") return false;
  if (quantizer.is_per_tensor() && items.size() == 3) {
    if (!graph.is(items[1], PickleKind::floating) || !graph.is(items[2], PickleKind::integer)) return false;
    quantizer.scale = graph.floating(items[1]);
    quantizer.zero_point = graph.integer(items[2]);
  } else if (quantizer.is_per_channel() && items.size() == 4 && graph.is(items[3], PickleKind::integer)) {
    quantizer.axis = graph.integer(items[3]);
    tensor.scales = items[1];
    tensor.zero_points = items[2];
  } else {
    return false;
  }
  tensor.quantizer = to_text(quantizer);
  return true;
}

// (storage, offset, size, stride, quantizer, requires_grad, hooks)
std::optional<TorchTensor> parse_quantized(const PickleGraph& graph, const Arguments& args, const std::string& file) {
  if (args.size() != 7 || !graph.is(args[0], PickleKind::persistent) || !are_empty_hooks(graph, args[6])) {
    return std::nullopt;
  }
  TorchTensor tensor{.storage = args[0], .dtype = parse_torch_storage(graph, args[0], file).dtype};
  if (tensor.dtype == DType::invalid || !apply_quantizer(graph, args[4], tensor)) return std::nullopt;
  tensor.offset = args.extent(1);
  tensor.shape = args.extents(2);
  tensor.stride = args.extents(3);
  tensor.requires_grad = args.boolean(5);
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
  if (name == "_rebuild_qtensor") return parse_quantized(graph, arguments, file);
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

// torch._tensor _rebuild_from_type_v2(function, type, args, state): a subclass, or a tensor with Python attributes.
// Its predecessor _rebuild_from_type drops the attributes of a plain tensor.
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
  const bool drops_attributes = is_plain_tensor && graph.global_name(object.callable) == "_rebuild_from_type";
  if (!graph.is(items[3], PickleKind::none) && !drops_attributes) tensor->attributes = items[3];
  return tensor;
}

// torch FloatTensor, torch.cuda HalfTensor, torch Tensor
bool is_tensor_class(const PickleGraph& graph, NodeId callable) {
  const std::string_view module = graph.global_module(callable);
  return (module == "torch" || module == "torch.cuda") && graph.global_name(callable).ends_with("Tensor");
}

// An empty tensor that is given (storage, offset, size, stride) as its state: torch before 0.2.
std::optional<TorchTensor> parse_built(const PickleGraph& graph, const PickleObject& object, const std::string& file) {
  if (!graph.items(object.args).empty() || !graph.is(object.state, PickleKind::tuple)) return std::nullopt;
  if (graph.items(object.state).size() != 4) return std::nullopt;
  return parse_dense(graph, "_rebuild_tensor", Arguments(graph, object.state, file), file);
}

// Parameter(data[, requires_grad]) with (requires_grad, volatile, hooks) as its state: torch before 0.4.
std::optional<TorchTensor> parse_built_parameter(const PickleGraph& graph, const PickleObject& object,
                                                 const std::string& file) {
  const auto args = graph.items(object.args);
  if (args.empty() || args.size() > 2 || !graph.is(args[0], PickleKind::object)) return std::nullopt;
  const PickleObject& data = graph.object(args[0]);
  if (!is_plain_call(data)) return std::nullopt;
  const NodeId last = object.state != no_node ? object.state : object.args;
  const auto state = graph.items(object.state);
  if (object.state != no_node && (state.size() != 3 || !graph.is(object.state, PickleKind::tuple) ||
                                  !graph.is(state[0], PickleKind::boolean) || !are_empty_hooks(graph, state[2]))) {
    return std::nullopt;
  }
  auto tensor = parse_base(graph, data.callable, data.args, file);
  if (!tensor) return std::nullopt;
  tensor->kind = TensorKind::parameter;
  const bool is_said = object.state != no_node || args.size() == 2;
  tensor->requires_grad = !is_said || Arguments(graph, last, file).boolean(object.state != no_node ? 0 : 1);
  return tensor;
}

std::optional<TorchTensor> parse_old_instance(const PickleGraph& graph, const PickleObject& object,
                                              const std::string& file) {
  if (!object.list_items.empty() || !object.dict_items.empty()) return std::nullopt;
  if (is_tensor_class(graph, object.callable)) return parse_built(graph, object, file);
  const bool is_parameter = graph.is_global(object.callable, "torch.nn.parameter", "Parameter");
  return is_parameter ? parse_built_parameter(graph, object, file) : std::nullopt;
}

}  // namespace

void rename_old_calls(PickleGraph& graph) {
  const std::size_t size = graph.size();
  for (NodeId id = 0; id < size; ++id) {
    if (graph.is_global(id, "torch._utils", "_rebuild_sparse_csr_tensor")) {
      graph.become(id, graph.add_global("torch._utils", "_rebuild_sparse_tensor"));
    } else if (graph.is(id, PickleKind::global) && graph.global_module(id) == "torch.tensor") {
      const std::string name(graph.global_name(id));
      graph.become(id, graph.add_global("torch._tensor", name));
    }
  }
}

std::optional<TorchTensor> parse_torch_tensor(const PickleGraph& graph, NodeId node, const std::string& file) {
  if (!graph.is(node, PickleKind::object)) return std::nullopt;
  const PickleObject& object = graph.object(node);
  if (!graph.is(object.callable, PickleKind::global)) return std::nullopt;
  if (auto tensor = parse_old_instance(graph, object, file)) return tensor;
  if (!is_plain_call(object)) return std::nullopt;
  const bool is_typed = graph.is_global(object.callable, "torch._tensor", "_rebuild_from_type_v2") ||
                        graph.is_global(object.callable, "torch._tensor", "_rebuild_from_type");
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
  std::int64_t last = 0;
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
  // Offsets are in whole bytes, also of nibbles and crumbs, which sizes and strides count.
  const auto item = static_cast<std::int64_t>(item_bytes(tensor.dtype));
  const auto per_byte = 8 * item / dtype_info(tensor.dtype).bits;
  std::int64_t begin = 0;
  std::int64_t bytes = 0;
  overflows |= __builtin_mul_overflow(tensor.offset, item, &begin);
  overflows |= __builtin_add_overflow(last / per_byte, std::int64_t{1}, &bytes);
  overflows |= __builtin_mul_overflow(bytes, item, &bytes);
  overflows |= __builtin_add_overflow(begin, bytes, &bytes);
  if (overflows) corrupt(file, "tensor " + name + " is impossibly large", describe());
  return is_empty ? 0 : static_cast<std::uint64_t>(bytes);
}

}  // namespace tenon
