#include "mmap/process_maps.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>
#include <string_view>

#include "mmap/file.h"

namespace tenon {
namespace {

std::string proc_path(std::uint32_t pid, const char* name) { return "/proc/" + std::to_string(pid) + "/" + name; }

// "7f00-7f10 r--s 00000000 fd:01 4711   /path": the head of a mapping; nullopt for the lines of figures below it.
struct MappingLine {
  std::uint64_t size_bytes = 0;
  MappedFile file;
};

template <typename T>
bool take_number(std::string_view& text, T& out, int base) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}
bool take_character(std::string_view& text, char c) {
  if (!text.starts_with(c)) return false;
  text.remove_prefix(1);
  return true;
}
bool skip_word(std::string_view& text) {
  const std::size_t space = text.find(' ');
  if (space == std::string_view::npos) return false;
  text.remove_prefix(space + 1);
  return true;
}

std::optional<MappingLine> parse_mapping(std::string_view line) {
  std::uint64_t begin = 0, end = 0;
  unsigned device_major = 0, device_minor = 0;
  MappingLine mapping;
  const bool is_mapping = take_number(line, begin, 16) && take_character(line, '-') && take_number(line, end, 16) &&
                          take_character(line, ' ') && skip_word(line) && skip_word(line) &&
                          take_number(line, device_major, 16) && take_character(line, ':') &&
                          take_number(line, device_minor, 16) && take_character(line, ' ') &&
                          take_number(line, mapping.file.inode, 10);
  if (!is_mapping || end < begin) return std::nullopt;
  const std::size_t path = line.find_first_not_of(' ');
  if (path != std::string_view::npos) mapping.file.path = line.substr(path);
  mapping.file.device = ::makedev(device_major, device_minor);
  mapping.size_bytes = end - begin;
  return mapping;
}

// "Pss:   12 kB" adds to the sum that it is about.
void add_figure(std::string_view line, MappedMemory& memory) {
  const auto value = [&](std::string_view name) -> std::uint64_t {
    if (!line.starts_with(name)) return 0;
    std::string_view rest = line.substr(name.size());
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    std::uint64_t kib = 0;
    return take_number(rest, kib, 10) ? kib * 1024 : 0;
  };
  memory.resident_bytes += value("Rss:");
  memory.proportional_bytes += value("Pss:");
  const std::uint64_t copied = value("Anonymous:") + value("Swap:");
  memory.anonymous_bytes += copied;
}

// maps costs little, smaps a walk over all page tables: it is read only where there is something to find.
bool maps_any(std::uint32_t pid, const std::function<bool(const MappedFile&)>& is_wanted) {
  std::ifstream maps(proc_path(pid, "maps"));
  for (std::string line; std::getline(maps, line);) {
    const auto mapping = parse_mapping(line);
    if (mapping && mapping->file.inode != 0 && is_wanted(mapping->file)) return true;
  }
  return false;
}

}  // namespace

std::vector<std::uint32_t> visible_processes() {
  std::vector<std::uint32_t> found;
  for (const std::string& name : list_directory("/proc")) {
    std::uint32_t pid = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error == std::errc() && end == name.data() + name.size()) found.push_back(pid);
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::optional<MappedMemory> mapped_memory(std::uint32_t pid, const std::function<bool(const MappedFile&)>& is_wanted) {
  if (!maps_any(pid, is_wanted)) return std::nullopt;
  std::ifstream smaps(proc_path(pid, "smaps"));
  MappedMemory memory;
  bool is_in_wanted = false, found = false;
  for (std::string line; std::getline(smaps, line);) {
    if (const auto mapping = parse_mapping(line)) {
      is_in_wanted = mapping->file.inode != 0 && is_wanted(mapping->file);
      if (is_in_wanted) memory.size_bytes += mapping->size_bytes;
      found = found || is_in_wanted;
    } else if (is_in_wanted) {
      add_figure(line, memory);
    }
  }
  return found ? std::optional(memory) : std::nullopt;
}

std::optional<ProcessIdentity> process_identity(std::uint32_t pid) {
  std::ifstream status(proc_path(pid, "status"));
  if (!status) return std::nullopt;
  ProcessIdentity identity{.inner_pid = pid};
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("Name:\t")) identity.name = line.substr(6);
    if (!line.starts_with("NSpid:")) continue;
    std::istringstream numbers(line.substr(6));  // from the outermost namespace that we see to its own
    while (numbers >> identity.inner_pid) continue;
  }
  struct stat pid_namespace {};
  if (::stat(proc_path(pid, "ns/pid").c_str(), &pid_namespace) == 0) identity.pid_namespace = pid_namespace.st_ino;
  return identity;
}

}  // namespace tenon
