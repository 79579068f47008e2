// Pickles: what is read can be written, and comes back as the same.
#include <algorithm>

#include "formats/pickle.h"
#include "formats/structure.h"
#include "fuzzing.h"

using namespace tenon;

namespace {

void check_round_trip(const PickleGraph& graph) {
  fuzz::Bytes written;
  if (!fuzz::allow({ErrorKind::limit}, [&] { written = write_pickle(graph, graph.root); })) return;
  const PickleReadResult again = read_pickle(written);
  fuzz::require(again.consumed_bytes == written.size(), "a pickle of ours ends before its end");
  fuzz::require(again.graph.kind(again.graph.root) == graph.kind(graph.root), "a pickle comes back as another kind");
  fuzz::require(write_pickle(again.graph, again.graph.root) == written, "a pickle of ours does not come back");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::allow(fuzz::refusals, [&] {
    std::size_t globals = 0;
    const auto count = [&](std::string_view, std::string_view) { ++globals; };
    const PickleReadResult read = read_pickle(fuzz::as_bytes(data, size), {.file = "input", .on_global = count});
    fuzz::require(read.consumed_bytes <= size, "more consumed than there was");
    walk_structure(
        read.graph, [](NodeId node, const std::string&) { return node; }, "input");
    check_round_trip(read.graph);
  });
  return 0;
}
