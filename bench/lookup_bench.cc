// Micro figures of what a worker does often: open, find, view, select; and of a small commit as history grows.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "support.h"

namespace tenon::bench {
namespace {

// A store in the temporary directory that is removed with it.
class ScratchStore {
 public:
  explicit ScratchStore(std::uint32_t tensors, std::uint64_t bytes_each = 256)
      : memory_(Memory::filled(tensors * bytes_each, 6)),
        path_(std::filesystem::temp_directory_path() / ("tenon-bench-" + std::to_string(std::random_device()()))),
        store_(fresh_store(path_, Durability::relaxed)),
        tensors_(tensors) {
    commit();
  }
  ~ScratchStore() {
    std::error_code ignored;  // a leftover in the temporary directory is no failure of the benchmark
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }
  Store& store() { return store_; }

  // One more snapshot, whose first tensor differs.
  void commit() {
    const std::uint32_t number = ++commits_;
    std::memcpy(memory_.bytes().data(), &number, sizeof number);
    store_.commit(draft_of(memory_.bytes(), tensors_));
  }

 private:
  Memory memory_;
  std::filesystem::path path_;
  Store store_;
  std::uint32_t tensors_;
  std::uint32_t commits_ = 0;
};

std::uint32_t tensors_of(const benchmark::State& state) { return static_cast<std::uint32_t>(state.range(0)); }

void open_store_and_snapshot(benchmark::State& state) {
  const ScratchStore scratch(tensors_of(state));
  for (auto _ : state) benchmark::DoNotOptimize(Store::open(scratch.path()).snapshot("main"));
}
BENCHMARK(open_store_and_snapshot)->Arg(10)->Arg(1000)->Arg(10000);

void view_every_tensor(benchmark::State& state) {
  ScratchStore scratch(tensors_of(state));
  const Snapshot snapshot = scratch.store().snapshot("main");
  for (auto _ : state) {
    for (std::uint32_t i = 0; i < snapshot.size(); ++i) benchmark::DoNotOptimize(snapshot.view(i).data());
  }
  state.SetItemsProcessed(state.iterations() * snapshot.size());
}
BENCHMARK(view_every_tensor)->Arg(10)->Arg(1000)->Arg(10000);

void find_by_name(benchmark::State& state) {
  ScratchStore scratch(tensors_of(state));
  const Snapshot snapshot = scratch.store().snapshot("main");
  std::vector<std::string> names;
  for (std::uint32_t i = 0; i < snapshot.size(); ++i) names.emplace_back(snapshot.row(i).name);
  std::shuffle(names.begin(), names.end(), std::mt19937_64(7));
  std::size_t next = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(snapshot.find(names[next]));
    next = (next + 1) % names.size();
  }
}
BENCHMARK(find_by_name)->Arg(10)->Arg(1000)->Arg(10000);

void select_one_layer(benchmark::State& state) {
  ScratchStore scratch(tensors_of(state));
  const Snapshot snapshot = scratch.store().snapshot("main");
  for (auto _ : state) benchmark::DoNotOptimize(snapshot.select("layers.7"));
}
BENCHMARK(select_one_layer)->Arg(10)->Arg(10000);

// The argument: snapshots already in the store. Neither may grow with it.
void small_commit_into_history(benchmark::State& state) {
  ScratchStore scratch(100);
  for (std::int64_t i = 1; i < state.range(0); ++i) scratch.commit();
  for (auto _ : state) scratch.commit();
}
BENCHMARK(small_commit_into_history)->Arg(1)->Arg(100)->Arg(1000)->Iterations(50);

void open_among_history(benchmark::State& state) {
  ScratchStore scratch(100);
  for (std::int64_t i = 1; i < state.range(0); ++i) scratch.commit();
  for (auto _ : state) benchmark::DoNotOptimize(Store::open(scratch.path()).snapshot("main"));
}
BENCHMARK(open_among_history)->Arg(1)->Arg(100)->Arg(1000);

void render_and_parse_name(benchmark::State& state) {
  const Path path = {"optim", "state", std::int64_t{12}, "exp_avg"};
  for (auto _ : state) benchmark::DoNotOptimize(parse_name(render_name(path)));
}
BENCHMARK(render_and_parse_name);

}  // namespace
}  // namespace tenon::bench

BENCHMARK_MAIN();
