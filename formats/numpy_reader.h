// numpy's files: .npy, one array, and .npz, a zip of them that is one flat dict.
//
// Fortran order is kept as strides, big-endian elements are swapped as they are read.
#pragma once

#include "formats/foreign_file.h"
#include "tenon/draft.h"

namespace tenon {

// Its one tensor is named ".". Throws corrupt, limit, unsupported. The draft's sources keep the file.
bool is_npy(const ForeignFile& file);
Draft read_npy(const ForeignFile& file);

// "a.npy" is the tensor "a". Every entry must be an array. The draft's sources keep the reader.
// REQUIRES: a zip archive.
Draft read_npz(const ForeignFile& file);

}  // namespace tenon
