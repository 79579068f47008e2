// The tar archive that torch.save wrote until February 2017: pickle, tensors, storages.
#pragma once

#include "formats/foreign_file.h"
#include "tenon/draft.h"

namespace tenon {

// Throws corrupt, unsupported (also for a tar archive that is not torch's), limit. REQUIRES: a tar archive.
Draft read_torch_tar(const ForeignFile& file);

}  // namespace tenon
