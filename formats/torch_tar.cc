#include "formats/torch_tar.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "formats/pickle_stream.h"
#include "formats/region_source.h"
#include "formats/tar_reader.h"
#include "formats/torch_import.h"
#include "tenon/dtype.h"
#include "tenon/error.h"

namespace tenon {

namespace {

constexpr std::int64_t max_rank = 64;

// A storage with bytes of its own, or a view of one.
struct Storage {
  std::string class_name;  // "FloatStorage"
  std::string location;
  std::uint64_t offset = 0;  // of its bytes in the file
  std::uint64_t nbytes = 0;
  std::int64_t numel = 0;
  struct View {
    std::int64_t root;
    std::int64_t offset;
    std::int64_t numel;
  };
  std::optional<View> view{};
};

struct Tensor {
  std::int64_t storage = 0;
  std::int64_t offset = 0;
  std::vector<std::int64_t> shape{};
  std::vector<std::int64_t> stride{};
};

// Objects refer to tensors and storages by numbers; what they become is what later formats write.
class TarArchive final : public TorchRecords {
 public:
  using OnGlobal = std::function<void(std::string_view, std::string_view)>;
  explicit TarArchive(const ForeignFile& file, OnGlobal on_global = {})
      : file_(file.file()), entries_(read_tar(*file.file())), on_global_(std::move(on_global)) {}

  PickleGraph read_object(const ImportOptions& options);
  std::optional<TorchRecord> find(const std::string& key) const override;
  std::string label(const std::string& key) const override {
    return fmt::format("{}(storage {})", label_of("storages"), key);
  }
  std::string pickle_label() const override { return label_of("pickle"); }

 private:
  std::string label_of(std::string_view entry) const { return fmt::format("{}({})", file_->path().string(), entry); }
  PickleStream open(std::string_view name) const;
  void read_storages();
  void read_storage(PickleStream& stream);
  void read_views(PickleStream& stream);
  void read_tensors();
  NodeId resolve(PickleGraph& graph, NodeId id);
  NodeId make_storage(PickleGraph& graph, std::int64_t key);
  NodeId make_tensor(PickleGraph& graph, const Tensor& tensor);

