#include "mmap/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <cstdio>
#include <limits>
#include <memory>
#include <system_error>
#include <utility>

#include "mmap/locked_descriptors.h"
#include "mmap/seeded_bug.h"
#include "mmap/standard_descriptors.h"

namespace tenon {
namespace {

constexpr std::uint64_t largest_offset = std::numeric_limits<off_t>::max();

int open_existing(const std::filesystem::path& path, File::Access access) noexcept;
bool says_not_there(int error) noexcept;
std::vector<std::byte> read_whole(const File& file, std::uint64_t limit_bytes);
std::filesystem::path parent_of(const std::filesystem::path& path);
std::filesystem::path temporary_beside(const std::filesystem::path& path);
int rename_without_replacing(const char* from, const char* to) noexcept;
[[noreturn]] void throw_exists(const std::filesystem::path& path);
[[noreturn]] void throw_ends_early(const File& file, std::uint64_t offset, std::uint64_t size_bytes);
std::string hint_for(int error);

// Repeats a system call that a signal interrupted. Not for close(), whose descriptor is gone either way.
template <typename Call>
auto retry_interrupted(Call call) {
  auto result = call();
  while (result == -1 && errno == EINTR && !seeded_bug("eintr_ignored")) result = call();
  return result;
}

}  // namespace

File::File(int descriptor, std::filesystem::path path) noexcept : descriptor_(descriptor), path_(std::move(path)) {}

File File::open(const std::filesystem::path& path, Access access) {
  const int descriptor = open_existing(path, access);
  if (descriptor < 0) throw_errno(errno, "cannot open", path);
  return File(descriptor, path);
}

std::optional<File> File::try_open(const std::filesystem::path& path, Access access) {
  const int descriptor = open_existing(path, access);
  if (descriptor >= 0) return File(descriptor, path);
  if (!says_not_there(errno)) throw_errno(errno, "cannot open", path);
  return std::nullopt;
}

File File::open_from(const std::filesystem::path& path, std::uint64_t begin) {
  File file = open(path);
  const std::uint64_t size_bytes = file.size_bytes();
  if (begin > size_bytes) {
    throw Error(ErrorKind::invalid_argument, {.what = "file ends before the place where reading should begin",
                                              .file = path.string(),
                                              .got = std::to_string(begin),
                                              .wanted = "at most " + std::to_string(size_bytes)});
  }
  file.begin_ = begin;
  return file;
}

File File::create(const std::filesystem::path& path) {
  const int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY;
  const int descriptor =
      standard_descriptors::avoid(retry_interrupted([&] { return ::open(path.c_str(), flags, 0666); }));
  if (descriptor < 0 && errno == EEXIST) throw_exists(path);
  if (descriptor < 0) throw_errno(errno, "cannot create", path);
  return File(descriptor, path);
}

std::optional<File> File::create_unnamed(const std::filesystem::path& directory) {
  const int flags = O_TMPFILE | O_RDWR | O_CLOEXEC | O_NOCTTY;
  const int descriptor =
      standard_descriptors::avoid(retry_interrupted([&] { return ::open(directory.c_str(), flags, 0666); }));
  if (descriptor >= 0) return File(descriptor, directory);
  if (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL) return std::nullopt;
  throw_errno(errno, "cannot create a file in", directory);
}

File::File(File&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)), begin_(other.begin_) {}

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    close();
    descriptor_ = std::exchange(other.descriptor_, -1);
    path_ = std::move(other.path_);
    begin_ = other.begin_;
  }
  return *this;
}

File::~File() { close(); }

void File::start_writeback(std::uint64_t offset, std::uint64_t size_bytes) noexcept {
  (void)::sync_file_range(descriptor_, static_cast<off64_t>(offset), static_cast<off64_t>(size_bytes),
                          SYNC_FILE_RANGE_WRITE);
}

void File::make_read_only() {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0 || ::fchmod(descriptor_, status.st_mode & 0555) != 0) {
    throw_errno(errno, "cannot make the file read-only", path_);
  }
}

