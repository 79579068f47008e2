// A consistent copy of a store that is in use.
//
//   1. Beside everybody: segments are copied, in a directory beside the final one. They never change under an inode.
//   2. With writers held off: what came meanwhile, and what gc replaced; journal and superblock.
//   3. The copy's catalog and heads are made from these by repair; every byte is verified.
//   4. The directory gets its name.
#pragma once

#include <filesystem>

#include "store/store_state.h"

namespace tenon {

CloneReport clone_store(const StoreState& store, const std::filesystem::path& out);

}  // namespace tenon
