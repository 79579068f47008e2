// Taking what is damaged in one store from another that has it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "store/store_state.h"

namespace tenon {

// Looks at every byte of every segment. A segment that cannot be opened is replaced by `other`'s of the same name and
// store, if it is whole; a damaged storage by one of the same key in `other` (a store or bundle) whose bytes are right.
// Each segment is written anew beside the old one and takes its name. Returns a line for each that was mended.
// REQUIRES: writers are kept out.
std::vector<std::string> mend_segments(const StorePaths& paths, const Digest& store_id, bool durable,
                                       const std::filesystem::path& other);

}  // namespace tenon
