// Which store, which snapshot, which tensor: how arguments name them.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "tenon/store.h"

namespace tenon::tools {

// "REV:PATH". An absent path is empty, an absent rev is "main".
struct Target {
  std::string rev;
  std::string path;
  bool has_path = false;  // there was a colon
};

// The rev ends at the first colon after its '@' value: main@step:1200:model/fc is main@step:1200 and model/fc.
Target split_target(std::string_view argument);

// The store that `given` (--store) names, else TENON_STORE, else the nearest *.tenon or .tenon upward from the
// working folder; in one folder, a directory goes before bundles. nullopt if there is none. Throws
// invalid_argument if one folder holds several.
std::optional<std::filesystem::path> find_store(const std::string& given);
// The same among directories, since bundles are never written to.
std::optional<std::filesystem::path> find_writable_store(const std::string& given);

// Throws no_store, and what Store::open throws.
Store open_store(const std::string& given);

}  // namespace tenon::tools
