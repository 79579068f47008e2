// Statistics that are asked for: how long the first answer takes beside a plain reading of the same bytes, and the
// answers after it.
#include <tenon/summary.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "support.h"

namespace tenon::bench {
namespace {

constexpr std::size_t asked_again = 10'000;

// Halves of 4 bytes become ordinary numbers of the type: magnitudes around 1, both signs.
void make_ordinary(std::span<std::byte> bytes, std::uint16_t kept, std::uint16_t exponent) {
  for (std::size_t at = 0; at < bytes.size(); at += sizeof kept) {
    std::uint16_t half;
    std::memcpy(&half, bytes.data() + at, sizeof half);
    half = static_cast<std::uint16_t>((half & kept) | exponent);
    std::memcpy(bytes.data() + at, &half, sizeof half);
  }
}

// One tensor of each type; the commit keeps no statistics, so that there is something to find out.
void make(const std::vector<std::string>& arguments) {
  const std::uint64_t size_bytes = std::stoull(arguments[1]);
  Memory singles = Memory::filled(size_bytes, 1), halves = Memory::filled(size_bytes, 2),
         brains = Memory::filled(size_bytes, 3);
  make_ordinary(halves.bytes(), 0x83FF, 0x3800);
  make_ordinary(brains.bytes(), 0x807F, 0x3F00);
  Draft draft;
  const auto add = [&](const char* name, DType dtype, const Memory& memory) {
    const auto count = static_cast<std::int64_t>(size_bytes / item_bytes(dtype));
    draft.slots.push_back({.nbytes = size_bytes, .source = {.memory = memory.bytes()}});
    draft.tensors.push_back({.name = name,
                             .dtype = dtype,
                             .slot = static_cast<std::uint32_t>(draft.slots.size() - 1),
                             .shape = {count},
                             .stride = {1}});
  };
  add("float32", DType::float32, singles);
  add("float16", DType::float16, halves);
  add("bfloat16", DType::bfloat16, brains);
  fresh_store(arguments[0], Durability::relaxed).commit(draft, {.statistics = false});
}

std::uint64_t sum_in_threads(std::span<const std::byte> bytes, std::size_t threads) {
  std::vector<std::uint64_t> sums(threads);
  std::vector<std::thread> running;
  const std::size_t each = bytes.size() / threads / 8 * 8;
  for (std::size_t i = 0; i < threads; ++i) {
    const std::size_t size = i + 1 == threads ? bytes.size() - i * each : each;
    running.emplace_back([&sums, i, part = bytes.subspan(i * each, size)] { sums[i] = sum_words(part); });
  }
  for (std::thread& thread : running) thread.join();
  std::uint64_t sum = 0;
  for (const std::uint64_t part : sums) sum += part;
  return sum;
}

double time_reading(std::span<const std::byte> bytes) {
  const std::size_t most = std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, 8);
  const std::uint64_t wanted = sum_in_threads(bytes, 1);  // and has the pages mapped
  double best = 1e9;
  for (std::size_t threads = 1; threads <= most; threads *= 2) {
    best = std::min(best, time_seconds([&] {
                      if (sum_in_threads(bytes, threads) != wanted) throw std::runtime_error("sums differ");
                    }));
  }
  return best;
}

double time_first(const Snapshot& snapshot, std::uint32_t row, const SummaryRequest& request) {
  Summaries summaries;  // knows nothing yet
  return time_seconds([&] {
    const auto summary = summaries.get(snapshot, row, request);
    if (!summary || summary->count == 0) throw std::runtime_error("no answer");
  });
}

double time_again(const Snapshot& snapshot, std::uint32_t row, const SummaryRequest& request) {
  Summaries summaries;
  double sum = 0;
  const double wanted = static_cast<double>(asked_again) * *summaries.get(snapshot, row, request)->l1;
  const double seconds = time_seconds([&] {
    for (std::size_t i = 0; i < asked_again; ++i) sum += *summaries.get(snapshot, row, request)->l1;
  });
  if (std::abs(sum - wanted) > wanted * 1e-9) throw std::runtime_error("answers differ");
  return seconds / static_cast<double>(asked_again);
}

void measure(const std::vector<std::string>& arguments) {
  const Snapshot snapshot = Store::open(arguments[0]).snapshot("main");
  const std::uint32_t row = *snapshot.find(arguments[1]);
  const SummaryRequest all{.statistics = true, .l1 = true};
  for (auto left = std::stoul(arguments[2]); left > 0; --left) {
    const double read = time_reading(snapshot.slot_bytes(snapshot.row(row).slot));
    print_figures({{"read", read},
                   {"statistics", time_first(snapshot, row, {.statistics = true})},
                   {"all", time_first(snapshot, row, all)},
                   {"l1", time_first(snapshot, row, {.l1 = true})},
                   {"quantiles", time_first(snapshot, row, {.quantiles = {0.01, 0.5, 0.99}})},
                   {"histogram", time_first(snapshot, row, {.bins = 64})},
                   {"again", time_again(snapshot, row, all)}});
  }
}

}  // namespace
}  // namespace tenon::bench

int main(int argc, char** argv) {
  return tenon::bench::run_command(argc, argv,
                                   {{"make", {"STORE", "BYTES_EACH"}, tenon::bench::make},
                                    {"measure", {"STORE", "NAME", "TIMES"}, tenon::bench::measure}});
}
