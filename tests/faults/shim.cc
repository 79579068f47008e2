// A library to be preloaded: stands before the calls by which a program changes files, counts them, makes one of them
// go wrong (fault_plan.h says which and how), and can write all of them down (recorder.h).
//
// A preloaded library sees what goes through the dynamic linker. Calls that libc makes inside itself (stdio) or by
// syscall(2) pass it by: sweep.py compares with strace that none does.

// With 64-bit offsets asked for, the headers would rename open() and its kin to open64(), and both are defined here.
#undef _FILE_OFFSET_BITS

#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "tests/faults/fault_plan.h"
#include "tests/faults/recorder.h"

static_assert(sizeof(off_t) == 8 && sizeof(off64_t) == 8);

namespace tenon::faults {
namespace {

// `path` as seen from the root, or as it is where that cannot be known.
void make_absolute(int directory, const char* path, char (&out)[PATH_MAX]) {
  char base[PATH_MAX] = {};
  if (path[0] != '/') {
    char link[64];
    std::snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    const ssize_t size = ::readlink(directory == AT_FDCWD ? "/proc/self/cwd" : link, base, sizeof base - 1);
    if (size < 0) base[0] = '\0';
  }
  if (std::snprintf(out, sizeof out, "%s%s%s", base, path[0] == '/' ? "" : "/", path) >= PATH_MAX) out[0] = '\0';
}

void path_of(int descriptor, char (&out)[PATH_MAX]) {
  char link[64];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t size = ::readlink(link, out, sizeof out - 1);
  out[size < 0 ? 0 : size] = '\0';
}

Call call_on(const char* name, CallKind kind, int descriptor, std::size_t size_bytes = 0) {
  Call call{name, kind, size_bytes};
  path_of(descriptor, call.path);
  return call;
}

Call call_at(const char* name, CallKind kind, int directory, const char* path) {
  Call call{name, kind};
  make_absolute(directory, path, call.path);
  return call;
}

// Makes a call that is no write. `perform` returns -1 and sets errno on failure; `record` runs after a success.
template <typename Perform, typename Record>
int intercept(const Call& call, Perform perform, Record record) {
  const Decision decision = decide(call);
  if (decision.action == Action::none) return static_cast<int>(perform());
  if (decision.action == Action::die_before) die();
  if (decision.action == Action::fail) {
    errno = decision.error;
    return -1;
  }
  const RecordLock lock;
  const int result = static_cast<int>(perform());
  if (decision.action == Action::die_halfway) die();
  if (result >= 0) record(result);
  return result;
}

std::size_t total_bytes(const iovec* pieces, int count) {
  std::size_t total = 0;
  for (int i = 0; i < count; ++i) total += pieces[i].iov_len;
  return total;
}

// All writes are one: pieces, at an offset or (offset < 0) where the descriptor stands.
ssize_t perform_write(int descriptor, const iovec* pieces, int count, off_t offset) {
  return offset < 0 ? ::syscall(SYS_writev, descriptor, pieces, count)
                    : ::syscall(SYS_pwritev, descriptor, pieces, count, offset, 0L);
}

// How much of a torn write is done: about half, up to the end of a sector; what lies within one sector is written whole
// or not at all, by disks as by the page cache, and LMDB counts on it.
std::size_t torn_bytes(off_t at, std::size_t size_bytes) {
  constexpr std::size_t sector = 512;
  const std::size_t before = static_cast<std::size_t>(at) % sector;
  const std::size_t half = (before + size_bytes / 2) / sector * sector;
  const std::size_t end = half > before ? half : sector;
  return end < before + size_bytes ? end - before : size_bytes;
}

// Writes that many of the bytes.
ssize_t write_part(int descriptor, const iovec* pieces, int count, off_t offset, std::size_t left) {
  ssize_t done = 0;
  for (int i = 0; i < count && left > 0; ++i) {
    const iovec part{pieces[i].iov_base, pieces[i].iov_len < left ? pieces[i].iov_len : left};
    const ssize_t written = perform_write(descriptor, &part, 1, offset < 0 ? offset : offset + done);
    if (written < 0) return done > 0 ? done : written;
    done += written;
    if (static_cast<std::size_t>(written) < part.iov_len) break;
    left -= part.iov_len;
  }
  return done;
}

ssize_t intercept_write(const char* name, int descriptor, const iovec* pieces, int count, off_t offset) {
  const Decision decision = decide(call_on(name, CallKind::write, descriptor, total_bytes(pieces, count)));
  if (decision.action == Action::none) return perform_write(descriptor, pieces, count, offset);
  if (decision.action == Action::die_before) die();
  if (decision.action == Action::fail) {
    errno = decision.error;
    return -1;
  }
  const RecordLock lock;
  const off_t at = offset < 0 ? next_offset(descriptor) : offset;
  const std::size_t total = total_bytes(pieces, count);
  const std::size_t wanted = decision.action == Action::do_half       ? total / 2
                             : decision.action == Action::die_halfway ? torn_bytes(at, total)
                                                                      : total;
  const ssize_t written = wanted == total ? perform_write(descriptor, pieces, count, offset)
                                          : write_part(descriptor, pieces, count, offset, wanted);
  if (decision.action == Action::die_halfway) die();
  if (written > 0) record_write(descriptor, at, pieces, count, static_cast<std::size_t>(written));
  return written;
}

int intercept_open(const char* name, int directory, const char* path, int flags, mode_t mode) {
  const auto perform = [&] { return ::syscall(SYS_openat, directory, path, flags, mode); };
  if ((flags & O_CREAT) == 0) return static_cast<int>(perform());  // O_TRUNC alone is used by nobody
  const Call call = call_at(name, CallKind::entry, directory, path);
  const bool was_there = exists(call.path);
  return intercept(call, perform, [&](int descriptor) {
    if (!was_there) {
      record_entry("create", call.path);
    } else if ((flags & O_TRUNC) != 0) {
      record_size(descriptor);
    }
  });
}

int intercept_rename(const char* name, int from_directory, const char* from, int to_directory, const char* to,
                     unsigned flags) {
  const Call source = call_at(name, CallKind::entry, from_directory, from);
  const Call target = call_at(name, CallKind::entry, to_directory, to);
  return intercept(
      target, [&] { return ::syscall(SYS_renameat2, from_directory, from, to_directory, to, flags); },
      [&](int) { record_rename(source.path, target.path); });
}

int intercept_removal(const char* name, int directory, const char* path, int flags) {
  const Call call = call_at(name, CallKind::removal, directory, path);
  return intercept(
      call, [&] { return ::syscall(SYS_unlinkat, directory, path, flags); },
      [&](int) { record_removal((flags & AT_REMOVEDIR) != 0 ? "rmdir" : "unlink", call.path); });
}

int intercept_link(const char* name, int from_directory, const char* from, int to_directory, const char* to,
                   int flags) {
  const Call call = call_at(name, CallKind::entry, to_directory, to);
  return intercept(
      call, [&] { return ::syscall(SYS_linkat, from_directory, from, to_directory, to, flags); },
      [&](int) { record_entry("link", call.path); });
}

int intercept_mkdir(const char* name, int directory, const char* path, mode_t mode) {
  const Call call = call_at(name, CallKind::entry, directory, path);
  return intercept(
      call, [&] { return ::syscall(SYS_mkdirat, directory, path, mode); },
      [&](int) { record_entry("mkdir", call.path); });
}

int intercept_sync(const char* name, int descriptor, long number) {
  return intercept(
      call_on(name, CallKind::sync, descriptor), [&] { return ::syscall(number, descriptor); },
      [&](int) { record_sync(descriptor); });
}

int intercept_space(const char* name, int descriptor, int mode, off_t offset, off_t size) {
  return intercept(
      call_on(name, CallKind::space, descriptor),
      [&] { return ::syscall(SYS_fallocate, descriptor, mode, offset, size); },
      [&](int) {
        if ((mode & FALLOC_FL_KEEP_SIZE) == 0) record_size(descriptor);
      });
}

int intercept_truncate(const char* name, int descriptor, off_t size) {
  return intercept(
      call_on(name, CallKind::space, descriptor), [&] { return ::syscall(SYS_ftruncate, descriptor, size); },
      [&](int) { record_size(descriptor); });
}

// The file that is mapped at `address`; empty if there is none.
void path_of_mapping(const void* address, char (&out)[PATH_MAX]) {
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  out[0] = '\0';
  std::FILE* const maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) return;
  char line[PATH_MAX + 128];
  while (std::fgets(line, sizeof line, maps) != nullptr) {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    if (std::sscanf(line, "%lx-%lx", &begin, &end) != 2 || wanted < begin || wanted >= end) continue;
    const char* const path = std::strchr(line, '/');
    if (path != nullptr) std::snprintf(out, sizeof out, "%.*s", static_cast<int>(std::strcspn(path, "\n")), path);
    break;
  }
  std::fclose(maps);
}

int intercept_msync(void* address, std::size_t size, int flags) {
  Call call{"msync", CallKind::sync};
  path_of_mapping(address, call.path);
  return intercept(
      call, [&] { return ::syscall(SYS_msync, address, size, flags); }, [](int) { refuse_to_record("msync"); });
}

// Power cuts are not concerned with permissions: not recorded.
int intercept_chmod(const char* name, int descriptor, mode_t mode) {
  return intercept(
      call_on(name, CallKind::attribute, descriptor), [&] { return ::syscall(SYS_fchmod, descriptor, mode); },
      [](int) {});
}

mode_t mode_argument(int flags, va_list arguments) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}

}  // namespace
}  // namespace tenon::faults

