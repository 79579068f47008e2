// What the benchmark programs share: memory filled with reproducible values, a draft over it, a clock, and results as
// one JSON object on a line. Seconds everywhere.
#pragma once

#include <tenon/tenon.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace tenon::bench {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

template <typename Function>
double time_seconds(Function&& function) {
  const auto start = Clock::now();
  function();
  return seconds_since(start);
}

// Page-aligned anonymous memory, returned to the system on destruction. Every page has been written.
class Memory {
 public:
  // float32 values in (-1, -0.5] and [0.5, 1), the same for the same seed. REQUIRES: size_bytes % 8 == 0.
  static Memory filled(std::uint64_t size_bytes, std::uint64_t seed);
  static Memory copy_of(std::span<const std::byte> bytes);
  Memory(Memory&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  Memory& operator=(Memory&&) = delete;
  ~Memory();

  std::span<std::byte> bytes() noexcept { return bytes_; }
  std::span<const std::byte> bytes() const noexcept { return bytes_; }

 private:
  explicit Memory(std::uint64_t size_bytes);
  std::span<std::byte> bytes_;
};

// Flat names "layers.N.weight": `count` float32 tensors of equal size that share `bytes`, each a slot of its own.
// REQUIRES: bytes.size() is a multiple of 4 * count.
Draft draft_of(std::span<const std::byte> bytes, std::uint32_t count);

// Reads every byte; equal for equal bytes in any piece size that is a multiple of 8.
std::uint64_t sum_words(std::span<const std::byte> bytes);

// Removes `path` if it is there and makes an empty store.
Store fresh_store(const std::filesystem::path& path, Durability durability);

// Takes and returns so much memory. On a virtual machine the first touch of a page that the host has taken back costs
// more than most of what is measured here; after this, free pages are backed, for us and for the peers alike.
void warm_free_memory(std::uint64_t size_bytes);

using Figures = std::vector<std::pair<std::string, double>>;
void print_figures(const Figures& figures);

// A program is a table of commands: name, usage of the arguments after it, and what it does with them.
struct Command {
  std::string name;
  std::vector<std::string> parameters;
  std::function<void(const std::vector<std::string>&)> run;
};
int run_command(int argc, char** argv, const std::vector<Command>& commands);

}  // namespace tenon::bench
