// What N processes that have read one snapshot cost in memory. Each reader reports its proportional set size while all
// of the others still hold theirs: the kernel divides a shared page by the number of its users.
#include <cstdlib>
#include <fstream>
#include <stdexcept>

#include "support.h"

namespace tenon::bench {
namespace {

// Bytes of the field `name` of /proc/self/smaps_rollup.
double rollup_bytes(const std::string& name) {
  std::ifstream rollup("/proc/self/smaps_rollup");
  for (std::string line; std::getline(rollup, line);) {
    if (line.starts_with(name + ":")) return 1024 * std::strtod(line.c_str() + name.size() + 1, nullptr);
  }
  throw std::runtime_error("/proc/self/smaps_rollup lacks " + name);
}

// Reads, says so on standard output, waits for a line on standard input, then tells what it costs: whoever started the
// readers lets them go on when all have read.
void read_and_report(const std::vector<std::string>& arguments) {
  std::uint64_t sum = 0;
  Snapshot snapshot;
  if (arguments[0] != "none") {
    snapshot =
        Store::open(arguments[0]).snapshot("main", {.mode = arguments[1] == "private" ? Mode::private_ : Mode::shared});
    for (std::uint32_t slot = 0; slot < snapshot.slot_count(); ++slot) sum += sum_words(snapshot.slot_bytes(slot));
  }
  std::printf("ready\n");
  std::fflush(stdout);
  if (std::getchar() == EOF) throw std::runtime_error("nobody waits for the answer");
  print_figures({{"pss", rollup_bytes("Pss")}, {"sum", static_cast<double>(sum >> 12)}});
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
}

void make(const std::vector<std::string>& arguments) {
  const Memory memory = Memory::filled(std::stoull(arguments[1]), 5);
  const auto count = static_cast<std::uint32_t>(std::stoul(arguments[2]));
  fresh_store(arguments[0], Durability::relaxed).commit(draft_of(memory.bytes(), count));
}

}  // namespace
}  // namespace tenon::bench

int main(int argc, char** argv) {
  return tenon::bench::run_command(argc, argv,
                                   {{"make", {"STORE", "BYTES", "TENSORS"}, tenon::bench::make},
                                    {"read", {"STORE|none", "shared|private"}, tenon::bench::read_and_report}});
}
