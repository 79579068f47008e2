// The classes and functions that any file would have imported, listed without importing them.
#include "mutation.h"
#include "tenon/formats.h"

using namespace tenon;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::allow(fuzz::refusals, [&] {
    const PickleGlobals found = list_globals(fuzz::file_with(fuzz::as_bytes(data, size)));
    fuzz::require(!found.globals.empty() || !found.flaw, "a flaw is told of with nothing that was found");
    for (const PickleGlobal& global : found.globals) {
      fuzz::require(!global.module.empty() && !global.name.empty(), "a global has no name");
      global_safety_name(global.safety);
    }
  });
  return 0;
}

TENON_FUZZ_MUTATOR(fuzz::change_foreign_file)
