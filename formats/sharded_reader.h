// Checkpoints cut into several files, as Hugging Face's libraries do: an index (`*.index.json`) says which tensor is in
// which file beside it. They are one flat dict, in the order of the index's files.
//
// Errors: not_found for a shard that is not there; corrupt for a tensor that is not where the index has it, or is there
// without being in the index; unsupported for a file name that leads out of the folder, and for a shard that is no flat
// dict of tensors, or an index in turn; limit.
#pragma once

#include <filesystem>

#include "formats/foreign_file.h"
#include "tenon/draft.h"

namespace tenon {

// Whether it begins as a JSON object does.
bool is_index(const ForeignFile& file);

// The one index in a folder. Throws not_found if there is none, invalid_argument if there are several.
std::filesystem::path find_index(const std::filesystem::path& folder);

Draft read_sharded(const ForeignFile& index);

}  // namespace tenon
