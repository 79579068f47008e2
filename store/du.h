// What snapshots cost, by the functions that gc plans with.
#pragma once

#include <cstdint>
#include <filesystem>

#include "store/store_state.h"
#include "tenon/retention.h"

namespace tenon {

DiskUsage disk_usage(const StoreState& store);
// Of one file, as the file system counts; 0 if it is not there.
std::uint64_t blocks_of(const std::filesystem::path& path);

}  // namespace tenon