void File::close() noexcept {
  if (descriptor_ >= 0) locked_descriptors::close(std::exchange(descriptor_, -1));
}

std::uint64_t File::size_bytes() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) throw_errno(errno, "cannot ask for the size", path_);
  const auto size_bytes = static_cast<std::uint64_t>(status.st_size);
  return size_bytes - std::min(begin_, size_bytes);  // it may have been cut since
}

std::uint64_t File::inode() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) throw_errno(errno, "cannot ask for the inode", path_);
  return status.st_ino;
}

void File::read_at(std::uint64_t offset, std::span<std::byte> out) const {
  const std::uint64_t readable = largest_offset - begin_;
  if (offset > readable || out.size() > readable - offset) throw_ends_early(*this, offset, out.size());
  for (std::size_t done = 0; done < out.size();) {
    const auto at = static_cast<off_t>(begin_ + offset + done);
    const auto got = retry_interrupted([&] { return ::pread(descriptor_, out.data() + done, out.size() - done, at); });
    if (got < 0) throw_errno(errno, "cannot read", path_, offset + done);
    if (got == 0) throw_ends_early(*this, offset, out.size());
    done += static_cast<std::size_t>(got);
  }
}

void File::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  assert(begin_ == 0);
  if (offset > largest_offset || bytes.size() > largest_offset - offset) {
    throw_errno(EFBIG, "cannot write", path_, offset);
  }
  for (std::size_t done = 0; done < bytes.size();) {
    const auto at = static_cast<off_t>(offset + done);
    const auto put =
        retry_interrupted([&] { return ::pwrite(descriptor_, bytes.data() + done, bytes.size() - done, at); });
    // Nothing written and no reason given would loop for ever.
    if (put <= 0) throw_errno(put < 0 ? errno : EIO, "cannot write", path_, offset + done);
    done += seeded_bug("short_write_ignored") ? bytes.size() : static_cast<std::size_t>(put);
  }
}

void File::reserve(std::uint64_t offset, std::uint64_t size_bytes) {
  if (size_bytes == 0) return;
  if (offset > largest_offset || size_bytes > largest_offset - offset) {
    throw_errno(EFBIG, "cannot reserve space", path_, offset);
  }
  const int result = retry_interrupted([&] {
    return ::fallocate(descriptor_, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(size_bytes));
  });
  if (result != 0 && errno != EOPNOTSUPP && errno != ENOSYS) throw_errno(errno, "cannot reserve space", path_, offset);
}

void File::discard(std::uint64_t offset, std::uint64_t size_bytes) {
  if (offset > largest_offset || size_bytes > largest_offset - offset) {
    throw_errno(EFBIG, "cannot give space back", path_, offset);
  }
  const int result = retry_interrupted([&] {
    return ::fallocate(descriptor_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                       static_cast<off_t>(size_bytes));
  });
  if (result != 0 && errno != EOPNOTSUPP && errno != ENOSYS) {
    throw_errno(errno, "cannot give space back", path_, offset);
  }
}

void File::truncate(std::uint64_t size_bytes) {
  if (size_bytes > largest_offset) throw_errno(EFBIG, "cannot set the size", path_, size_bytes);
  const int result = retry_interrupted([&] { return ::ftruncate(descriptor_, static_cast<off_t>(size_bytes)); });
  if (result != 0) throw_errno(errno, "cannot set the size", path_, size_bytes);
}

// An interrupted sync has reported nothing yet, so it may be repeated. After any other error the kernel has marked the
// pages clean: a second sync would succeed without having written them.
void File::sync() {
  if (retry_interrupted([&] { return ::fsync(descriptor_); }) == 0) return;
  if (seeded_bug("fsync_retried") && ::fsync(descriptor_) == 0) return;
  throw_errno(errno, "cannot make durable", path_);
}

void File::sync_data() {
  if (retry_interrupted([&] { return ::fdatasync(descriptor_); }) != 0) {
    throw_errno(errno, "cannot make durable", path_);
  }
}

