// numpy's files: .npy, one array, and .npz, a zip of them that is one flat dict.
//
// Fortran order is kept as strides, big-endian elements are swapped as they are read.
#pragma once

#include <memory>

#include "formats/zip_reader.h"
#include "mmap/file.h"
#include "tenon/draft.h"

namespace tenon {

// Its one tensor is named ".". Throws corrupt, limit, unsupported. The draft's sources keep the file.
Draft read_npy(std::shared_ptr<const File> file);

// "a.npy" is the tensor "a". Every entry must be an array. The draft's sources keep the reader.
bool is_npz(const ZipReader& reader);
Draft read_npz(std::shared_ptr<const ZipReader> reader);

}  // namespace tenon
