// A snapshot's structure, of which a store may hold anything: read, described, written back.
#include <algorithm>

#include "formats/structure.h"
#include "fuzzing.h"

using namespace tenon;

namespace {

constexpr std::uint32_t rows = 16;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::allow(fuzz::refusals, [&] {
    const PickleGraph graph =
        decode_structure(fuzz::as_bytes(data, size), rows, [](std::uint32_t row) { return row - row % 2; });
    describe_graph(graph, [](std::uint32_t row) { return "row " + std::to_string(row); });
    for (const char* name : {".", "model", "model/weight", "state/0", "<args>"}) find_in_structure(graph, name);
  });
  return 0;
}
