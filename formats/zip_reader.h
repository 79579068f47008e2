// Zip archives, read only as far as torch's and numpy's need: stored and deflated entries, zip64, one disk. One parser,
// and its view of the file is the only one: local and central headers and descriptors must agree, entries may not
// overlap or share a name, the first begins the file, and nothing is ever extracted to a file. Bytes after the end
// record are tolerated, as torch does.
//
// Example: const ZipReader zip = ZipReader::open(file);
//          if (const ZipEntry* entry = zip.find("model/data.pkl")) pickle = zip.read(*entry, limit);
//
// Errors: corrupt, unsupported (encrypted, unknown method, several disks), limit; each names the archive and an offset.
// Memory: bounded by a small multiple of the directory, and by the file.
// Threads: const methods may be called from several threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/deflate.h"
#include "mmap/file.h"

namespace tenon {

struct ZipEntry {
  std::string name;
  bool is_stored = true;               // else deflated
  std::uint32_t crc32 = 0;             // 0: unknown (torch writes 0 when told not to compute it)
  std::uint64_t compressed_bytes = 0;  // == uncompressed_bytes if stored
  std::uint64_t uncompressed_bytes = 0;
  std::uint64_t data_offset = 0;  // of the payload, in the file; checked to lie in it with compressed_bytes
};

class ZipReader {
 public:
  static ZipReader open(std::shared_ptr<const File> file);
  // True if the file begins with a zip local header (PK\3\4).
  static bool recognises(std::span<const std::byte> first_bytes) noexcept;

  const std::vector<ZipEntry>& entries() const noexcept { return entries_; }  // in central directory order
  const ZipEntry* find(std::string_view name) const noexcept;
  // The whole payload, inflated if need be, its CRC checked unless it is 0. Throws limit if it is larger than
  // `limit_bytes`.
  std::vector<std::byte> read(const ZipEntry& entry, std::uint64_t limit_bytes) const;
  const File& file() const noexcept { return *file_; }

 private:
  explicit ZipReader(std::shared_ptr<const File> file) : file_(std::move(file)) {}
  std::shared_ptr<const File> file_;
  std::vector<ZipEntry> entries_;
  std::vector<std::uint32_t> by_name_;  // indices into entries_, sorted by name
};

}  // namespace tenon
