#include "formats/numpy_value.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "store/value_elements.h"
#include "tenon/error.h"
#include "tenon/name.h"

namespace tenon {

namespace {

constexpr std::size_t max_rank = 64;
constexpr std::int64_t state_version = 1;
constexpr std::int64_t dtype_state_version = 3;

struct Code {
  std::string_view text;
  DType dtype;
};
constexpr Code codes[] = {
    {"b1", DType::bool8},     {"i1", DType::int8},        {"u1", DType::uint8},   {"i2", DType::int16},
    {"u2", DType::uint16},    {"i4", DType::int32},       {"u4", DType::uint32},  {"i8", DType::int64},
    {"u8", DType::uint64},    {"f2", DType::float16},     {"f4", DType::float32}, {"f8", DType::float64},
    {"c8", DType::complex64}, {"c16", DType::complex128},
};

DType dtype_of_code(std::string_view text) {
  const auto found = std::find_if(std::begin(codes), std::end(codes), [&](const Code& c) { return c.text == text; });
  return found == std::end(codes) ? DType::invalid : found->dtype;
}

std::string_view code_of_dtype(DType dtype) {
  const auto found = std::find_if(std::begin(codes), std::end(codes), [&](const Code& c) { return c.dtype == dtype; });
  return found == std::end(codes) ? std::string_view() : found->text;
}

bool is_module(std::string_view module, std::string_view last) {
  return module.ends_with(last) && (module.substr(0, module.size() - last.size()) == "numpy.core." ||
                                    module.substr(0, module.size() - last.size()) == "numpy._core.");
}

bool is_numpy_function(const PickleGraph& graph, NodeId id, std::string_view module, std::string_view name) {
  return graph.is(id, PickleKind::global) && graph.global_name(id) == name &&
         is_module(graph.global_module(id), module);
}

bool has_items(const PickleObject& object) { return !object.list_items.empty() || !object.dict_items.empty(); }

// (3, '<', None, None, None, -1, -1, 0)
bool is_plain_dtype_state(const PickleGraph& graph, NodeId state) {
  const auto items = graph.items(state);
  if (!graph.is(state, PickleKind::tuple) || items.size() != 8 || !graph.is(items[0], PickleKind::integer) ||
      !graph.is(items[1], PickleKind::string)) {
    return false;
  }
  const std::string_view order = graph.text(items[1]);
  return graph.integer(items[0]) == dtype_state_version && (order == "<" || order == "|") &&
         std::all_of(items.begin() + 2, items.begin() + 5, [&](NodeId id) { return graph.is(id, PickleKind::none); });
}

// numpy.dtype('f4', False, True) with its state; invalid for anything but a plain, little-endian type.
DType parse_dtype(const PickleGraph& graph, NodeId node) {
  if (!graph.is(node, PickleKind::object)) return DType::invalid;
  const PickleObject& object = graph.object(node);
  const auto args = graph.items(object.args);
  const bool is_plain = graph.is_global(object.callable, "numpy", "dtype") && !has_items(object) && !args.empty() &&
                        graph.is(args[0], PickleKind::string) && is_plain_dtype_state(graph, object.state);
  return is_plain ? dtype_of_code(graph.text(args[0])) : DType::invalid;
}

bool parse_shape(const PickleGraph& graph, NodeId node, std::vector<std::int64_t>& shape) {
  const auto items = graph.items(node);
  if (!graph.is(node, PickleKind::tuple) || items.size() > max_rank) return false;
  for (const NodeId item : items) {
    if (!graph.is(item, PickleKind::integer) || graph.integer(item) < 0) return false;
    shape.push_back(graph.integer(item));
  }
  return true;
}

// Strides in elements; false if they overflow. A size of 0 counts as 1.
bool lay_out(std::span<const std::int64_t> shape, bool is_fortran, std::vector<std::int64_t>& stride) {
  stride.assign(shape.size(), 1);
  std::int64_t step = 1;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const std::size_t d = is_fortran ? i : shape.size() - 1 - i;
    stride[d] = step;
    if (__builtin_mul_overflow(step, std::max<std::int64_t>(shape[d], 1), &step)) return false;
  }
  return true;
}

// REQUIRES: lay_out was true of it.
std::uint64_t count_elements(std::span<const std::int64_t> shape) {
  std::uint64_t count = 1;
  for (const std::int64_t extent : shape) count *= static_cast<std::uint64_t>(extent);
  return count;
}

std::optional<NumpyArray> parse_content(const PickleGraph& graph, NodeId shape, NodeId dtype, bool is_fortran,
                                        NodeId data) {
  NumpyArray array{.dtype = parse_dtype(graph, dtype), .data = data};
  if (array.dtype == DType::invalid || !parse_shape(graph, shape, array.shape)) return std::nullopt;
  if (!graph.is(data, PickleKind::bytes) && !graph.is(data, PickleKind::bytearray)) return std::nullopt;
  if (!lay_out(array.shape, is_fortran, array.stride)) return std::nullopt;
  std::uint64_t nbytes = 0;
  if (__builtin_mul_overflow(count_elements(array.shape), item_bytes(array.dtype), &nbytes)) return std::nullopt;
  return nbytes == graph.text_bytes(data) ? std::optional(std::move(array)) : std::nullopt;
}

// _reconstruct(ndarray, (0,), b'b') with the state (1, shape, dtype, is_fortran, data)
std::optional<NumpyArray> parse_reconstructed(const PickleGraph& graph, const PickleObject& object) {
  const auto args = graph.items(object.args);
  const auto state = graph.items(object.state);
  if (args.size() != 3 || !graph.is_global(args[0], "numpy", "ndarray")) return std::nullopt;
  const bool is_state = graph.is(object.state, PickleKind::tuple) && state.size() == 5 &&
                        graph.is(state[0], PickleKind::integer) && graph.integer(state[0]) == state_version &&
                        graph.is(state[3], PickleKind::boolean);
  return is_state ? parse_content(graph, state[1], state[2], graph.boolean(state[3]), state[4]) : std::nullopt;
}

// _frombuffer(data, dtype, shape, order)
std::optional<NumpyArray> parse_buffer(const PickleGraph& graph, const PickleObject& object) {
  const auto args = graph.items(object.args);
  if (args.size() != 4 || object.state != no_node || !graph.is(args[3], PickleKind::string)) return std::nullopt;
  const std::string_view order = graph.text(args[3]);
  if (order != "C" && order != "F") return std::nullopt;
  return parse_content(graph, args[2], args[1], order == "F", args[0]);
}

NodeId make_dtype(PickleGraph& graph, DType dtype, std::string_view code) {
  const NodeId args = graph.add_tuple({graph.add_string(code), graph.add_boolean(false), graph.add_boolean(true)});
  const NodeId object = graph.add_object(graph.add_global("numpy", "dtype"), args);
  const NodeId none = graph.add_none();
  const NodeId minus_one = graph.add_integer(-1);
  const NodeId order = graph.add_string(item_bytes(dtype) == 1 ? "|" : "<");
  const NodeId state = graph.add_tuple(
      {graph.add_integer(dtype_state_version), order, none, none, none, minus_one, minus_one, graph.add_integer(0)});
  graph.mutable_object(object).state = state;
  return object;
}

// In which order the elements lie side by side.
bool is_fortran_order(const TensorRow& row) {
  const auto matches = [&](bool is_fortran) {
    std::vector<std::int64_t> stride;
    if (!lay_out(row.shape, is_fortran, stride)) return false;
    for (std::size_t d = 0; d < stride.size(); ++d) {
      if (row.shape[d] > 1 && row.stride[d] != stride[d]) return false;
    }
    return true;
  };
  const bool is_empty = std::find(row.shape.begin(), row.shape.end(), 0) != row.shape.end();
  if (is_empty || matches(false)) return false;
  if (matches(true)) return true;
  throw Error(ErrorKind::unsupported, {.what = "numpy array does not lie in one piece", .got = printable(row.name)});
}

template <class T>
T load(std::string_view bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

std::string number_text(DType dtype, std::string_view bytes) {
  switch (dtype) {
    case DType::bool8:
      return bytes[0] != 0 ? "True" : "False";
    case DType::int8:
      return std::to_string(load<std::int8_t>(bytes));
    case DType::uint8:
      return std::to_string(load<std::uint8_t>(bytes));
    case DType::int16:
      return std::to_string(load<std::int16_t>(bytes));
    case DType::uint16:
      return std::to_string(load<std::uint16_t>(bytes));
    case DType::int32:
      return std::to_string(load<std::int32_t>(bytes));
    case DType::uint32:
      return std::to_string(load<std::uint32_t>(bytes));
    case DType::int64:
      return std::to_string(load<std::int64_t>(bytes));
    case DType::uint64:
      return std::to_string(load<std::uint64_t>(bytes));
    case DType::float16:
      return fmt::format("{}", Float16Element::value(load<std::uint16_t>(bytes)));
    case DType::float32:
      return fmt::format("{}", load<float>(bytes));
    case DType::float64:
      return fmt::format("{}", load<double>(bytes));
    case DType::complex64:
      return fmt::format("{}{:+}j", load<float>(bytes), load<float>(bytes.substr(4)));
    default:
      return fmt::format("{}{:+}j", load<double>(bytes), load<double>(bytes.substr(8)));
  }
}

}  // namespace

std::optional<NumpyArray> parse_numpy_array(const PickleGraph& graph, NodeId node) {
  if (!graph.is(node, PickleKind::object)) return std::nullopt;
  const PickleObject& object = graph.object(node);
  if (object.is_newobj || has_items(object)) return std::nullopt;
  std::optional<NumpyArray> array;
  if (is_numpy_function(graph, object.callable, "multiarray", "_reconstruct")) {
    array = parse_reconstructed(graph, object);
  } else if (is_numpy_function(graph, object.callable, "numeric", "_frombuffer")) {
    array = parse_buffer(graph, object);
  }
  if (array) array->function = object.callable;
  return array;
}

NodeId add_numpy_rebuild(PickleGraph& graph) { return graph.add_global("numpy.core.multiarray", "_reconstruct"); }

bool is_numpy_rebuild(const PickleGraph& graph, NodeId function) {
  return is_numpy_function(graph, function, "multiarray", "_reconstruct") ||
         is_numpy_function(graph, function, "numeric", "_frombuffer");
}

NodeId make_numpy_array(PickleGraph& graph, NodeId function, const TensorRow& row, NodeId data) {
  const std::string_view code = code_of_dtype(row.dtype);
  if (code.empty()) {
    throw Error(ErrorKind::unsupported,
                {.what = "numpy has no such element type",
                 .got = fmt::format("{}: {}", printable(row.name), dtype_info(row.dtype).name)});
  }
  const bool is_fortran = is_fortran_order(row);
  const bool is_numpy_1 = graph.global_module(function).starts_with("numpy.core.");
  const NodeId reconstruct =
      graph.add_global(is_numpy_1 ? "numpy.core.multiarray" : "numpy._core.multiarray", "_reconstruct");
  const NodeId args = graph.add_tuple({graph.add_global("numpy", "ndarray"), graph.add_tuple({graph.add_integer(0)}),
                                       graph.add_text(PickleKind::bytes, "b")});
  const NodeId object = graph.add_object(reconstruct, args);
  std::vector<NodeId> shape;
  for (const std::int64_t extent : row.shape) shape.push_back(graph.add_integer(extent));
  const NodeId state = graph.add_tuple({graph.add_integer(state_version), graph.add_fixed(PickleKind::tuple, shape),
                                        make_dtype(graph, row.dtype, code), graph.add_boolean(is_fortran), data});
  graph.mutable_object(object).state = state;
  return object;
}

std::optional<std::string> numpy_scalar_text(const PickleGraph& graph, NodeId node) {
  if (!graph.is(node, PickleKind::object)) return std::nullopt;
  const PickleObject& object = graph.object(node);
  const auto args = graph.items(object.args);
  const bool is_scalar = is_numpy_function(graph, object.callable, "multiarray", "scalar") && args.size() == 2 &&
                         object.state == no_node && !object.is_newobj && !has_items(object) &&
                         graph.is(args[1], PickleKind::bytes);
  if (!is_scalar) return std::nullopt;
  const DType dtype = parse_dtype(graph, args[0]);
  if (dtype == DType::invalid || graph.text_bytes(args[1]) != item_bytes(dtype)) return std::nullopt;
  return fmt::format("numpy.{}({})", dtype_info(dtype).name, number_text(dtype, graph.text(args[1])));
}

}  // namespace tenon
