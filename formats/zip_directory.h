// The steps by which an archive is understood: the end records give the directory's place, the directory the entries,
// and the local headers where payloads begin and whether all of it agrees. See zip_reader.h for what is refused.
#pragma once

#include <cstdint>
#include <vector>

#include "formats/zip_reader.h"
#include "mmap/file.h"

namespace tenon::zip {

// Where the central directory lies; it ends where the end records begin.
struct Directory {
  std::uint64_t offset = 0;
  std::uint64_t nbytes = 0;
  std::uint64_t entry_count = 0;

  std::uint64_t end() const noexcept { return offset + nbytes; }
};

// What the local header of an entry is checked against, beside the entry itself.
struct LocalHeader {
  std::uint64_t offset = 0;
  std::uint32_t entry = 0;  // index
  std::uint16_t flags = 0;
};

struct Listing {
  std::vector<ZipEntry> entries;           // in the directory's order
  std::vector<LocalHeader> local_headers;  // of entries[i] at [i], until sorted
};

// What the last end record says; throws if it is not consistent with the file.
Directory find_directory(const File& file);
// Every entry, but for its data_offset.
Listing read_directory(const File& file, const Directory& directory);
// Sets data_offset. Sorts the local headers by offset.
void check_local_headers(const File& file, const Directory& directory, Listing& listing);

}  // namespace tenon::zip
