// "REV:PATH", as arguments, SQL and handles name a snapshot and something in it.
#pragma once

#include <string>
#include <string_view>

#include "tenon/export.h"

namespace tenon {

// An absent path is empty, an absent rev is "main".
struct RevPath {
  std::string rev;
  std::string path;
  bool has_path = false;  // there was a colon
};

// The rev ends at the first colon after its '@' value: main@step:1200:model/fc is main@step:1200 and model/fc.
TENON_API RevPath split_rev(std::string_view text);

}  // namespace tenon
