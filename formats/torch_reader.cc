#include "formats/torch_reader.h"

#include <charconv>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "formats/pickle.h"
#include "formats/record_source.h"
#include "formats/row_names.h"
#include "formats/structure.h"
#include "formats/torch_tensor.h"
#include "tenon/error.h"
#include "tenon/name.h"

namespace tenon {

namespace {

constexpr std::uint64_t max_pickle_bytes = std::uint64_t{2} << 30;
constexpr std::uint64_t max_marker_bytes = 64;
constexpr std::size_t max_rank = 64;
constexpr int newest_archive_version = 10;
constexpr const char* memory_hint = "if you trust the file: tenon import --max-memory SIZE, or ImportOptions";
constexpr const char* text_id_hint = "torch.load cannot read it either; save with pickle_protocol=2 or later";

// The named records of one archive, and what they say about all others.
class Archive {
 public:
  Archive(std::shared_ptr<const ZipReader> reader, std::string top);

  const ZipEntry* find(std::string_view name) const { return reader_->find(fmt::format("{}/{}", top_, name)); }
  std::string label(std::string_view name) const { return fmt::format("{}({}/{})", path(), top_, name); }
  std::string path() const { return reader_->file().path().string(); }
  std::vector<std::byte> read(const ZipEntry& entry, std::uint64_t limit) const { return reader_->read(entry, limit); }
  std::shared_ptr<const ZipReader> reader() const { return reader_; }
  bool is_big_endian() const { return is_big_endian_; }

 private:
  void check_top_directory() const;
  void check_version() const;
  bool read_byte_order() const;
  std::string read_marker(const ZipEntry& entry) const;

