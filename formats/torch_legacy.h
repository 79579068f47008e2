// The stream that torch.save wrote before 1.6: five pickles, then the storages one after the other.
#pragma once

#include "formats/foreign_file.h"
#include "tenon/draft.h"

namespace tenon {

// The stream's magic number, pickled.
bool is_torch_legacy(const ForeignFile& file);
// What follows the storages is left alone, as torch does. Throws corrupt, unsupported, limit.
Draft read_torch_legacy(const ForeignFile& file);

}  // namespace tenon
