#include "formats/torch_reader.h"

#include <charconv>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "formats/pickle.h"
#include "formats/record_source.h"
#include "formats/torch_import.h"
#include "tenon/error.h"

namespace tenon {

namespace {

constexpr std::uint64_t max_pickle_bytes = std::uint64_t{2} << 30;
constexpr std::uint64_t max_marker_bytes = 64;
constexpr int newest_archive_version = 10;
constexpr const char* text_id_hint = "torch.load cannot read it either; save with pickle_protocol=2 or later";

// The named records of one archive, and what they say about all others.
class Archive final : public TorchRecords {
 public:
  Archive(std::shared_ptr<const ZipReader> reader, std::string top);

  PickleGraph read_object(const ImportOptions& options) const;
  std::optional<TorchRecord> find(const std::string& key) const override;
  std::string label(const std::string& key) const override { return label_of("data/" + key); }
  std::string pickle_label() const override { return label_of("data.pkl"); }
  bool is_big_endian() const override { return is_big_endian_; }

 private:
  const ZipEntry* find_entry(std::string_view name) const { return reader_->find(fmt::format("{}/{}", top_, name)); }
  std::string label_of(std::string_view name) const { return fmt::format("{}({}/{})", path(), top_, name); }
  std::string path() const { return reader_->file().path().string(); }
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

PickleGraph Archive::read_object(const ImportOptions& options) const {
  const ZipEntry* entry = find_entry("data.pkl");
  if (entry == nullptr) throw Error(ErrorKind::corrupt, {.what = "archive has no data.pkl", .file = path()});
  const auto bytes = reader_->read(*entry, max_pickle_bytes);
  PickleReadOptions reading = object_read_options(options);
  reading.file = pickle_label();
  reading.text_id_hint = text_id_hint;
  auto result = read_pickle(bytes, reading);
  if (result.consumed_bytes != bytes.size()) {
    throw Error(
        ErrorKind::corrupt,
        {.what = "pickle is followed by something else", .file = pickle_label(), .offset = result.consumed_bytes});
  }
  return std::move(result.graph);
}

std::optional<TorchRecord> Archive::find(const std::string& key) const {
  const ZipEntry* entry = find_entry("data/" + key);
  if (entry == nullptr) return std::nullopt;
  return TorchRecord{.nbytes = entry->uncompressed_bytes, .source = [reader = reader_, entry](std::uint64_t swap) {
                       return make_record_source(reader, *entry, swap);
                     }};
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
  const ZipEntry* entry = find_entry(".data/version");
  if (entry == nullptr) entry = find_entry("version");
  if (entry == nullptr) {
    throw Error(ErrorKind::corrupt, {.what = "archive has no version record", .file = path()});
  }
  const std::string text = read_marker(*entry);
  int version = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version);
  if (error != std::errc{} ||
      text.find_first_not_of(" \r\n", static_cast<std::size_t>(end - text.data())) != text.npos) {
    throw Error(ErrorKind::corrupt, {.what = "malformed version record", .file = label_of("version"), .got = text});
  }
  if (version < 1 || version > newest_archive_version) {
    throw Error(ErrorKind::unsupported, {.what = "archive has an unknown version",
                                         .file = label_of("version"),
                                         .got = text,
                                         .wanted = fmt::format("1 to {}", newest_archive_version)});
  }
}

// Writers before torch 2.1 have no such record and were little-endian.
bool Archive::read_byte_order() const {
  const ZipEntry* entry = find_entry("byteorder");
  if (entry == nullptr) return false;
  const std::string text = read_marker(*entry);
  if (text == "big" || text == "little") return text == "big";
  throw Error(ErrorKind::corrupt,
              {.what = "unknown byte order", .file = label_of("byteorder"), .got = text, .wanted = "little or big"});
}

std::string Archive::read_marker(const ZipEntry& entry) const {
  const auto bytes = reader_->read(entry, max_marker_bytes);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

Draft read_torch_archive(const ForeignFile& file) {
  const Archive archive(file.zip(), file.top_directory());
  return import_torch_object(archive.read_object(file.options()), archive, file.options());
}

}  // namespace tenon
