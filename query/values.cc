#include <algorithm>
#include <charconv>
#include <string>

#include "formats/quantizer.h"
#include "query/statistics.h"
#include "query/summary_kernels.h"
#include "tenon/error.h"
#include "tenon/name.h"

namespace tenon {

namespace {

// A tensor of a snapshot or a draft, and how to find others of the same by name.
struct Found {
  StridedTensor tensor;
  std::shared_ptr<const void> owner;
};

// The numbers of a tensor of one dimension; nullopt where it is none, or has another length.
std::optional<std::vector<double>> numbers_of(const std::optional<Found>& found, std::int64_t count) {
  if (!found || found->tensor.shape.size() != 1 || found->tensor.shape[0] != count) return std::nullopt;
  if (!has_values(found->tensor.dtype)) return std::nullopt;
  std::vector<double> numbers(static_cast<std::size_t>(count));
  const auto item = static_cast<std::int64_t>(item_bytes(found->tensor.dtype));
  for (std::int64_t i = 0; i < count; ++i) {
    const std::byte* const at = found->tensor.data + i * found->tensor.stride[0] * item;
    expand_values(found->tensor.dtype, at, 1, &numbers[static_cast<std::size_t>(i)]);
  }
  return numbers;
}

// Sets the scales of `values` as `text` says; false if they cannot be known. `find` looks for rows by name.
template <typename Find>
bool set_scales(std::string_view text, const std::string& name, const Find& find, Values& values) {
  const auto quantizer = parse_quantizer(text);
  if (!quantizer) return false;
  if (quantizer->is_per_tensor()) {
    values.scales = {{quantizer->scale, static_cast<double>(quantizer->zero_point)}};
    return true;
  }
  const auto rank = static_cast<std::int64_t>(values.tensor.shape.size());
  if (!quantizer->is_per_channel() || quantizer->axis < 0 || quantizer->axis >= rank) return false;
  const std::int64_t channels = values.tensor.shape[static_cast<std::size_t>(quantizer->axis)];
  const auto scales = numbers_of(find(name + ".scales"), channels);
  const auto zero_points = numbers_of(find(name + ".zero_points"), channels);
  if (!scales || !zero_points) return false;
  values.axis = static_cast<std::uint32_t>(quantizer->axis);
  for (std::size_t i = 0; i < scales->size(); ++i) values.scales.push_back({(*scales)[i], (*zero_points)[i]});
  return true;
}

// A magnitude has no sign, so complex numbers stay as they are.
void negate(Values& values) {
  if (dtype_info(values.tensor.dtype).kind == DTypeClass::complex) return;
  if (values.scales.empty()) values.scales.push_back({});
  for (ValueScale& scale : values.scales) scale.scale = -scale.scale;
}

bool is_quantized(DType dtype) noexcept { return dtype_info(dtype).kind == DTypeClass::quantized; }

std::optional<Found> find_in(const Snapshot& snapshot, const std::string& name) {
  const auto row = snapshot.find(name);
  if (!row || snapshot.row(*row).slot == no_slot) return std::nullopt;
  auto view = std::make_shared<const View>(snapshot.view(*row));
  return Found{{view->dtype(), view->data(), view->shape(), view->stride()}, view};
}

// The bytes from the first element to the last; `first` is where the element with indices 0 is among them.
struct Extent {
  std::uint64_t begin = 0;
  std::uint64_t size = 0;
  std::uint64_t first = 0;
};

[[noreturn]] void throw_outside(const TensorDraft& tensor) {
  throw Error(ErrorKind::corrupt, {.what = "tensor '" + printable(tensor.name) + "' leads outside of its storage"});
}

// Shape and stride come out of a file.
Extent extent_of(const TensorDraft& tensor, std::uint64_t slot_bytes) {
  __extension__ typedef __int128 Wide;
  const Wide item = static_cast<Wide>(item_bytes(tensor.dtype));
  Wide lowest = static_cast<Wide>(tensor.storage_offset_bytes);
  Wide highest = lowest + item;
  for (std::size_t d = 0; d < tensor.shape.size(); ++d) {
    if (tensor.shape[d] == 0) return {};
    const Wide reach = static_cast<Wide>(tensor.shape[d] - 1) * tensor.stride[d];
    if (reach < INT64_MIN || reach > INT64_MAX) throw_outside(tensor);
    (reach < 0 ? lowest : highest) += reach * item;
  }
  if (lowest < 0 || highest > static_cast<Wide>(slot_bytes)) throw_outside(tensor);
  const auto begin = static_cast<std::uint64_t>(lowest);
  return {begin, static_cast<std::uint64_t>(highest - lowest), tensor.storage_offset_bytes - begin};
}

Found load(const Draft& draft, const TensorDraft& tensor, std::uint64_t memory_max) {
  const SlotDraft& slot = draft.slots[tensor.slot];
  const Extent extent = extent_of(tensor, slot.nbytes);
  const StridedTensor strided{tensor.dtype, nullptr, tensor.shape, tensor.stride};
  Found found{strided, nullptr};
  if (!slot.source.read) {
    found.tensor.data = slot.source.memory.data() + extent.begin + extent.first;
    return found;
  }
  if (extent.size > memory_max) {
    throw Error(ErrorKind::limit, {.what = "too large to be read into memory",
                                   .got = std::to_string(extent.size) + " bytes",
                                   .wanted = "at most " + std::to_string(memory_max)});
  }
  auto bytes = std::make_shared<std::vector<std::byte>>(extent.size);
  slot.source.read(extent.begin, *bytes);
  found.tensor.data = bytes->data() + extent.first;
  found.owner = std::move(bytes);
  return found;
}

}  // namespace

std::optional<Values> values_of(const Snapshot& snapshot, std::uint32_t index) {
  const TensorRow row = snapshot.row(index);
  if (row.slot == no_slot || !has_values(row.dtype)) return std::nullopt;
  auto view = std::make_shared<const View>(snapshot.view(index));
  Values values{.tensor = {row.dtype, view->data(), view->shape(), view->stride()}};
  values.owner = std::move(view);
  const auto find = [&](const std::string& name) { return find_in(snapshot, name); };
  if (is_quantized(row.dtype) && !set_scales(row.quantizer, std::string(row.name), find, values)) return std::nullopt;
  if (row.is_neg) negate(values);
  return values;
}

std::optional<Values> values_of(const Draft& draft, std::uint32_t index, std::uint64_t memory_max) {
  const TensorDraft& tensor = draft.tensors[index];
  if (tensor.slot == no_slot || !has_values(tensor.dtype)) return std::nullopt;
  Found found = load(draft, tensor, memory_max);
  Values values{.tensor = found.tensor, .owner = std::move(found.owner)};
  const auto find = [&](const std::string& name) -> std::optional<Found> {
    const auto other = std::ranges::find(draft.tensors, name, &TensorDraft::name);
    if (other == draft.tensors.end() || other->slot == no_slot) return std::nullopt;
    return load(draft, *other, memory_max);
  };
  if (is_quantized(tensor.dtype) && !set_scales(tensor.quantizer, tensor.name, find, values)) return std::nullopt;
  if (tensor.is_neg) negate(values);
  return values;
}

}  // namespace tenon
