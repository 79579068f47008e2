// safetensors files: one flat dict of tensors and, if the file has it, `__metadata__`.
//
// Every tensor gets a slot of its own, as the format has neither views nor sharing. The metadata stands in the draft's
// meta as the object "safetensors": empty if the file has none, so that export knows to write none.
#pragma once

#include <optional>
#include <string>

#include "formats/foreign_file.h"
#include "formats/safetensors_header.h"
#include "tenon/draft.h"

namespace tenon {

// By the first bytes: a length, and JSON that begins with '{'.
bool is_safetensors(const ForeignFile& file);

// The draft's sources keep the file. Throws corrupt, limit, and unsupported for element types that Tenon lacks.
Draft read_safetensors(const ForeignFile& file);

// Both directions of the place in meta. What reads it throws unsupported where the values are no strings; nullopt where
// the snapshot came from elsewhere.
std::string meta_of(const std::optional<SafetensorsMetadata>& metadata);
std::optional<SafetensorsMetadata> metadata_in(const std::string& meta);

}  // namespace tenon