std::vector<std::byte> read_file(const std::filesystem::path& path, std::uint64_t limit_bytes) {
  return read_whole(File::open(path), limit_bytes);
}

std::optional<std::vector<std::byte>> try_read_file(const std::filesystem::path& path, std::uint64_t limit_bytes) {
  const std::optional<File> file = File::try_open(path);
  if (!file) return std::nullopt;
  return read_whole(*file, limit_bytes);
}

bool file_exists(const std::filesystem::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) return true;
  if (!says_not_there(errno)) throw_errno(errno, "cannot look up", path);
  return false;
}

void sync_directory(const std::filesystem::path& directory) { File::open(directory).sync(); }

void replace_file(const std::filesystem::path& path, std::span<const std::byte> bytes, bool durable) {
  const std::filesystem::path temporary = temporary_beside(path);
  File file = File::create(temporary);
  try {
    file.write_at(0, bytes);
    if (durable) file.sync();
    file.close();
    rename_file(temporary, path);
  } catch (...) {
    (void)::unlink(temporary.c_str());  // the first failure is what the caller must hear of
    throw;
  }
  if (durable) sync_directory(parent_of(path));
}

void rename_file(const std::filesystem::path& from, const std::filesystem::path& to, bool no_replace) {
  const int result =
      no_replace ? rename_without_replacing(from.c_str(), to.c_str()) : ::rename(from.c_str(), to.c_str());
  if (result == 0) return;
  if (no_replace && errno == EEXIST) throw_exists(to);
  throw_errno(errno, "cannot rename to " + to.string(), from);
}

