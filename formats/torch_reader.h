// Archives that torch.save wrote. See formats.cc for how they are recognised.
#pragma once

#include <memory>

#include "formats/zip_reader.h"
#include "tenon/draft.h"
#include "tenon/formats.h"

namespace tenon {

// `top` is the directory that all entries are in. The draft's sources keep the reader. Throws corrupt, unsupported,
// limit.
Draft read_torch_archive(std::shared_ptr<const ZipReader> reader, const std::string& top, const ImportOptions& options);

}  // namespace tenon
