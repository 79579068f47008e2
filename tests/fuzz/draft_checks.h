// What must hold of a draft that a reader of foreign files has made, whatever the file was.
#pragma once

#include "fuzzing.h"
#include "tenon/draft.h"

namespace tenon::fuzz {

// It can be committed: sound geometry, a layout that opens again, a structure that names its rows. It can be exported,
// or that is refused as unsupported or too much. Its sources give their bytes, or say that the file is damaged.
void check_foreign_draft(const Draft& draft);

}  // namespace tenon::fuzz
