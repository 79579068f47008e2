// What this machine gives to mappings, as the kernel tells it. Nothing is changed. Errors: none; what is not told is
// empty or nullopt.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace tenon {

// Of the file system that has `path`.
struct FileSystem {
  std::string kind;  // "ext4", "tmpfs"; a number in hex if it is none that we know
  bool is_network = false;
  bool is_read_only = false;
  std::uint64_t free_bytes = 0;  // for this user
  std::uint64_t free_files = 0;
};
std::optional<FileSystem> file_system_of(const std::filesystem::path& path);

struct Limit {
  std::uint64_t soft = 0;  // UINT64_MAX: none
  std::uint64_t hard = 0;
};
Limit open_files_limit() noexcept;
Limit locked_memory_limit() noexcept;

// The number in a file of /proc or /sys; nullopt if it has none.
std::optional<std::uint64_t> number_in(const std::filesystem::path& file);
// What is chosen in a line like "always [madvise] never"; empty if there is no such file.
std::string choice_in(const std::filesystem::path& file);

// Tried on a page of memory: whether the kernel can fill page tables without writing (MADV_POPULATE_READ, 5.14).
bool can_populate_read() noexcept;

}  // namespace tenon
