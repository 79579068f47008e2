#include "formats/zip_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <numeric>

#include "formats/zip_directory.h"
#include "formats/zip_fields.h"
#include "formats/zip_layout.h"

namespace tenon {
namespace {

std::vector<std::uint32_t> sorted_by_name(const std::vector<ZipEntry>& entries) {
  std::vector<std::uint32_t> order(entries.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(),
            [&](std::uint32_t a, std::uint32_t b) { return entries[a].name < entries[b].name; });
  return order;
}

[[noreturn]] void refuse(ErrorKind kind, const File& file, const ZipEntry& entry, std::string what, std::string got,
                         std::string wanted) {
  throw Error(kind, {.what = std::move(what),
                     .file = fmt::format("{}({})", file.path().string(), entry.name.substr(0, 200)),
                     .offset = entry.data_offset,
                     .got = std::move(got),
                     .wanted = std::move(wanted)});
}

void check_names_differ(const File& file, const std::vector<ZipEntry>& entries,
                        const std::vector<std::uint32_t>& by_name) {
  const auto twice = std::adjacent_find(by_name.begin(), by_name.end(), [&](std::uint32_t a, std::uint32_t b) {
    return entries[a].name == entries[b].name;
  });
  if (twice == by_name.end()) return;
  const ZipEntry& second = entries[std::max(twice[0], twice[1])];
  refuse(ErrorKind::corrupt, file, second, "two entries of one name", {}, {});
}

}  // namespace

ZipReader ZipReader::open(std::shared_ptr<const File> file) {
  ZipReader reader(std::move(file));
  const zip::Directory directory = zip::find_directory(*reader.file_);
  zip::Listing listing = zip::read_directory(*reader.file_, directory);
  zip::check_local_headers(*reader.file_, directory, listing);
  reader.entries_ = std::move(listing.entries);
  reader.by_name_ = sorted_by_name(reader.entries_);
  check_names_differ(*reader.file_, reader.entries_, reader.by_name_);
  return reader;
}

bool ZipReader::recognises(std::span<const std::byte> first_bytes) noexcept {
  return first_bytes.size() >= sizeof(zip::local_signature) &&
         zip::field<std::uint32_t>(first_bytes, 0) == zip::local_signature;
}

const ZipEntry* ZipReader::find(std::string_view name) const noexcept {
  const auto found = std::lower_bound(by_name_.begin(), by_name_.end(), name,
                                      [&](std::uint32_t i, std::string_view n) { return entries_[i].name < n; });
  return found != by_name_.end() && entries_[*found].name == name ? &entries_[*found] : nullptr;
}

std::vector<std::byte> ZipReader::read(const ZipEntry& entry, std::uint64_t limit_bytes) const {
  if (entry.uncompressed_bytes > limit_bytes) {
    refuse(ErrorKind::limit, *file_, entry, "record is too large", fmt::format("{} bytes", entry.uncompressed_bytes),
           fmt::format("at most {}", limit_bytes));
  }
  std::vector<std::byte> payload(entry.compressed_bytes);
  file_->read_at(entry.data_offset, payload);
  if (!entry.is_stored) {
    std::vector<std::byte> inflated(entry.uncompressed_bytes);
    if (!inflate(payload, inflated)) {
      refuse(ErrorKind::corrupt, *file_, entry, "record does not inflate", fmt::format("{} bytes", payload.size()),
             fmt::format("one stream of {} bytes", inflated.size()));
    }
    payload = std::move(inflated);
  }
  const std::uint32_t crc = entry.crc32 == 0 ? 0 : zip_crc32(0, payload);
  if (crc != entry.crc32) {
    refuse(ErrorKind::corrupt, *file_, entry, "CRC of the record differs", fmt::format("{:08x}", crc),
           fmt::format("{:08x}", entry.crc32));
  }
  return payload;
}

}  // namespace tenon
