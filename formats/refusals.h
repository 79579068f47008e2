// Files that are known and not read: the error says what each is, and what its owner can do.
#pragma once

#include "formats/foreign_file.h"

namespace tenon {

[[noreturn]] void refuse_torch_package(const ForeignFile& file);
// What no reader and no other refusal knew: unsupported if it has a name, else corrupt.
[[noreturn]] void refuse_by_name(const ForeignFile& file);

}  // namespace tenon