  std::shared_ptr<const ZipReader> reader_;
  std::string top_;
  bool is_big_endian_ = false;
};

Archive::Archive(std::shared_ptr<const ZipReader> reader, std::string top)
    : reader_(std::move(reader)), top_(std::move(top)) {
  check_top_directory();
  check_version();
  is_big_endian_ = read_byte_order();
}

void Archive::check_top_directory() const {
  for (const ZipEntry& entry : reader_->entries()) {
    if (entry.name.starts_with(top_ + "/")) continue;
    throw Error(ErrorKind::corrupt, {.what = "archive has a file outside its directory",
                                     .file = path(),
                                     .got = entry.name,
                                     .wanted = top_ + "/..."});
  }
}

void Archive::check_version() const {
  const ZipEntry* entry = find(".data/version");
  if (entry == nullptr) entry = find("version");
  if (entry == nullptr) {
    throw Error(ErrorKind::corrupt, {.what = "archive has no version record", .file = path()});
  }
  const std::string text = read_marker(*entry);
  int version = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version);
  if (error != std::errc{} ||
      text.find_first_not_of(" \r\n", static_cast<std::size_t>(end - text.data())) != text.npos) {
    throw Error(ErrorKind::corrupt, {.what = "malformed version record", .file = label("version"), .got = text});
  }
  if (version < 1 || version > newest_archive_version) {
    throw Error(ErrorKind::unsupported, {.what = "archive has an unknown version",
                                         .file = label("version"),
                                         .got = text,
                                         .wanted = fmt::format("1 to {}", newest_archive_version)});
  }
}

// Writers before torch 2.1 have no such record and were little-endian.
bool Archive::read_byte_order() const {
  const ZipEntry* entry = find("byteorder");
  if (entry == nullptr) return false;
  const std::string text = read_marker(*entry);
  if (text == "big" || text == "little") return text == "big";
  throw Error(ErrorKind::corrupt,
              {.what = "unknown byte order", .file = label("byteorder"), .got = text, .wanted = "little or big"});
}

std::string Archive::read_marker(const ZipEntry& entry) const {
  const auto bytes = reader_->read(entry, max_marker_bytes);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// One slot per storage key, in the order in which the object mentions them.
class SlotTable {
 public:
  explicit SlotTable(const Archive& archive, const std::string& pickle) : archive_(archive), pickle_(pickle) {}

  std::uint32_t slot_of(const TorchStorage& storage);
  // Of an untyped storage the byte order of elements is known only to the tensors in it.
  void check_byte_order(std::uint32_t slot, DType dtype) const;
  std::vector<SlotDraft>& slots() { return slots_; }

 private:
  std::uint32_t add(const TorchStorage& storage);
  void check_size(const TorchStorage& storage, std::uint64_t record_bytes) const;

  const Archive& archive_;
  const std::string& pickle_;
  std::vector<SlotDraft> slots_;
  std::unordered_map<std::string, std::uint32_t> slot_of_key_;
};

// Elements whose bytes are in file order as one unit: the halves of a complex number are apart.
std::uint64_t unit_bytes(DType dtype) {
  if (dtype == DType::invalid) return 1;
  const std::uint64_t item = item_bytes(dtype);
  return dtype_info(dtype).kind == DTypeClass::complex ? item / 2 : item;
}

std::uint32_t SlotTable::slot_of(const TorchStorage& storage) {
  const auto known = slot_of_key_.find(storage.key);
  const std::uint32_t slot = known == slot_of_key_.end() ? add(storage) : known->second;
  SlotDraft& draft = slots_[slot];
  check_size(storage, draft.nbytes);
  if (draft.storage_dtype == storage.dtype) return slot;
  if (archive_.is_big_endian() && unit_bytes(draft.storage_dtype) != unit_bytes(storage.dtype)) {
    throw Error(ErrorKind::unsupported, {.what = "big-endian storage is used with several element types",
                                         .file = archive_.label("data/" + storage.key)});
  }
  draft.storage_dtype = DType::invalid;  // several types on the same bytes
  return slot;
}

std::uint32_t SlotTable::add(const TorchStorage& storage) {
  const std::string name = "data/" + storage.key;
  const ZipEntry* entry = archive_.find(name);
  if (entry == nullptr && storage.nbytes != 0) {
    throw Error(ErrorKind::corrupt,
                {.what = "archive lacks a storage that its object uses", .file = archive_.label(name)});
  }
  SlotDraft slot{.storage_dtype = storage.dtype, .location = storage.location};
  if (entry != nullptr) {
    check_size(storage, entry->uncompressed_bytes);
    slot.nbytes = entry->uncompressed_bytes;
    const std::uint64_t swap = archive_.is_big_endian() ? unit_bytes(storage.dtype) : 1;
    slot.source = make_record_source(archive_.reader(), *entry, swap);
  }
  slots_.push_back(std::move(slot));
  const auto index = static_cast<std::uint32_t>(slots_.size() - 1);
  slot_of_key_.emplace(storage.key, index);
  return index;
}

// torch writes a whole storage; the count of elements it gives with it leaves out a last one that is incomplete.
void SlotTable::check_size(const TorchStorage& storage, std::uint64_t record_bytes) const {
  const std::uint64_t item = storage.dtype == DType::invalid ? 1 : item_bytes(storage.dtype);
  if (record_bytes >= storage.nbytes && record_bytes - storage.nbytes < item) return;
  throw Error(ErrorKind::corrupt, {.what = "storage record has the wrong length",
                                   .file = archive_.label("data/" + storage.key),
                                   .got = fmt::format("{} bytes", record_bytes),
                                   .wanted = fmt::format("{} bytes", storage.nbytes)});
}

void SlotTable::check_byte_order(std::uint32_t slot, DType dtype) const {
  if (!archive_.is_big_endian() || slots_[slot].storage_dtype != DType::invalid || unit_bytes(dtype) == 1) return;
  throw Error(ErrorKind::unsupported,
              {.what = "big-endian file has an untyped storage, whose byte order torch itself does not restore",
               .file = pickle_,
               .got = std::string(dtype_info(dtype).name)});
}

// Walks the object once and makes a row of every tensor and every bare storage.
class Importer {
 public:
  Importer(const Archive& archive, const ImportOptions& options)
      : archive_(archive),
        pickle_(archive.label("data.pkl")),
        slots_(archive, pickle_),
        graph_(read_object(options)),
        names_(draft_.tensors, graph_.pickle_bytes, options.max_memory_bytes, pickle_, memory_hint) {}

  Draft run();

 private:
  PickleGraph read_object(const ImportOptions& options) const;
  NodeId visit(NodeId node, const std::string& name);
  void add_row(NodeId node, TensorDraft row, StructureRow structure);
  void add_repeated_row(std::uint32_t first, const std::string& name);
  TensorDraft make_tensor_row(const TorchTensor& tensor, const std::string& name);
  TensorDraft make_storage_row(const TorchStorage& storage, const std::string& name);

  const Archive& archive_;
  const std::string pickle_;
  SlotTable slots_;
  PickleGraph graph_;
  Draft draft_;
  std::vector<std::pair<NodeId, StructureRow>> found_;   // what becomes a row once the walk is over
  std::unordered_map<NodeId, std::size_t> row_of_node_;  // index in found_
  RowNames names_;
};

Draft Importer::run() {
  walk_structure(
      graph_, [this](NodeId node, const std::string& name) { return visit(node, name); }, pickle_);
  for (const auto& [node, structure] : found_) become_row(graph_, node, structure);
  draft_.structure = encode_structure(graph_);
  draft_.slots = std::move(slots_.slots());
  return std::move(draft_);
}

PickleGraph Importer::read_object(const ImportOptions& options) const {
  const ZipEntry* entry = archive_.find("data.pkl");
  if (entry == nullptr) throw Error(ErrorKind::corrupt, {.what = "archive has no data.pkl", .file = archive_.path()});
  const auto bytes = archive_.read(*entry, max_pickle_bytes);
  auto result = read_pickle(bytes, {.file = pickle_,
                                    .max_memory_bytes = options.max_memory_bytes,
                                    .memory_hint = memory_hint,
                                    .text_id_hint = text_id_hint});
  if (result.consumed_bytes != bytes.size()) {
    throw Error(ErrorKind::corrupt,
                {.what = "pickle is followed by something else", .file = pickle_, .offset = result.consumed_bytes});
  }
  return std::move(result.graph);
}

NodeId Importer::visit(NodeId node, const std::string& name) {
  if (const auto known = row_of_node_.find(node); known != row_of_node_.end()) {
    const StructureRow& structure = found_[known->second].second;
    add_repeated_row(structure.row, name);
    return structure.attributes;
  }
  if (graph_.is(node, PickleKind::persistent)) {
    add_row(node, make_storage_row(parse_torch_storage(graph_, node, pickle_), name), {.is_storage = true});
    return no_node;
  }
  if (const auto tensor = parse_torch_tensor(graph_, node, pickle_)) {
    add_row(node, make_tensor_row(*tensor, name), {.type = tensor->type, .attributes = tensor->attributes});
    return tensor->attributes;
  }
  if (graph_.is(node, PickleKind::object) && graph_.is(graph_.object(node).callable, PickleKind::global) &&
      graph_.global_module(graph_.object(node).callable) == structure_module) {
    throw Error(ErrorKind::unsupported,
                {.what = "object uses a name that is reserved", .file = pickle_, .got = std::string(structure_module)});
  }
  return node;
}

void Importer::add_row(NodeId node, TensorDraft row, StructureRow structure) {
  structure.row = static_cast<std::uint32_t>(draft_.tensors.size());
  row_of_node_.emplace(node, found_.size());
  found_.emplace_back(node, structure);
  draft_.tensors.push_back(std::move(row));
  names_.add_last();
}

// The same Python object at a second place: a row of its own, which says so.
void Importer::add_repeated_row(std::uint32_t first, const std::string& name) {
  TensorDraft row = draft_.tensors[first];
  row.name = names_.make_unique(name);
  row.object = first;
  draft_.tensors.push_back(std::move(row));
  names_.add_last();
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
  if (tensor.shape.size() > max_rank) {
    throw Error(ErrorKind::limit, {.what = "tensor " + row.name + " has too many dimensions",
                                   .file = pickle_,
                                   .got = std::to_string(tensor.shape.size()),
                                   .wanted = fmt::format("at most {}", max_rank)});
  }
  if (tensor.type != no_node)
    row.wrapper = fmt::format("{}.{}", graph_.global_module(tensor.type), graph_.global_name(tensor.type));
  const std::uint64_t reached = reached_bytes(tensor, row.name, pickle_);
  if (tensor.storage == no_node) return row;
  const TorchStorage storage = parse_torch_storage(graph_, tensor.storage, pickle_);
  row.slot = slots_.slot_of(storage);
  slots_.check_byte_order(row.slot, tensor.dtype);
  row.storage_offset_bytes = static_cast<std::uint64_t>(tensor.offset) * item_bytes(tensor.dtype);
  if (reached > slots_.slots()[row.slot].nbytes) {
    throw Error(ErrorKind::corrupt, {.what = "tensor " + row.name + " reaches outside its storage",
                                     .file = pickle_,
                                     .got = fmt::format("{} bytes", reached),
                                     .wanted = fmt::format("at most {}", slots_.slots()[row.slot].nbytes)});
  }
  return row;
}

// All of the slot, as one dimension.
TensorDraft Importer::make_storage_row(const TorchStorage& storage, const std::string& name) {
  const std::uint32_t slot = slots_.slot_of(storage);
  const DType dtype = storage.dtype == DType::invalid ? DType::uint8 : storage.dtype;
  const std::uint64_t elements =
      slots_.slots()[slot].nbytes / item_bytes(dtype) * (8 * item_bytes(dtype) / dtype_info(dtype).bits);
  return {.name = names_.make_unique(name),
          .dtype = dtype,
          .slot = slot,
          .shape = {static_cast<std::int64_t>(elements)},
          .stride = {1}};
}

}  // namespace

Draft read_torch_archive(std::shared_ptr<const ZipReader> reader, const std::string& top,
                         const ImportOptions& options) {
  const Archive archive(std::move(reader), top);
  return Importer(archive, options).run();
}

}  // namespace tenon
