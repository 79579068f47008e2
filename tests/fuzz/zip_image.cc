#include "zip_image.h"

#include "formats/deflate.h"
#include "formats/zip_layout.h"
#include "formats/zip_reader.h"
#include "store/codec.h"

namespace tenon::fuzz {

namespace {

// What local and central header have in common.
void put_values(ByteWriter& out, const ZipPart& part) {
  const auto size = static_cast<std::uint32_t>(part.payload.size());
  out.put(std::uint16_t{0});  // flags
  out.put(part.is_stored ? zip::method_stored : zip::method_deflated);
  out.put(std::uint32_t{0});  // time and date
  out.put(part.is_stored ? zip_crc32(0, part.payload) : part.crc32);
  out.put(size);
  out.put(part.is_stored ? size : static_cast<std::uint32_t>(part.uncompressed_bytes));
  out.put(static_cast<std::uint16_t>(part.name.size()));
  out.put(std::uint16_t{0});  // extra fields
}

void put_local(ByteWriter& out, const ZipPart& part) {
  out.put(zip::local_signature);
  out.put(std::uint16_t{20});  // version needed
  put_values(out, part);
  out.put_bytes(std::as_bytes(std::span(part.name)));
  out.put_bytes(part.payload);
}

void put_central(ByteWriter& out, const ZipPart& part, std::uint32_t offset) {
  out.put(zip::central_signature);
  out.put(std::uint32_t{20});  // versions made by and needed
  put_values(out, part);
  out.put(std::uint16_t{0});  // comment
  out.put(std::uint32_t{0});  // disk, internal attributes
  out.put(std::uint32_t{0});  // external attributes
  out.put(offset);
  out.put_bytes(std::as_bytes(std::span(part.name)));
}

}  // namespace

std::optional<std::vector<ZipPart>> take_zip_apart(std::span<const std::byte> bytes) {
  if (!ZipReader::recognises(bytes)) return std::nullopt;
  std::vector<ZipPart> parts;
  const bool is_archive = allow(refusals, [&] {
    const ZipReader zip = ZipReader::open(std::make_shared<const File>(File::open(file_with(bytes))));
    for (const ZipEntry& entry : zip.entries()) {
      const auto payload = bytes.subspan(entry.data_offset, entry.compressed_bytes);
      parts.push_back({.name = entry.name,
                       .payload = {payload.begin(), payload.end()},
                       .is_stored = entry.is_stored,
                       .crc32 = entry.crc32,
                       .uncompressed_bytes = entry.uncompressed_bytes});
    }
  });
  if (!is_archive) return std::nullopt;
  return parts;
}

Bytes make_zip(const std::vector<ZipPart>& parts) {
  ByteWriter out;
  std::vector<std::uint32_t> offsets;
  for (const ZipPart& part : parts) {
    offsets.push_back(static_cast<std::uint32_t>(out.size()));
    put_local(out, part);
  }
  const auto directory = static_cast<std::uint32_t>(out.size());
  for (std::size_t i = 0; i < parts.size(); ++i) put_central(out, parts[i], offsets[i]);
  const auto directory_bytes = static_cast<std::uint32_t>(out.size() - directory);
  out.put(zip::end_signature);
  out.put(std::uint32_t{0});  // disks
  out.put(static_cast<std::uint16_t>(parts.size()));
  out.put(static_cast<std::uint16_t>(parts.size()));
  out.put(directory_bytes);
  out.put(directory);
  out.put(std::uint16_t{0});  // comment
  return out.take();
}

}  // namespace tenon::fuzz
