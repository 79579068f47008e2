// Tar archives, read only as far as torch's first format needs: plain files by name, sizes and names of pax headers
// respected. Nothing is ever extracted to a file.
//
// Errors: corrupt for headers that are damaged or lead outside the file, or a name that is there twice; unsupported for
// sparse files. Each names the archive and an offset.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mmap/file.h"

namespace tenon {

struct TarEntry {
  std::string name;
  std::uint64_t offset = 0;  // of its content
  std::uint64_t nbytes = 0;
};

// True if the file begins with a tar header (POSIX or GNU).
bool is_tar(std::string_view first_bytes) noexcept;
// The plain files of the archive, in its order.
std::vector<TarEntry> read_tar(const File& file);

}  // namespace tenon
