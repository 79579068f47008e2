// Which store: how arguments, the environment and the working folder name it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "tenon/store.h"

namespace tenon::tools {

// The store that `given` (--store) names, else TENON_STORE, else the nearest *.tenon or .tenon upward from the
// working folder; in one folder, a directory goes before bundles. nullopt if there is none. Throws
// invalid_argument if one folder holds several.
std::optional<std::filesystem::path> find_store(const std::string& given);
// The same among directories, since bundles are never written to.
std::optional<std::filesystem::path> find_writable_store(const std::string& given);

// Throws no_store, and what Store::open throws.
Store open_store(const std::string& given);

}  // namespace tenon::tools
