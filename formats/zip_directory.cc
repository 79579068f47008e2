// Central directory entries, and their agreement with local headers and descriptors.
#include "formats/zip_directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "formats/deflate.h"
#include "formats/zip_fields.h"
#include "formats/zip_layout.h"
#include "mmap/seeded_bug.h"

namespace tenon::zip {
namespace {

constexpr std::size_t directory_read_bytes = 256 << 10;
// A descriptor, the next header, its name and padding: one read per entry.
constexpr std::size_t local_read_bytes = 1024;

constexpr std::uint16_t known_flags = flag_encrypted | flag_deflate_options | flag_descriptor | flag_utf8;
constexpr std::uint8_t made_on_unix = 3;
constexpr std::uint32_t unix_type_mask = 0170000;
constexpr std::uint32_t unix_symbolic_link = 0120000;

std::string_view text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// A place in the archive, for errors about the entry there.
struct Place {
  const File& file;
  std::string_view name;
  std::uint64_t offset = 0;

  [[noreturn]] void refuse(ErrorKind kind, std::string what, std::string got = {}, std::string wanted = {}) const {
    throw Error(kind, {.what = std::move(what),
                       .file = fmt::format("{}({})", file.path().string(), name.substr(0, 200)),
                       .offset = offset,
                       .got = std::move(got),
                       .wanted = std::move(wanted)});
  }
  [[noreturn]] void corrupt(std::string what, std::string got = {}, std::string wanted = {}) const {
    refuse(ErrorKind::corrupt, std::move(what), std::move(got), std::move(wanted));
  }
};

// The zip64 field among the extra fields; empty if there is none. Two of them could be read in two ways.
std::span<const std::byte> zip64_field(std::span<const std::byte> extra, const Place& place) {
  std::optional<std::span<const std::byte>> found;
  while (!extra.empty()) {
    if (extra.size() < extra_header_bytes) place.corrupt("extra field is cut short");
    const auto nbytes = field<std::uint16_t>(extra, 2);
    if (nbytes > extra.size() - extra_header_bytes) {
      place.corrupt("extra field runs past its header", fmt::format("{} bytes", nbytes),
                    fmt::format("at most {}", extra.size() - extra_header_bytes));
    }
    if (field<std::uint16_t>(extra, 0) == zip64_extra_id) {
      if (found) place.corrupt("two zip64 extra fields");
      found = extra.subspan(extra_header_bytes, nbytes);
    }
    extra = extra.subspan(extra_header_bytes + nbytes);
  }
  return found.value_or(std::span<const std::byte>{});
}

// Takes the values that 32-bit fields refer to, in the order the format gives them.
class Zip64Values {
 public:
  Zip64Values(std::span<const std::byte> extra, const Place& place) : extra_(extra), place_(place) {}

  std::uint64_t value_of(std::uint32_t small) {
    if (small != see_zip64_32) return small;
    if (!values_) values_ = zip64_field(extra_, place_);
    if (values_->size() < sizeof(std::uint64_t)) place_.corrupt("zip64 extra field is too short");
    const auto value = field<std::uint64_t>(*values_, 0);
    values_ = values_->subspan(sizeof(std::uint64_t));
    return value;
  }

