// By what a file is known, and who reads it. A format is one line in recognition.cc: what it looks like, and the
// function that makes a draft of it. What is known by its look and not read stands in refusals.cc.
#pragma once

#include "formats/foreign_file.h"
#include "tenon/draft.h"
#include "tenon/formats.h"

namespace tenon {

struct RecognisedFile {
  FileFormat format;
  Draft draft;  // its sources keep what they read from
};

// Throws unsupported, naming what the file is, where there is no reader for it; corrupt where it is nothing known; and
// what the reader throws.
RecognisedFile read_recognised(const ForeignFile& file);

}  // namespace tenon
