#include "formats/torch_storage.h"

#include <functional>
#include <map>
#include <utility>

#include <fmt/format.h>

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
  static const std::map<std::string, DType, std::less<>> by_name = [] {
    std::map<std::string, DType, std::less<>> names;
    for (const DTypeInfo& info : all_dtypes()) names.emplace(torchscript_storage_class(info.dtype), info.dtype);
    return names;
  }();
  const auto found = by_name.find(class_name);
  if (found != by_name.end()) return found->second;
  throw Error(ErrorKind::unsupported, {.what = "unknown storage class", .file = file, .got = std::string(class_name)});
}

// (view_key, offset, size), both in elements.
TorchStorageView parse_view(const PickleGraph& graph, NodeId node, std::uint64_t item, std::uint64_t storage_bytes,
                            const std::string& file) {
  const auto items = graph.items(node);
  const bool is_well_formed = graph.is(node, PickleKind::tuple) && items.size() == 3 &&
                              graph.is(items[1], PickleKind::integer) && graph.is(items[2], PickleKind::integer);
  if (!is_well_formed) corrupt(file, "malformed view of a torch storage");
  TorchStorageView view;
  const std::int64_t offset = graph.integer(items[1]);
  const std::int64_t numel = graph.integer(items[2]);
  const bool is_inside = offset >= 0 && numel >= 0 &&
                         !__builtin_mul_overflow(static_cast<std::uint64_t>(offset), item, &view.offset_bytes) &&
                         !__builtin_mul_overflow(static_cast<std::uint64_t>(numel), item, &view.nbytes) &&
                         view.offset_bytes <= storage_bytes && view.nbytes <= storage_bytes - view.offset_bytes;
  if (!is_inside) {
    corrupt(file, "view of a torch storage reaches outside it", fmt::format("{} elements from {}", numel, offset),
            fmt::format("inside {} bytes", storage_bytes));
  }
  return view;
}

}  // namespace

std::string torchscript_storage_class(DType dtype) {
  const DTypeInfo& info = dtype_info(dtype);
  if (!info.torch_storage.empty()) return std::string(info.torch_storage);
  if (dtype == DType::complex32) return "ComplexHalfStorage";
  const bool is_unsigned = info.name.starts_with("uint");
  std::string name(is_unsigned ? info.name.substr(1) : info.name);
  name[0] = static_cast<char>(name[0] - 'a' + 'A');
  return (is_unsigned ? "U" : "") + name + "Storage";
}

TorchStorage parse_torch_storage(const PickleGraph& graph, NodeId node, const std::string& file) {
  const NodeId id = graph.items(node)[0];
  const auto items = graph.items(id);
  const bool is_storage = graph.is(id, PickleKind::tuple) && (items.size() == 5 || items.size() == 6) &&
                          is_text(graph, items[0]) && graph.text(items[0]) == "storage";
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
  if (items.size() == 6 && !graph.is(items[5], PickleKind::none)) {
    storage.view = parse_view(graph, items[5], item, storage.nbytes, file);
  }
  return storage;
}

}  // namespace tenon
