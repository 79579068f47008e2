// Sources made of others: a region of a file, part of another source, elements with their bytes reversed.
//
// Files are read by pread and never mapped, see record_source.cc. Threads: any. Errors: as what they read from.
#pragma once

#include <cstdint>
#include <memory>

#include "mmap/file.h"
#include "tenon/draft.h"

namespace tenon {

// What begins at `begin`; the file stays open with the source.
Source make_file_source(std::shared_ptr<const File> file, std::uint64_t begin);

// What begins at `begin` of `whole`.
Source make_part_source(Source whole, std::uint64_t begin);

// `source`, of `nbytes`, in units of `unit_bytes` whose bytes are reversed. A rest at the end that is no unit stays.
Source make_swapped_source(Source source, std::uint64_t nbytes, std::uint64_t unit_bytes);

}  // namespace tenon
