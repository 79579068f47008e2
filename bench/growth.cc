// What attach, lookup, commit and log cost in a store of many snapshots.
#include <cstring>

#include "support.h"

namespace tenon::bench {
namespace {

constexpr std::uint64_t tensor_bytes = 256;

// One model, of which every commit changes the same few tensors, as when a head is trained on a frozen base.
class Run {
 public:
  Run(const std::filesystem::path& path, std::uint32_t tensors, bool fresh)
      : memory_(Memory::filled(tensors * tensor_bytes, 7)),
        draft_(draft_of(memory_.bytes(), tensors)),
        store_(fresh ? fresh_store(path, Durability::relaxed) : Store::open(path)) {}

  CommitResult commit(std::uint32_t changed, std::uint64_t number) {
    for (std::uint32_t i = 0; i < changed; ++i)
      std::memcpy(memory_.bytes().data() + i * tensor_bytes, &number, sizeof number);
    draft_.step = static_cast<std::int64_t>(number);
    return store_.commit(draft_);
  }
  Store& store() { return store_; }

 private:
  Memory memory_;
  Draft draft_;
  Store store_;
};

void make(const std::vector<std::string>& arguments) {
  const auto snapshots = std::stoull(arguments[1]);
  Run run(arguments[0], static_cast<std::uint32_t>(std::stoul(arguments[2])), true);
  const auto changed = static_cast<std::uint32_t>(std::stoul(arguments[3]));
  for (std::uint64_t number = 0; number < snapshots; ++number) run.commit(changed, number);
}

double time_attach(const std::string& path) {
  std::uint64_t sum = 0;
  const double seconds = time_seconds([&] {
    const Snapshot snapshot = Store::open(path).snapshot("main");
    for (std::uint32_t i = 0; i < snapshot.size(); ++i) sum += std::to_integer<std::uint64_t>(*snapshot.view(i).data());
  });
  if (sum == 0) throw std::runtime_error("nothing was read");
  return seconds;
}

void measure(const std::vector<std::string>& arguments) {
  const auto changed = static_cast<std::uint32_t>(std::stoul(arguments[2]));
  Run run(arguments[0], static_cast<std::uint32_t>(std::stoul(arguments[1])), false);
  auto number = static_cast<std::uint64_t>(run.store().log("main", 1)[0].step.value());
  const std::string prefix = to_hex(run.store().resolve("main~5")).substr(0, 16);
  run.commit(changed, ++number);  // opens what a trainer keeps open
  for (auto left = std::stoull(arguments[3]); left > 0; --left) {
    CommitResult result;
    const double attach = time_attach(arguments[0]);
    const double lookup = time_seconds([&] { run.store().resolve(prefix); });
    const double log = time_seconds([&] { run.store().log("main", 20); });
    const double commit = time_seconds([&] { result = run.commit(changed, ++number); });
    if (result.written_storages == 0) throw std::runtime_error("the commit wrote nothing");
    print_figures({{"attach", attach}, {"lookup", lookup}, {"log", log}, {"commit", commit}});
  }
}

// What looks at all of the history.
void sweep(const std::vector<std::string>& arguments) {
  Store store = Store::open(arguments[0]);
  const double du = time_seconds([&] { store.du(); });
  const double forget = time_seconds([&] { store.forget({.keep = {.last = 10}}); });
  GcReport report;
  const double gc = time_seconds([&] { report = store.gc(); });
  print_figures({{"du", du}, {"forget", forget}, {"gc", gc}, {"snapshots", static_cast<double>(report.snapshots)}});
}

}  // namespace
}  // namespace tenon::bench

int main(int argc, char** argv) {
  return tenon::bench::run_command(argc, argv,
                                   {{"make", {"STORE", "SNAPSHOTS", "TENSORS", "CHANGED"}, tenon::bench::make},
                                    {"measure", {"STORE", "TENSORS", "CHANGED", "ROUNDS"}, tenon::bench::measure},
                                    {"sweep", {"STORE"}, tenon::bench::sweep}});
}
