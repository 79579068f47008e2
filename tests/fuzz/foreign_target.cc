// Files that somebody else wrote, whatever format they are recognised as: linked once for each format, whose seeds and
// changes lead libFuzzer to its reader.
#include "draft_checks.h"
#include "formats/recognition.h"
#include "formats/sharded_reader.h"
#include "mutation.h"

using namespace tenon;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::allow(fuzz::refusals, [&] {
    const ForeignFile file = ForeignFile::open(fuzz::file_with(fuzz::as_bytes(data, size)));
    if (is_index(file)) return;  // the files that it names would be looked for; sharded_target.cc has some
    RecognisedFile read = read_recognised(file);
    fuzz::check_foreign_draft(read.draft);
  });
  return 0;
}

TENON_FUZZ_MUTATOR(fuzz::change_foreign_file)
