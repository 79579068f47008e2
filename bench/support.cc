#include "support.h"

#include <sys/mman.h>

#include <cassert>
#include <cstring>
#include <new>

namespace tenon::bench {
namespace {

// splitmix64
std::uint64_t next_random(std::uint64_t& state) {
  std::uint64_t z = state += 0x9E3779B97F4A7C15;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
  z = (z ^ z >> 27) * 0x94D049BB133111EB;
  return z ^ z >> 31;
}

std::string usage(const std::string& program, const Command& command) {
  std::string line = "usage: " + program + " " + command.name;
  for (const std::string& parameter : command.parameters) line += " " + parameter;
  return line;
}

}  // namespace

Memory::Memory(std::uint64_t size_bytes) {
  void* const data = mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) throw std::bad_alloc();
  bytes_ = {static_cast<std::byte*>(data), size_bytes};
}

Memory::~Memory() {
  if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
}

Memory Memory::filled(std::uint64_t size_bytes, std::uint64_t seed) {
  assert(size_bytes % 8 == 0);
  Memory memory(size_bytes);
  std::uint64_t state = seed;
  for (std::uint64_t at = 0; at < size_bytes; at += 8) {
    const std::uint64_t word = (next_random(state) & 0x807FFFFF807FFFFF) | 0x3F0000003F000000;
    std::memcpy(memory.bytes_.data() + at, &word, sizeof word);
  }
  return memory;
}

Memory Memory::copy_of(std::span<const std::byte> bytes) {
  Memory memory(bytes.size());
  std::memcpy(memory.bytes_.data(), bytes.data(), bytes.size());
  return memory;
}

Draft draft_of(std::span<const std::byte> bytes, std::uint32_t count) {
  assert(bytes.size() % (4 * std::uint64_t{count}) == 0);
  const std::uint64_t each = bytes.size() / count;
  Draft draft;
  draft.tensors.reserve(count);
  draft.slots.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    draft.slots.push_back({.nbytes = each, .source = {.memory = bytes.subspan(i * each, each)}});
    draft.tensors.push_back({.name = "layers." + std::to_string(i) + ".weight",
                             .dtype = DType::float32,
                             .kind = TensorKind::parameter,
                             .slot = i,
                             .shape = {static_cast<std::int64_t>(each / 4)},
                             .stride = {1}});
  }
  return draft;
}

std::uint64_t sum_words(std::span<const std::byte> bytes) {
  std::uint64_t sum = 0;
  std::size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + at, sizeof word);
    sum += word;
  }
  for (; at < bytes.size(); ++at) sum += std::to_integer<std::uint64_t>(bytes[at]);
  return sum;
}

Store fresh_store(const std::filesystem::path& path, Durability durability) {
  std::filesystem::remove_all(path);
  return Store::init(path, {.durability = durability});
}

void warm_free_memory(std::uint64_t size_bytes) {
  void* const data =
      mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (data == MAP_FAILED) throw std::bad_alloc();
  munmap(data, size_bytes);
}

void print_figures(const Figures& figures) {
  const char* separator = "{";
  for (const auto& [name, value] : figures) {
    std::printf("%s\"%s\": %.9g", separator, name.c_str(), value);
    separator = ", ";
  }
  std::printf("}\n");
}

int run_command(int argc, char** argv, const std::vector<Command>& commands) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  for (const Command& command : commands) {
    if (arguments.size() != command.parameters.size() + 1 || arguments.front() != command.name) continue;
    try {
      command.run({arguments.begin() + 1, arguments.end()});
      return 0;
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
      return 1;
    }
  }
  for (const Command& command : commands) std::fprintf(stderr, "%s\n", usage(argv[0], command).c_str());
  return 2;
}

}  // namespace tenon::bench
