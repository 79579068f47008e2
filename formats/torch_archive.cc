#include "formats/torch_archive.h"

#include <charconv>

#include <fmt/format.h>

#include "formats/record_source.h"
#include "tenon/error.h"

namespace tenon {

namespace {

constexpr std::uint64_t max_marker_bytes = 64;
constexpr int newest_archive_version = 10;

}  // namespace

TorchArchive::TorchArchive(const ForeignFile& file) : reader_(file.zip()), top_(file.top_directory()) {
  check_top_directory();
  check_version();
  is_big_endian_ = read_byte_order();
}

const ZipEntry* TorchArchive::find(std::string_view name) const {
  return reader_->find(fmt::format("{}/{}", top_, name));
}

std::vector<std::byte> TorchArchive::read(const ZipEntry& entry, std::uint64_t limit_bytes) const {
  return reader_->read(entry, limit_bytes);
}

std::string TorchArchive::label(std::string_view name) const { return fmt::format("{}({}/{})", path(), top_, name); }

void TorchArchive::check_top_directory() const {
  for (const ZipEntry& entry : reader_->entries()) {
    if (entry.name.starts_with(top_ + "/")) continue;
    throw Error(ErrorKind::corrupt, {.what = "archive has a file outside its directory",
                                     .file = path(),
                                     .got = entry.name,
                                     .wanted = top_ + "/..."});
  }
}

void TorchArchive::check_version() const {
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
bool TorchArchive::read_byte_order() const {
  const ZipEntry* entry = find("byteorder");
  if (entry == nullptr) return false;
  const std::string text = read_marker(*entry);
  if (text == "big" || text == "little") return text == "big";
  throw Error(ErrorKind::corrupt,
              {.what = "unknown byte order", .file = label("byteorder"), .got = text, .wanted = "little or big"});
}

std::string TorchArchive::read_marker(const ZipEntry& entry) const {
  const auto bytes = reader_->read(entry, max_marker_bytes);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::optional<TorchRecord> ArchiveStorages::find(const std::string& key) const {
  const ZipEntry* entry = archive_.find(directory_ + key);
  if (entry == nullptr) return std::nullopt;
  return TorchRecord{.nbytes = entry->uncompressed_bytes,
                     .source = [reader = archive_.reader(), entry](std::uint64_t swap) {
                       return make_record_source(reader, *entry, swap);
                     }};
}

PickleGraph read_whole_pickle(std::span<const std::byte> bytes, const PickleReadOptions& options) {
  auto result = read_pickle(bytes, options);
  if (result.consumed_bytes == bytes.size()) return std::move(result.graph);
  throw Error(ErrorKind::corrupt,
              {.what = "pickle is followed by something else", .file = options.file, .offset = result.consumed_bytes});
}

}  // namespace tenon