// The names as libc exports them; each is one line to the function that does the work.
#pragma GCC visibility push(default)
extern "C" {

using namespace tenon::faults;

ssize_t write(int descriptor, const void* bytes, size_t size) {
  const iovec piece{const_cast<void*>(bytes), size};
  return intercept_write("write", descriptor, &piece, 1, -1);
}

ssize_t pwrite(int descriptor, const void* bytes, size_t size, off_t offset) {
  const iovec piece{const_cast<void*>(bytes), size};
  return intercept_write("pwrite", descriptor, &piece, 1, offset);
}

ssize_t pwrite64(int descriptor, const void* bytes, size_t size, off64_t offset) {
  const iovec piece{const_cast<void*>(bytes), size};
  return intercept_write("pwrite64", descriptor, &piece, 1, offset);
}

ssize_t writev(int descriptor, const iovec* pieces, int count) {
  return intercept_write("writev", descriptor, pieces, count, -1);
}

ssize_t pwritev(int descriptor, const iovec* pieces, int count, off_t offset) {
  return intercept_write("pwritev", descriptor, pieces, count, offset);
}

ssize_t pwritev64(int descriptor, const iovec* pieces, int count, off64_t offset) {
  return intercept_write("pwritev64", descriptor, pieces, count, offset);
}

int fsync(int descriptor) { return intercept_sync("fsync", descriptor, SYS_fsync); }
int fdatasync(int descriptor) { return intercept_sync("fdatasync", descriptor, SYS_fdatasync); }

int msync(void* address, size_t size, int flags) { return intercept_msync(address, size, flags); }

int fchmod(int descriptor, mode_t mode) noexcept { return intercept_chmod("fchmod", descriptor, mode); }

int ftruncate(int descriptor, off_t size) noexcept { return intercept_truncate("ftruncate", descriptor, size); }
int ftruncate64(int descriptor, off64_t size) noexcept { return intercept_truncate("ftruncate64", descriptor, size); }

// As on a file system that cannot: what it would copy is then written, where faults and the recorder see it.
ssize_t copy_file_range(int, off64_t*, int, off64_t*, size_t, unsigned) {
  errno = EOPNOTSUPP;
  return -1;
}

int fallocate(int descriptor, int mode, off_t offset, off_t size) {
  return intercept_space("fallocate", descriptor, mode, offset, size);
}

int fallocate64(int descriptor, int mode, off64_t offset, off64_t size) {
  return intercept_space("fallocate64", descriptor, mode, offset, size);
}

// Reports by its result and leaves errno alone.
int posix_fallocate(int descriptor, off_t offset, off_t size) {
  const int before = errno;
  const int result = intercept_space("posix_fallocate", descriptor, 0, offset, size) == 0 ? 0 : errno;
  errno = before;
  return result;
}

int posix_fallocate64(int descriptor, off64_t offset, off64_t size) {
  return posix_fallocate(descriptor, offset, size);
}

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_argument(flags, arguments);
  va_end(arguments);
  return intercept_open("open", AT_FDCWD, path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_argument(flags, arguments);
  va_end(arguments);
  return intercept_open("open64", AT_FDCWD, path, flags, mode);
}

int openat(int directory, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_argument(flags, arguments);
  va_end(arguments);
  return intercept_open("openat", directory, path, flags, mode);
}

int openat64(int directory, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_argument(flags, arguments);
  va_end(arguments);
  return intercept_open("openat64", directory, path, flags, mode);
}

int creat(const char* path, mode_t mode) {
  return intercept_open("open", AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int mkdir(const char* path, mode_t mode) noexcept { return intercept_mkdir("mkdir", AT_FDCWD, path, mode); }
int mkdirat(int directory, const char* path, mode_t mode) noexcept {
  return intercept_mkdir("mkdirat", directory, path, mode);
}

int rename(const char* from, const char* to) noexcept {
  return intercept_rename("rename", AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat(int from_directory, const char* from, int to_directory, const char* to) noexcept {
  return intercept_rename("renameat", from_directory, from, to_directory, to, 0);
}

int renameat2(int from_directory, const char* from, int to_directory, const char* to, unsigned flags) noexcept {
  return intercept_rename("renameat2", from_directory, from, to_directory, to, flags);
}

int link(const char* from, const char* to) noexcept { return intercept_link("link", AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int from_directory, const char* from, int to_directory, const char* to, int flags) noexcept {
  return intercept_link("linkat", from_directory, from, to_directory, to, flags);
}

int unlink(const char* path) noexcept { return intercept_removal("unlink", AT_FDCWD, path, 0); }
int unlinkat(int directory, const char* path, int flags) noexcept {
  return intercept_removal("unlinkat", directory, path, flags);
}
// libc's own would call its unlink() and rmdir() past the linker.
int remove(const char* path) noexcept {
  struct stat status {};
  const bool is_directory = ::lstat(path, &status) == 0 && S_ISDIR(status.st_mode);
  return intercept_removal("remove", AT_FDCWD, path, is_directory ? AT_REMOVEDIR : 0);
}

int rmdir(const char* path) noexcept { return intercept_removal("rmdir", AT_FDCWD, path, AT_REMOVEDIR); }

}  // extern "C"
#pragma GCC visibility pop
