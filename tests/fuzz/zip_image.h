// A zip archive in memory, taken apart and put together again with its checksums, sizes and offsets right.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fuzzing.h"

namespace tenon::fuzz {

struct ZipPart {
  std::string name;
  Bytes payload;  // as it stands in the archive
  bool is_stored = true;
  std::uint32_t crc32 = 0;  // of a deflated part, as its archive had it
  std::uint64_t uncompressed_bytes = 0;
};

// nullopt unless the reader takes it for an archive.
std::optional<std::vector<ZipPart>> take_zip_apart(std::span<const std::byte> bytes);
Bytes make_zip(const std::vector<ZipPart>& parts);

}  // namespace tenon::fuzz
