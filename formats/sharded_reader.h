// Checkpoints cut into several files, as Hugging Face's libraries do: an index (`*.index.json`) says which tensor is in
// which file beside it. They are one flat dict, in the order of the index's files.
//
// Errors: not_found for a shard that is not there; corrupt for a tensor that is not where the index has it, or is there
// without being in the index; unsupported for a file name that leads out of the folder, and for a shard that is no flat
// dict of tensors; limit.
#pragma once

#include <filesystem>
#include <functional>
#include <string_view>

#include "mmap/file.h"
#include "tenon/draft.h"

namespace tenon {

// Whether the first bytes begin a JSON object.
bool may_be_index(std::string_view first_bytes) noexcept;

// The one index in a folder. Throws not_found if there is none, invalid_argument if there are several.
std::filesystem::path find_index(const std::filesystem::path& folder);

// `open_shard` reads one file into a draft that keeps what it needs; it must not follow an index in turn.
Draft read_sharded(const File& index, const std::function<Draft(const std::filesystem::path&)>& open_shard);

}  // namespace tenon
