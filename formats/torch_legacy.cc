#include "formats/torch_legacy.h"

#include <string>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "formats/pickle_stream.h"
#include "formats/region_source.h"
#include "formats/torch_import.h"
#include "formats/torch_tensor.h"
#include "tenon/error.h"

namespace tenon {

namespace {

constexpr std::string_view magic_number("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);
constexpr std::int64_t protocol_version = 1001;

class Stream final : public TorchRecords {
 public:
  explicit Stream(const ForeignFile& file)
      : file_(file.file()), pickles_(file.file(), 0, file.file()->size_bytes(), file.path()) {}

  // The storages are found on the way.
  PickleGraph read_object(const ImportOptions& options);
  std::optional<TorchRecord> find(const std::string& key) const override;
  std::string label(const std::string& key) const override {
    return fmt::format("{}(storage {})", pickles_.label(), key);
  }
  std::string pickle_label() const override { return pickles_.label(); }

 private:
  struct Place {
    std::uint64_t offset;
    std::uint64_t nbytes;
  };
  // Bytes that the object expects of a storage, and of one element.
  struct Expected {
    std::uint64_t nbytes;
    std::uint64_t item;
  };

  void check_header();
  std::unordered_map<std::string, Expected> expected_storages(const PickleGraph& object) const;
  void find_storages(const PickleGraph& keys, const std::unordered_map<std::string, Expected>& expected);
  void find_storage(const std::string& key, const Expected& expected);
  [[noreturn]] void corrupt(std::string what, std::string got = {}, std::string wanted = {}) const;

  std::shared_ptr<const File> file_;
  PickleStream pickles_;
  std::unordered_map<std::string, Place> places_;
};

void Stream::corrupt(std::string what, std::string got, std::string wanted) const {
  throw Error(ErrorKind::corrupt, {.what = std::move(what),
                                   .file = pickles_.label(),
                                   .offset = pickles_.offset(),
                                   .got = std::move(got),
                                   .wanted = std::move(wanted)});
}

// A class of a module is written with its source, which is of interest to nobody any more.
NodeId class_or_storage(PickleGraph& graph, NodeId id) {
  const auto items = graph.items(id);
  const bool is_module = graph.is(id, PickleKind::tuple) && items.size() == 4 &&
                         (graph.is(items[0], PickleKind::string) || graph.is(items[0], PickleKind::bytes)) &&
                         graph.text(items[0]) == "module" && graph.is(items[1], PickleKind::global);
  return is_module ? items[1] : graph.add_persistent(id);
}

PickleGraph Stream::read_object(const ImportOptions& options) {
  check_header();
  PickleReadOptions reading = object_read_options(options);
  reading.persistent = class_or_storage;
  PickleGraph object = pickles_.next(reading);
  const auto expected = expected_storages(object);
  find_storages(pickles_.next(), expected);
  pickles_.release();
  return object;
}

void Stream::check_header() {
  const PickleGraph magic = pickles_.next();
  if (!magic.is(magic.root, PickleKind::big_integer) || magic.text(magic.root) != magic_number) {
    corrupt("stream does not begin with torch's magic number");
  }
  const PickleGraph version = pickles_.next();
  const bool is_integer = version.is(version.root, PickleKind::integer);
  if (!is_integer || version.integer(version.root) != protocol_version) {
    throw Error(ErrorKind::unsupported, {.what = "torch stream has an unknown version",
                                         .file = pickles_.label(),
                                         .got = is_integer ? std::to_string(version.integer(version.root)) : "",
                                         .wanted = std::to_string(protocol_version)});
  }
  pickles_.next();  // about the machine that wrote it; storages are little-endian whatever it says
}

// The element type is that of the first mention, as for torch.
std::unordered_map<std::string, Stream::Expected> Stream::expected_storages(const PickleGraph& object) const {
  std::unordered_map<std::string, Expected> expected;
  for (NodeId id = 0; id < object.size(); ++id) {
    if (!object.is(id, PickleKind::persistent)) continue;
    const TorchStorage storage = parse_torch_storage(object, id, pickles_.label());
    const std::uint64_t item = storage.dtype == DType::invalid ? 1 : item_bytes(storage.dtype);
    expected.try_emplace(storage.key, Expected{storage.nbytes, item});
  }
  return expected;
}

void Stream::find_storages(const PickleGraph& keys, const std::unordered_map<std::string, Expected>& expected) {
  if (!keys.is(keys.root, PickleKind::list)) corrupt("torch stream has no list of storages");
  for (const NodeId item : keys.items(keys.root)) {
    if (!keys.is(item, PickleKind::string) && !keys.is(item, PickleKind::bytes)) {
      corrupt("torch stream names a storage by something that is not a string");
    }
    const std::string key(keys.text(item));
    const auto known = expected.find(key);
    if (known == expected.end()) corrupt("torch stream has a storage that its object does not use", key);
    find_storage(key, known->second);
  }
}

// int64 number of elements, then the elements.
void Stream::find_storage(const std::string& key, const Expected& expected) {
  const std::int64_t numel = pickles_.next_int64();
  std::uint64_t nbytes = 0;
  const bool is_right = numel >= 0 &&
                        !__builtin_mul_overflow(static_cast<std::uint64_t>(numel), expected.item, &nbytes) &&
                        nbytes == expected.nbytes;
  if (!is_right) {
    corrupt("storage of a torch stream has the wrong length", fmt::format("{} elements", numel),
            fmt::format("{} bytes of {} each", expected.nbytes, expected.item));
  }
  const bool is_new = places_.try_emplace(key, Place{pickles_.offset(), nbytes}).second;
  if (!is_new) corrupt("torch stream has a storage twice", key);
  pickles_.skip(nbytes, "storage");
}

std::optional<TorchRecord> Stream::find(const std::string& key) const {
  const auto found = places_.find(key);
  if (found == places_.end()) return std::nullopt;
  const Place place = found->second;
  return TorchRecord{.nbytes = place.nbytes,
                     .source = [file = file_, place](std::uint64_t) { return make_file_source(file, place.offset); }};
}

}  // namespace

bool is_torch_legacy(const ForeignFile& file) {
  const std::string_view first = file.first();
  return first.size() > 14 && first[0] == '\x80' && first.substr(2, 2) == "\x8a\x0a" &&
         first.substr(4, magic_number.size()) == magic_number;
}

Draft read_torch_legacy(const ForeignFile& file) {
  Stream stream(file);
  return import_torch_object(stream.read_object(file.options()), stream, file.options());
}

}  // namespace tenon
