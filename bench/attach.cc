// Attaching to the newest snapshot: all views of a large one, and the first byte of one tensor in a fresh process.
#include "support.h"

namespace tenon::bench {
namespace {

void make(const std::vector<std::string>& arguments) {
  const auto count = static_cast<std::uint32_t>(std::stoul(arguments[1]));
  const Memory memory = Memory::filled(count * std::stoull(arguments[2]), 1);
  fresh_store(arguments[0], Durability::relaxed).commit(draft_of(memory.bytes(), count));
}

// Figures of one attach: everything that a worker does before it can use any of the tensors.
void resolve(const std::vector<std::string>& arguments) {
  std::vector<View> views;
  const double attach = time_seconds([&] {
    const Snapshot snapshot = Store::open(arguments[0]).snapshot("main");
    views.reserve(snapshot.size());
    for (std::uint32_t i = 0; i < snapshot.size(); ++i) views.push_back(snapshot.view(i));
  });
  std::uint64_t sum = 0;
  const double touch = time_seconds([&] {
    for (const View& view : views) sum += std::to_integer<std::uint64_t>(*view.data());
  });
  print_figures({{"attach", attach},
                 {"touch", touch},
                 {"views", static_cast<double>(views.size())},
                 {"sum", static_cast<double>(sum)}});
}

void resolve_repeatedly(const std::vector<std::string>& arguments) {
  for (auto left = std::stoul(arguments[1]); left > 0; --left) resolve(arguments);
}

Command first_byte(Clock::time_point start) {
  return {"first", {"STORE", "NAME"}, [start](const std::vector<std::string>& arguments) {
            const View view = Store::open(arguments[0]).snapshot("main")[arguments[1]];
            const auto byte = std::to_integer<unsigned>(*view.data());
            print_figures({{"first", seconds_since(start)}, {"byte", byte}});
          }};
}

}  // namespace
}  // namespace tenon::bench

int main(int argc, char** argv) {
  const auto start = tenon::bench::Clock::now();
  return tenon::bench::run_command(argc, argv,
                                   {{"make", {"STORE", "TENSORS", "BYTES_EACH"}, tenon::bench::make},
                                    {"resolve", {"STORE", "TIMES"}, tenon::bench::resolve_repeatedly},
                                    tenon::bench::first_byte(start)});
}