 private:
  std::span<const std::byte> extra_;
  const Place& place_;
  std::optional<std::span<const std::byte>> values_;
};

void check_flags(std::uint16_t flags, std::uint16_t method, const Place& place) {
  if (flags & flag_encrypted) place.refuse(ErrorKind::unsupported, "encrypted entry");
  if (flags & ~known_flags) {
    place.refuse(ErrorKind::unsupported, "entry with unknown flags", fmt::format("{:#06x}", flags));
  }
  if (method != method_stored && method != method_deflated) {
    place.refuse(ErrorKind::unsupported, "unknown compression method", fmt::format("{}", method),
                 "0 (stored) or 8 (deflated)");
  }
}

void check_sizes(const ZipEntry& entry, std::uint64_t available_bytes, const Place& place) {
  if (entry.compressed_bytes > available_bytes) {
    place.corrupt("entry is larger than the archive", fmt::format("{} bytes", entry.compressed_bytes),
                  fmt::format("at most {}", available_bytes));
  }
  if (entry.is_stored && entry.uncompressed_bytes != entry.compressed_bytes) {
    place.corrupt("stored entry has two sizes", fmt::format("{} bytes", entry.uncompressed_bytes),
                  fmt::format("{} bytes", entry.compressed_bytes));
  }
  const bool is_too_dense =
      entry.uncompressed_bytes != 0 && (entry.uncompressed_bytes - 1) / max_inflate_ratio >= entry.compressed_bytes;
  if (!entry.is_stored && is_too_dense) {
    place.corrupt("deflated entry claims more than DEFLATE can hold",
                  fmt::format("{} bytes from {}", entry.uncompressed_bytes, entry.compressed_bytes),
                  fmt::format("at most {} times as many", max_inflate_ratio));
  }
}

void check_name_and_type(std::span<const std::byte> header, const Place& place) {
  if (const char* flaw = name_flaw(place.name)) place.corrupt(fmt::format("entry name {}", flaw));
  const auto made_on = static_cast<std::uint8_t>(field<std::uint16_t>(header, 4) >> 8);
  const auto unix_mode = field<std::uint32_t>(header, 38) >> 16;
  if (made_on == made_on_unix && (unix_mode & unix_type_mask) == unix_symbolic_link) {
    place.refuse(ErrorKind::unsupported, "entry is a symbolic link");
  }
}

// One central header, whole with its variable parts.
void read_central_header(const File& file, const Directory& directory, std::span<const std::byte> header,
                         std::uint64_t offset, Listing& listing) {
  const std::size_t name_bytes = field<std::uint16_t>(header, 28);
  const Place place{.file = file, .name = text(header.subspan(central_bytes, name_bytes)), .offset = offset};
  const auto flags = field<std::uint16_t>(header, 8);
  const auto method = field<std::uint16_t>(header, 10);
  check_flags(flags, method, place);
  check_name_and_type(header, place);

  Zip64Values values(header.subspan(central_bytes + name_bytes, field<std::uint16_t>(header, 30)), place);
  ZipEntry entry{
      .name = std::string(place.name), .is_stored = method == method_stored, .crc32 = field<std::uint32_t>(header, 16)};
  entry.uncompressed_bytes = values.value_of(field<std::uint32_t>(header, 24));
  entry.compressed_bytes = values.value_of(field<std::uint32_t>(header, 20));
  const std::uint64_t header_offset = values.value_of(field<std::uint32_t>(header, 42));
  const auto disk = field<std::uint16_t>(header, 34);
  if (disk != 0) place.refuse(ErrorKind::unsupported, "entry on another disk", fmt::format("disk {}", disk), "disk 0");
  check_sizes(entry, directory.offset, place);
  listing.local_headers.push_back(
      {.offset = header_offset, .entry = static_cast<std::uint32_t>(listing.entries.size()), .flags = flags});
  listing.entries.push_back(std::move(entry));
}

// A local header's own sizes and CRC: with a descriptor to come they may be left 0, else they are the central ones.
void check_local_values(std::span<const std::byte> header, std::span<const std::byte> extra, const ZipEntry& entry,
                        bool has_descriptor, const Place& place) {
  Zip64Values values(extra, place);
  const auto check = [&](const char* what, std::uint64_t local, std::uint64_t central) {
    if (local == central || (has_descriptor && local == 0)) return;
    place.corrupt(fmt::format("local and central header disagree on the {}", what), fmt::format("{}", local),
                  fmt::format("{}", central));
  };
  check("CRC", field<std::uint32_t>(header, 14), entry.crc32);
  check("size", values.value_of(field<std::uint32_t>(header, 22)), entry.uncompressed_bytes);
  check("compressed size", values.value_of(field<std::uint32_t>(header, 18)), entry.compressed_bytes);
}

// Length of the descriptor at the start of `bytes` if it says what the entry says, else 0. The signature is optional
// and sizes have 4 or 8 bytes: which of the four forms it is, only agreement can tell.
template <typename Size>
std::size_t descriptor_bytes_as(std::span<const std::byte> bytes, const ZipEntry& entry, std::size_t signature_bytes) {
  const std::size_t nbytes = signature_bytes + sizeof(std::uint32_t) + 2 * sizeof(Size);
  if (bytes.size() < nbytes) return 0;
  if (signature_bytes != 0 && field<std::uint32_t>(bytes, 0) != descriptor_signature) return 0;
  const auto values = bytes.subspan(signature_bytes);
  const bool agrees = field<std::uint32_t>(values, 0) == entry.crc32 &&
                      field<Size>(values, 4) == entry.compressed_bytes &&
                      field<Size>(values, 4 + sizeof(Size)) == entry.uncompressed_bytes;
  return agrees ? nbytes : 0;
}

std::uint64_t check_descriptor(Window& window, std::uint64_t offset, const ZipEntry& entry, Place place) {
  constexpr std::uint64_t longest = 24;
  const auto bytes = window.at(offset, std::min(longest, window.end() - offset), "data descriptor");
  for (const std::size_t signature_bytes : {sizeof(descriptor_signature), std::size_t{0}}) {
    if (const auto nbytes = descriptor_bytes_as<std::uint64_t>(bytes, entry, signature_bytes)) return nbytes;
    if (const auto nbytes = descriptor_bytes_as<std::uint32_t>(bytes, entry, signature_bytes)) return nbytes;
  }
  place.offset = offset;
  place.corrupt("data descriptor and central header disagree");
}

// Checks one local header and what follows it; returns where the entry ends.
std::uint64_t check_local_header(Window& window, const LocalHeader& local, ZipEntry& entry, const Place& place) {
  const auto fixed = window.at(local.offset, local_bytes, "local header");
  if (field<std::uint32_t>(fixed, 0) != local_signature) {
    place.corrupt("no local header where the directory says",
                  fmt::format("signature {:#010x}", field<std::uint32_t>(fixed, 0)),
                  fmt::format("{:#010x}", local_signature));
  }
  const std::size_t name_bytes = field<std::uint16_t>(fixed, 26);
  const std::size_t extra_bytes = field<std::uint16_t>(fixed, 28);
  const auto header = window.at(local.offset, local_bytes + name_bytes + extra_bytes, "local header");
  const auto name = text(header.subspan(local_bytes, name_bytes));
  if (name != entry.name && !seeded_bug("zip_local_not_compared"))
    place.corrupt("local and central header disagree on the name", std::string(name.substr(0, 200)));
  const auto flags = field<std::uint16_t>(header, 6);
  if (flags != local.flags) {
    place.corrupt("local and central header disagree on the flags", fmt::format("{:#06x}", flags),
                  fmt::format("{:#06x}", local.flags));
  }
  const auto method = field<std::uint16_t>(header, 8);
  if (method != (entry.is_stored ? method_stored : method_deflated)) {
    place.corrupt("local and central header disagree on the method", fmt::format("{}", method));
  }
  const bool has_descriptor = (flags & flag_descriptor) != 0;
  check_local_values(header, header.subspan(local_bytes + name_bytes), entry, has_descriptor, place);
  entry.data_offset = local.offset + header.size();
  check_sizes(entry, window.end() - entry.data_offset, place);
  const std::uint64_t end = entry.data_offset + entry.compressed_bytes;
  return has_descriptor ? end + check_descriptor(window, end, entry, place) : end;
}

}  // namespace

const char* name_flaw(std::string_view name) noexcept {
  if (name.empty()) return "is empty";
  if (name.front() == '/') return "is an absolute path";
  for (const char c : name) {
    if (c == '\0') return "holds a NUL";
    if (c == '\\') return "holds a backslash";
  }
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t end = std::min(name.find('/', begin), name.size());
    if (const auto part = name.substr(begin, end - begin); part == "." || part == "..")
      return "climbs out of its folder";
    begin = end + 1;
  }
  return nullptr;
}

