// Copying bytes from file to file without taking them through this process where the system can.
#pragma once

#include <cstdint>

#include "mmap/file.h"

namespace tenon {

// Copies [offset, offset + size) of `from` to the same place in `to`: by copy_file_range, which shares the blocks on
// file systems that can, else by reading and writing. Throws corrupt if `from` ends early, else as File does.
void copy_range(const File& from, File& to, std::uint64_t offset, std::uint64_t size_bytes);

}  // namespace tenon
