// Taking what is damaged in one store from another that has it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "store/store_state.h"

namespace tenon {

struct MendReport {
  std::vector<std::string> mended;  // one line each
  std::vector<std::string> left;    // what can be neither read nor taken from the other store, one line each
};

// Looks at every byte of every segment. A segment that cannot be opened is replaced by `other`'s of the same name and
// store, if it is whole; a damaged storage by one of the same key in `other` (a store or bundle) whose bytes are right.
// Each segment is written anew beside the old one and takes its name; what the disk does not give is mended like what
// is wrong, and does not end the work. REQUIRES: writers are kept out.
MendReport mend_segments(const StorePaths& paths, const Digest& store_id, bool durable,
                         const std::filesystem::path& other);

}  // namespace tenon