Listing read_directory(const File& file, const Directory& directory) {
  Listing listing;
  listing.entries.reserve(directory.entry_count);
  listing.local_headers.reserve(directory.entry_count);
  Window window(file, directory.end(), directory_read_bytes);
  std::uint64_t offset = directory.offset;
  for (std::uint64_t i = 0; i < directory.entry_count; ++i) {
    const auto fixed = window.at(offset, central_bytes, "central header");
    const Place place{.file = file, .name = {}, .offset = offset};
    if (field<std::uint32_t>(fixed, 0) != central_signature) {
      place.corrupt("central header lacks its signature", fmt::format("{:#010x}", field<std::uint32_t>(fixed, 0)),
                    fmt::format("{:#010x}", central_signature));
    }
    const std::size_t nbytes = central_bytes + field<std::uint16_t>(fixed, 28) + field<std::uint16_t>(fixed, 30) +
                               field<std::uint16_t>(fixed, 32);
    read_central_header(file, directory, window.at(offset, nbytes, "central header"), offset, listing);
    offset += nbytes;
  }
  if (offset != directory.end()) {
    Place{.file = file, .name = {}, .offset = offset}.corrupt("central directory holds more than its entries",
                                                              fmt::format("{} bytes left", directory.end() - offset));
  }
  return listing;
}

void check_local_headers(const File& file, const Directory& directory, Listing& listing) {
  std::sort(listing.local_headers.begin(), listing.local_headers.end(),
            [](const LocalHeader& a, const LocalHeader& b) { return a.offset < b.offset; });
  Window window(file, directory.offset, local_read_bytes);
  std::uint64_t previous_end = 0;
  for (const LocalHeader& local : listing.local_headers) {
    ZipEntry& entry = listing.entries[local.entry];
    const Place place{.file = file, .name = entry.name, .offset = local.offset};
    if (local.offset < previous_end) {
      place.corrupt("entries overlap", fmt::format("a header at {}", local.offset),
                    fmt::format("none before {}", previous_end));
    }
    if (previous_end == 0 && local.offset != 0) place.corrupt("archive does not begin with an entry");
    previous_end = check_local_header(window, local, entry, place);
  }
}

}  // namespace tenon::zip
