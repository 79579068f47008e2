// verify: looks at every checksum of a store, and with read_data at every stored byte. Changes nothing.
#pragma once

#include <filesystem>

#include "tenon/store.h"

namespace tenon {

// Damage is reported, not thrown. Throws no_store if there is nothing to look at, and io where the system refuses
// reading.
VerifyReport verify_store(const std::filesystem::path& path, const VerifyOptions& options);

}  // namespace tenon
