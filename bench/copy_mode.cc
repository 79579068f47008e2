// Mode::copy of a warm snapshot beside memcpy into fresh memory.
#include <cstring>
#include <memory>
#include <stdexcept>

#include "support.h"

namespace tenon::bench {
namespace {

void make(const std::vector<std::string>& arguments) {
  const Memory memory = Memory::filled(std::stoull(arguments[1]), 4);
  const auto count = static_cast<std::uint32_t>(std::stoul(arguments[2]));
  fresh_store(arguments[0], Durability::relaxed).commit(draft_of(memory.bytes(), count));
}

std::uint64_t sum_slots(const Snapshot& snapshot) {
  std::uint64_t sum = 0;
  for (std::uint32_t slot = 0; slot < snapshot.slot_count(); ++slot) sum += sum_words(snapshot.slot_bytes(slot));
  return sum;
}

// Allocates anew for every slot, as whoever loads a checkpoint does.
double time_memcpy(const Snapshot& source, std::uint64_t& sum) {
  std::vector<std::unique_ptr<std::byte[]>> copies(source.slot_count());
  const double seconds = time_seconds([&] {
    for (std::uint32_t slot = 0; slot < source.slot_count(); ++slot) {
      const auto bytes = source.slot_bytes(slot);
      copies[slot] = std::make_unique_for_overwrite<std::byte[]>(bytes.size());
      std::memcpy(copies[slot].get(), bytes.data(), bytes.size());
    }
  });
  sum = 0;
  for (std::uint32_t slot = 0; slot < source.slot_count(); ++slot) {
    sum += sum_words({copies[slot].get(), source.slot_bytes(slot).size()});
  }
  return seconds;
}

void load(const std::vector<std::string>& arguments) {
  const Store store = Store::open(arguments[0]);
  const Snapshot mapped = store.snapshot("main", {.mode = Mode::shared});
  const std::uint64_t wanted = sum_slots(mapped);  // warms the page cache, too
  for (auto left = std::stoul(arguments[1]); left > 0; --left) {
    Snapshot copy;
    warm_free_memory(2 * mapped.info().nbytes);
    const double copied = time_seconds([&] { copy = store.snapshot("main", {.mode = Mode::copy}); });
    const std::uint64_t copied_sum = sum_slots(copy);
    copy = Snapshot();
    warm_free_memory(2 * mapped.info().nbytes);
    std::uint64_t plain_sum = 0;
    const double plain = time_memcpy(mapped, plain_sum);
    if (copied_sum != wanted || plain_sum != wanted) throw std::runtime_error("a copy differs from the mapping");
    print_figures({{"copy_mode", copied}, {"memcpy", plain}});
  }
}

}  // namespace
}  // namespace tenon::bench

int main(int argc, char** argv) {
  return tenon::bench::run_command(
      argc, argv,
      {{"make", {"STORE", "BYTES", "TENSORS"}, tenon::bench::make}, {"load", {"STORE", "TIMES"}, tenon::bench::load}});
}
