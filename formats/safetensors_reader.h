// safetensors files: one flat dict of tensors and, if the file has it, `__metadata__`.
//
// Every tensor gets a slot of its own, as the format has neither views nor sharing. The metadata stands in the draft's
// meta as the object "safetensors": empty if the file has none, so that export knows to write none.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "formats/safetensors_header.h"
#include "mmap/file.h"
#include "tenon/draft.h"

namespace tenon {

// By the first bytes: a length, and JSON that begins with '{'.
bool is_safetensors(std::string_view first_bytes) noexcept;

// The draft's sources keep the file. Throws corrupt, limit, and unsupported for element types that Tenon lacks.
Draft read_safetensors(std::shared_ptr<const File> file);

// Both directions of the place in meta. What reads it throws unsupported where the values are no strings; nullopt where
// the snapshot came from elsewhere.
std::string meta_of(const std::optional<SafetensorsMetadata>& metadata);
std::optional<SafetensorsMetadata> metadata_in(const std::string& meta);

}  // namespace tenon
