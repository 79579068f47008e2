#include "mmap/machine.h"

#include <linux/magic.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

#include <fstream>
#include <sstream>

#include "mmap/file.h"
#include "mmap/mapping.h"

namespace tenon {
namespace {

constexpr long xfs_magic = 0x58465342;
constexpr long btrfs_magic = 0x9123683E;
constexpr long zfs_magic = 0x2FC12FC1;

std::string kind_of(long magic) {
  switch (magic) {
    case EXT4_SUPER_MAGIC:
      return "ext4";
    case xfs_magic:
      return "xfs";
    case btrfs_magic:
      return "btrfs";
    case zfs_magic:
      return "zfs";
    case TMPFS_MAGIC:
      return "tmpfs";
    case OVERLAYFS_SUPER_MAGIC:
      return "overlay";
    default:
      break;
  }
  std::ostringstream hex;
  hex << "0x" << std::hex << magic;
  return hex.str();
}

Limit limit_of(int resource) noexcept {
  rlimit limit{};
  if (::getrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0) return {};
  const auto value = [](rlim_t one) { return one == RLIM_INFINITY ? UINT64_MAX : std::uint64_t{one}; };
  return {value(limit.rlim_cur), value(limit.rlim_max)};
}

}  // namespace

std::optional<FileSystem> file_system_of(const std::filesystem::path& path) {
  struct statfs status {};
  struct statvfs flags {};
  if (::statfs(path.c_str(), &status) != 0 || ::statvfs(path.c_str(), &flags) != 0) return std::nullopt;
  FileSystem found{.kind = kind_of(status.f_type)};
  std::string network;
  found.is_network = is_network_file_system(path, network);
  if (found.is_network) found.kind = network;
  found.is_read_only = (flags.f_flag & ST_RDONLY) != 0;
  found.free_bytes = std::uint64_t{flags.f_bavail} * flags.f_frsize;
  found.free_files = flags.f_favail;
  return found;
}

Limit open_files_limit() noexcept { return limit_of(RLIMIT_NOFILE); }
Limit locked_memory_limit() noexcept { return limit_of(RLIMIT_MEMLOCK); }

std::optional<std::uint64_t> number_in(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::uint64_t number = 0;
  return in >> number ? std::optional(number) : std::nullopt;
}

std::string choice_in(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  const std::size_t begin = line.find('['), end = line.find(']');
  return begin == std::string::npos || end == std::string::npos ? "" : line.substr(begin + 1, end - begin - 1);
}

bool can_populate_read() noexcept {
  try {
    const Mapping page = Mapping::anonymous(page_bytes());
    return page.populate_read(0, page.size_bytes());
  } catch (const std::exception&) {
    return false;  // not even a page of memory
  }
}

}  // namespace tenon
