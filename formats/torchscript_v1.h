// TorchScript archives as torch wrote them before 1.3 (model.json, version 1): modules and a table of tensors in JSON,
// other values in attributes.pkl, code under code/ and libs/.
//
// Rows are named and of the kinds that later archives give (torchscript_reader.h). Tensors that only the code uses are
// `constants/3`, by their number in the table; what a module's __getstate__ returned is its attribute `__getstate__`.
// Every record that is no storage of a row becomes an attachment. No torch of today runs such an archive, so it is not
// put together again: it is exported as any other object.
#pragma once

#include "formats/foreign_file.h"
#include "tenon/draft.h"

namespace tenon {

// The draft's sources keep the reader. Throws corrupt, unsupported, limit. REQUIRES: a zip archive with a model.json.
Draft read_torchscript_v1(const ForeignFile& file);

}  // namespace tenon
