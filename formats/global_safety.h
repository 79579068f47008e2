// How far a class or function that a pickle names can be trusted. Rules go by exact module and name: what is not known
// to be safe is not safe.
#pragma once

#include <string_view>

#include "tenon/formats.h"

namespace tenon {

// safe: torch.load(weights_only=True) allows it, under the names of Python 2, too. dangerous: it runs code, programs or
// network requests, or reaches what does. unknown: neither; importing it runs whatever its module does.
GlobalSafety global_safety(std::string_view module, std::string_view name);

}  // namespace tenon
