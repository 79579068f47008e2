#include "tests/faults/recorder.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace tenon::faults {
namespace {

int record_file = -1;
pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

[[noreturn]] void give_up(const char* why) {
  std::fprintf(stderr, "fault shim: %s\n", why);
  ::_exit(120);
}

__attribute__((constructor)) void read_environment() {
  const char* const path = std::getenv("TENON_FAULT_RECORD");
  if (path == nullptr) return;
  const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
  record_file = static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, 0644));
  if (record_file < 0) give_up("cannot open TENON_FAULT_RECORD");
}

void put(const void* bytes, size_t size) {
  const char* at = static_cast<const char*>(bytes);
  while (size > 0) {
    const long done = ::syscall(SYS_write, record_file, at, size);
    if (done <= 0) give_up("cannot write the record");
    at += done;
    size -= static_cast<size_t>(done);
  }
}

__attribute__((format(printf, 1, 2))) void put_line(const char* format, ...) {
  char line[2 * PATH_MAX + 128];
  va_list arguments;
  va_start(arguments, format);
  const int size = std::vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  put(line, static_cast<size_t>(size));
}

struct stat status_of(int descriptor) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) give_up("fstat failed");
  return status;
}

unsigned long inode_at(const char* path) {
  struct stat status {};
  if (::lstat(path, &status) != 0) give_up("lstat failed");
  return status.st_ino;
}

}  // namespace

bool is_recording() { return record_file >= 0; }

RecordLock::RecordLock() {
  if (is_recording()) ::pthread_mutex_lock(&order);
}

RecordLock::~RecordLock() {
  if (is_recording()) ::pthread_mutex_unlock(&order);
}

off_t next_offset(int descriptor) {
  if ((::fcntl(descriptor, F_GETFL) & O_APPEND) != 0) return status_of(descriptor).st_size;
  return ::lseek(descriptor, 0, SEEK_CUR);
}

bool exists(const char* path) {
  struct stat status {};
  return ::lstat(path, &status) == 0;
}

void record_write(int descriptor, off_t offset, const iovec* pieces, int count, size_t written) {
  if (!is_recording()) return;
  const bool is_durable = (::fcntl(descriptor, F_GETFL) & O_DSYNC) != 0;  // O_SYNC has that bit, too
  put_line("write\t%lu\t%ld\t%zu\t%d\n", status_of(descriptor).st_ino, offset, written, is_durable ? 1 : 0);
  for (int i = 0; i < count && written > 0; ++i) {
    const size_t size = pieces[i].iov_len < written ? pieces[i].iov_len : written;
    put(pieces[i].iov_base, size);
    written -= size;
  }
}

void record_size(int descriptor) {
  if (!is_recording()) return;
  const struct stat status = status_of(descriptor);
  put_line("truncate\t%lu\t%ld\n", status.st_ino, status.st_size);
}

void record_sync(int descriptor) {
  if (is_recording()) put_line("sync\t%lu\n", status_of(descriptor).st_ino);
}

void record_entry(const char* operation, const char* path) {
  if (is_recording()) put_line("%s\t%lu\t%s\n", operation, inode_at(path), path);
}

void record_rename(const char* from, const char* to) {
  if (is_recording()) put_line("rename\t%lu\t%s\t%s\n", inode_at(to), from, to);
}

void refuse_to_record(const char* call) {
  if (is_recording()) give_up(call);
}

void record_removal(const char* operation, const char* path) {
  if (is_recording()) put_line("%s\t%s\n", operation, path);
}

}  // namespace tenon::faults
