// Archives that torch.save wrote. See recognition.cc for how they are told from others.
#pragma once

#include "formats/foreign_file.h"
#include "tenon/draft.h"
#include "tenon/formats.h"

namespace tenon {

// The draft's sources keep the reader. Throws corrupt, unsupported, limit. REQUIRES: a zip archive.
Draft read_torch_archive(const ForeignFile& file);

}  // namespace tenon