bool link_file(const File& file, const std::filesystem::path& path) {
  const std::string open_file = "/proc/self/fd/" + std::to_string(file.descriptor());
  if (::linkat(AT_FDCWD, open_file.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0) return true;
  if (errno == EEXIST) return false;
  throw_errno(errno, "cannot give a file its name", path);
}

bool remove_file(const std::filesystem::path& path) {
  if (::unlink(path.c_str()) == 0) return true;
  if (!says_not_there(errno)) throw_errno(errno, "cannot remove", path);
  return false;
}

void make_directory(const std::filesystem::path& path) {
  if (::mkdir(path.c_str(), 0777) == 0) return;
  if (errno == EEXIST) throw_exists(path);
  throw_errno(errno, "cannot make the directory", path);
}

std::vector<std::string> list_directory(const std::filesystem::path& path) {
  const auto close_directory = [](DIR* directory) { ::closedir(directory); };
  const std::unique_ptr<DIR, decltype(close_directory)> directory(::opendir(path.c_str()));
  if (!directory) throw_errno(errno, "cannot list", path);
  std::vector<std::string> names;
  for (;;) {
    errno = 0;  // the only way to tell the end from a failure
    const dirent* const entry = ::readdir(directory.get());
    if (entry == nullptr && errno != 0) throw_errno(errno, "cannot list", path);
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool is_network_file_system(const std::filesystem::path& path, std::string& name) {
  struct Kind {
    std::uint32_t magic;
    const char* name;
  };
  static constexpr std::array kinds{
      Kind{NFS_SUPER_MAGIC, "NFS"},     Kind{CIFS_SUPER_MAGIC, "CIFS"}, Kind{SMB_SUPER_MAGIC, "SMB"},
      Kind{SMB2_SUPER_MAGIC, "SMB"},    Kind{V9FS_MAGIC, "9p"},         Kind{FUSE_SUPER_MAGIC, "FUSE"},
      Kind{CEPH_SUPER_MAGIC, "CephFS"}, Kind{AFS_SUPER_MAGIC, "AFS"},   Kind{0x0bd00bd0, "Lustre"},
  };
  struct statfs status {};
  if (retry_interrupted([&] { return ::statfs(path.c_str(), &status); }) != 0) {
    throw_errno(errno, "cannot ask for the file system", path);
  }
  // f_type is signed and as wide as a register; the magic numbers are 32 bits.
  const auto magic = static_cast<std::uint32_t>(status.f_type);
  const auto* const kind = std::find_if(kinds.begin(), kinds.end(), [&](const Kind& k) { return k.magic == magic; });
  if (kind == kinds.end()) return false;
  name = kind->name;
  return true;
}

void random_bytes(std::span<std::byte> out) {
  for (std::size_t done = 0; done < out.size();) {
    const auto got = retry_interrupted([&] { return ::getrandom(out.data() + done, out.size() - done, 0); });
    if (got < 0) throw_errno(errno, "cannot get random bytes from the kernel", {});
    done += static_cast<std::size_t>(got);
  }
}

void throw_errno(int error, std::string what, const std::filesystem::path& path, std::optional<std::uint64_t> offset) {
  const bool is_full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  const ErrorKind kind = is_full ? ErrorKind::full : says_not_there(error) ? ErrorKind::not_found : ErrorKind::io;
  throw Error(kind, {.what = std::move(what),
                     .file = path.string(),
                     .offset = offset,
                     .got = std::generic_category().message(error),
                     .hint = hint_for(error)});
}

namespace {

int open_existing(const std::filesystem::path& path, File::Access access) noexcept {
  // O_NONBLOCK: a FIFO that stands where a file should must not make us wait for its writer. Files ignore it.
  const int flags = (access == File::Access::read ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  return standard_descriptors::avoid(retry_interrupted([&] { return ::open(path.c_str(), flags); }));
}

bool says_not_there(int error) noexcept { return error == ENOENT || error == ENOTDIR; }

std::vector<std::byte> read_whole(const File& file, std::uint64_t limit_bytes) {
  const std::uint64_t size_bytes = file.size_bytes();
  if (size_bytes > limit_bytes) {
    throw Error(ErrorKind::limit, {.what = "file is larger than it can be",
                                   .file = file.path().string(),
                                   .got = std::to_string(size_bytes) + " bytes",
                                   .wanted = "at most " + std::to_string(limit_bytes)});
  }
  std::vector<std::byte> bytes(size_bytes);
  file.read_at(0, bytes);
  return bytes;
}

std::filesystem::path parent_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

std::filesystem::path temporary_beside(const std::filesystem::path& path) {
  std::uint64_t number = 0;
  random_bytes(std::as_writable_bytes(std::span(&number, 1)));
  std::array<char, 24> suffix{};
  std::snprintf(suffix.data(), suffix.size(), ".%016llx.tmp", static_cast<unsigned long long>(number));
  std::filesystem::path temporary = path;
  temporary += suffix.data();
  return temporary;
}

// Where the file system has no RENAME_NOREPLACE, a second link and the removal of the first do the same, since link(2)
// never replaces; a crash between the two leaves one file under both names.
int rename_without_replacing(const char* from, const char* to) noexcept {
  const int result = ::renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
  if (result == 0 || (errno != EINVAL && errno != ENOSYS)) return result;
  return ::link(from, to) == 0 ? ::unlink(from) : -1;
}

void throw_exists(const std::filesystem::path& path) {
  throw Error(ErrorKind::conflict, {.what = "already exists", .file = path.string()});
}

void throw_ends_early(const File& file, std::uint64_t offset, std::uint64_t size_bytes) {
  throw Error(ErrorKind::corrupt, {.what = "file ends early",
                                   .file = file.path().string(),
                                   .offset = offset,
                                   .got = "a file of " + std::to_string(file.size_bytes()) + " bytes",
                                   .wanted = std::to_string(size_bytes) + " bytes from there"});
}

std::string hint_for(int error) {
  switch (error) {
    case EACCES:
    case EPERM:
      return "check who owns it and its permissions";
    case EROFS:
      return "the file system is mounted read-only";
    case ENOSPC:
      return "free some space there and try again";
    case EDQUOT:
      return "the user's quota is used up";
    case EFBIG:
      return "the file system or `ulimit -f` allows no file so large";
    case EMFILE:
    case ENFILE:
      return "raise the limit on open files (`ulimit -n`)";
    case EIO:
      return "the device may be failing: see the kernel's log";
    default:
      return {};
  }
}

}  // namespace
}  // namespace tenon
