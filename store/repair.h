// repair: rebuilds what is an index (catalog, heads, superblock) from what is the truth (segments, journal).
#pragma once

#include <filesystem>

#include "tenon/store.h"

namespace tenon {

// Throws no_store, busy, io, full. What cannot be kept is reported. Killed at any point, it can be run again.
RepairReport repair_store(const std::filesystem::path& path, const RepairOptions& options = {});

}  // namespace tenon
