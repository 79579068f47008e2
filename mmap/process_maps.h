// What other processes have mapped, from /proc. Only processes that this one can see and may look into are found; one
// that ends meanwhile is left out. Errors: io if there is no /proc.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace tenon {

// The file of a mapping.
struct MappedFile {
  std::uint64_t device = 0;  // as st_dev
  std::uint64_t inode = 0;
  std::string path;  // as this process would name it; " (deleted)" at its end if it has no name any more
};

// Sums over mappings.
struct MappedMemory {
  std::uint64_t size_bytes = 0;
  std::uint64_t resident_bytes = 0;
  std::uint64_t proportional_bytes = 0;
  std::uint64_t anonymous_bytes = 0;  // copied, in memory or in swap
};

// Every process that can be seen, ascending.
std::vector<std::uint32_t> visible_processes();
// Over the mappings of those files that `is_wanted`; nullopt if it has none, or may not be looked into.
std::optional<MappedMemory> mapped_memory(std::uint32_t pid, const std::function<bool(const MappedFile&)>& is_wanted);
// Its number in its own PID namespace, the namespace's inode (0 if that may not be known), and the name of its program.
struct ProcessIdentity {
  std::uint32_t inner_pid = 0;
  std::uint64_t pid_namespace = 0;
  std::string name;
};
std::optional<ProcessIdentity> process_identity(std::uint32_t pid);

}  // namespace tenon
