// What this machine, and this place, give to a store: limits, file system, memory. Looks, and changes nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tenon/export.h"

namespace tenon {

enum class Verdict : std::uint8_t {
  good,
  note,     // less than there could be; all works
  warning,  // something will not work, or soon not
};

struct Finding {
  std::string topic;  // "file system", "open files", ...
  Verdict verdict = Verdict::good;
  std::string what;    // what is there
  std::string hint{};  // what can be done; empty if nothing needs to be
};

// About the machine, and about the store or folder at `path`. Throws not_found if there is nothing.
TENON_API std::vector<Finding> examine(const std::filesystem::path& path);

}  // namespace tenon
