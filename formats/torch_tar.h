// The tar archive that torch.save wrote until February 2017: pickle, tensors, storages.
#pragma once

#include <functional>
#include <string_view>

#include "formats/foreign_file.h"
#include "tenon/draft.h"

namespace tenon {

// Throws corrupt, unsupported (also for a tar archive that is not torch's), limit. REQUIRES: a tar archive.
Draft read_torch_tar(const ForeignFile& file);
// Only reads its pickles, telling of every class and function that they name.
void read_torch_tar_pickles(const ForeignFile& file,
                            const std::function<void(std::string_view module, std::string_view name)>& on_global);

}  // namespace tenon