  std::shared_ptr<const File> file_;
  std::vector<TarEntry> entries_;
  OnGlobal on_global_;
  std::map<std::int64_t, Storage> storages_;
  std::map<std::int64_t, Tensor> tensors_;
  std::map<std::int64_t, NodeId> nodes_;  // of the pickle that is being read
};

[[noreturn]] void corrupt(const PickleStream& stream, std::string what, std::string got = {}) {
  throw Error(ErrorKind::corrupt,
              {.what = std::move(what), .file = stream.label(), .offset = stream.offset(), .got = std::move(got)});
}

bool is_text(const PickleGraph& graph, NodeId id) {
  return graph.is(id, PickleKind::string) || graph.is(id, PickleKind::bytes);
}

std::int64_t next_count(PickleStream& stream, const PickleReadOptions& options) {
  const PickleGraph graph = stream.next(options);
  const bool is_count = graph.is(graph.root, PickleKind::integer) && graph.integer(graph.root) >= 0;
  if (!is_count) corrupt(stream, "tar archive of torch does not begin a list with its length");
  return graph.integer(graph.root);
}

std::optional<std::int64_t> decimal(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

PickleStream TarArchive::open(std::string_view name) const {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const TarEntry& entry) { return entry.name == name; });
  if (found == entries_.end()) {
    throw Error(ErrorKind::unsupported, {.what = "tar archive is not one that torch wrote",
                                         .file = file_->path().string(),
                                         .wanted = fmt::format("a file {} in it", name)});
  }
  return {file_, found->offset, found->offset + found->nbytes, label_of(name)};
}

PickleGraph TarArchive::read_object(const ImportOptions& options) {
  PickleStream pickle = open("pickle");
  read_storages();
  read_tensors();
  const auto resolver = [this](PickleGraph& graph, NodeId id) { return resolve(graph, id); };
  PickleReadOptions reading = object_read_options(options);
  reading.persistent = resolver;
  reading.on_global = on_global_;
  return pickle.next(reading, [this] { nodes_.clear(); });
}

void TarArchive::read_storages() {
  PickleStream stream = open("storages");
  for (std::int64_t left = next_count(stream, {.on_global = on_global_}); left > 0; --left) read_storage(stream);
  read_views(stream);
}

// (key, location, class), then int64 number of elements and the elements.
void TarArchive::read_storage(PickleStream& stream) {
  const PickleGraph graph = stream.next({.on_global = on_global_});
  const auto items = graph.items(graph.root);
  const bool is_well_formed = graph.is(graph.root, PickleKind::tuple) && items.size() == 3 &&
                              graph.is(items[0], PickleKind::integer) && is_text(graph, items[1]) &&
                              graph.is(items[2], PickleKind::global);
  if (!is_well_formed) corrupt(stream, "tar archive of torch has a malformed storage");
  const DType dtype = dtype_from_torch_storage(graph.global_name(items[2]));
  if (dtype == DType::invalid) corrupt(stream, "unknown storage class", std::string(graph.global_name(items[2])));
  Storage storage{.class_name = std::string(graph.global_name(items[2])),
                  .location = std::string(graph.text(items[1]))};
  storage.numel = stream.next_int64();
  storage.offset = stream.offset();
  const bool is_countable = storage.numel >= 0 && !__builtin_mul_overflow(static_cast<std::uint64_t>(storage.numel),
                                                                          item_bytes(dtype), &storage.nbytes);
  if (!is_countable) corrupt(stream, "storage has an impossible number of elements", std::to_string(storage.numel));
  stream.skip(storage.nbytes, "storage");
  const bool is_new = storages_.try_emplace(graph.integer(items[0]), std::move(storage)).second;
  if (!is_new) corrupt(stream, "tar archive of torch has a storage twice");
}

// A list of (key, key of the storage it is a part of, offset, number of elements).
void TarArchive::read_views(PickleStream& stream) {
  const PickleGraph graph = stream.next({.on_global = on_global_});
  if (!graph.is(graph.root, PickleKind::list)) corrupt(stream, "tar archive of torch has no list of views");
  for (const NodeId view : graph.items(graph.root)) {
    const auto items = graph.items(view);
    const bool is_well_formed =
        graph.is(view, PickleKind::tuple) && items.size() == 4 &&
        std::all_of(items.begin(), items.end(), [&](NodeId item) { return graph.is(item, PickleKind::integer); });
    if (!is_well_formed) corrupt(stream, "tar archive of torch has a malformed view");
    const auto root = storages_.find(graph.integer(items[1]));
    if (root == storages_.end() || root->second.view) corrupt(stream, "view of a storage that is not there");
    Storage storage = root->second;
    storage.view = {graph.integer(items[1]), graph.integer(items[2]), graph.integer(items[3])};
    const bool is_new = storages_.try_emplace(graph.integer(items[0]), std::move(storage)).second;
    if (!is_new) corrupt(stream, "tar archive of torch has a storage twice");
  }
}

// (key, key of the storage, class), then int32 rank, 4 bytes of nothing, int64 sizes, strides and offset.
void TarArchive::read_tensors() {
  PickleStream stream = open("tensors");
  for (std::int64_t left = next_count(stream, {.on_global = on_global_}); left > 0; --left) {
    const PickleGraph graph = stream.next({.on_global = on_global_});
    const auto items = graph.items(graph.root);
    const bool is_well_formed = graph.is(graph.root, PickleKind::tuple) && items.size() == 3 &&
                                graph.is(items[0], PickleKind::integer) && graph.is(items[1], PickleKind::integer);
    if (!is_well_formed) corrupt(stream, "tar archive of torch has a malformed tensor");
    Tensor tensor{.storage = graph.integer(items[1])};
    if (!storages_.contains(tensor.storage)) corrupt(stream, "tensor on a storage that is not there");
    const std::int32_t rank = stream.next_int32();
    if (rank < 0 || rank > max_rank) corrupt(stream, "tensor has an impossible rank", std::to_string(rank));
    stream.next_int32();
    for (std::int32_t d = 0; d < rank; ++d) tensor.shape.push_back(stream.next_int64());
    for (std::int32_t d = 0; d < rank; ++d) tensor.stride.push_back(stream.next_int64());
    tensor.offset = stream.next_int64();
    const bool is_new = tensors_.try_emplace(graph.integer(items[0]), std::move(tensor)).second;
    if (!is_new) corrupt(stream, "tar archive of torch has a tensor twice");
  }
}

// A number in digits names a tensor or a storage. A tuple is a class, and its source, which is of interest to nobody.
NodeId TarArchive::resolve(PickleGraph& graph, NodeId id) {
  const auto items = graph.items(id);
  if (graph.is(id, PickleKind::tuple) && !items.empty() && graph.is(items[0], PickleKind::global)) return items[0];
  const auto key = is_text(graph, id)                  ? decimal(graph.text(id))
                   : graph.is(id, PickleKind::integer) ? std::optional(graph.integer(id))
                                                       : std::nullopt;
  if (key) {
    if (const auto known = nodes_.find(*key); known != nodes_.end()) return known->second;
    const auto tensor = tensors_.find(*key);
    if (tensor != tensors_.end()) return nodes_[*key] = make_tensor(graph, tensor->second);
    if (storages_.contains(*key)) return make_storage(graph, *key);
  }
  throw Error(ErrorKind::corrupt, {.what = "object refers to a tensor or storage that the archive does not have",
                                   .file = pickle_label(),
                                   .got = key ? std::to_string(*key) : ""});
}

// ('storage', class, key, location, numel, view)
NodeId TarArchive::make_storage(PickleGraph& graph, std::int64_t key) {
  if (const auto known = nodes_.find(key); known != nodes_.end()) return known->second;
  const Storage& storage = storages_.at(key);
  const std::int64_t root = storage.view ? storage.view->root : key;
  const NodeId view =
      storage.view ? graph.add_tuple({graph.add_string(std::to_string(key)), graph.add_integer(storage.view->offset),
                                      graph.add_integer(storage.view->numel)})
                   : graph.add_none();
  const NodeId id = graph.add_tuple({graph.add_string("storage"), graph.add_global("torch", storage.class_name),
                                     graph.add_string(std::to_string(root)), graph.add_string(storage.location),
                                     graph.add_integer(storage.numel), view});
  return nodes_[key] = graph.add_persistent(id);
}

NodeId TarArchive::make_tensor(PickleGraph& graph, const Tensor& tensor) {
  const auto extents = [&](const std::vector<std::int64_t>& values) {
    std::vector<NodeId> items;
    for (const std::int64_t value : values) items.push_back(graph.add_integer(value));
    return graph.add_fixed(PickleKind::tuple, items);
  };
  const NodeId args = graph.add_tuple({make_storage(graph, tensor.storage), graph.add_integer(tensor.offset),
                                       extents(tensor.shape), extents(tensor.stride)});
  return graph.add_object(graph.add_global("torch._utils", "_rebuild_tensor"), args);
}

std::optional<TorchRecord> TarArchive::find(const std::string& key) const {
  const auto number = decimal(key);
  const auto found = number ? storages_.find(*number) : storages_.end();
  if (found == storages_.end()) return std::nullopt;
  const Storage& storage = found->second;
  return TorchRecord{.nbytes = storage.nbytes, .source = [file = file_, offset = storage.offset](std::uint64_t) {
                       return make_file_source(file, offset);
                     }};
}

}  // namespace

void read_torch_tar_pickles(const ForeignFile& file,
                            const std::function<void(std::string_view module, std::string_view name)>& on_global) {
  TarArchive(file, on_global).read_object(file.options());
}

Draft read_torch_tar(const ForeignFile& file) {
  TarArchive archive(file);
  return import_torch_object(archive.read_object(file.options()), archive, file.options());
}

}  // namespace tenon
