#include "mmap/writable_mapping.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cassert>
#include <cerrno>
#include <utility>

#include "mmap/mapping.h"

namespace tenon {

// posix_fallocate writes zeros itself where the file system cannot set space aside.
WritableMapping::WritableMapping(File& file, std::uint64_t offset, std::uint64_t size_bytes) : size_bytes_(size_bytes) {
  assert(offset % page_bytes() == 0 && size_bytes != 0);
  int error = EINTR;
  while (error == EINTR) {
    error = ::posix_fallocate(file.descriptor(), static_cast<off_t>(offset), static_cast<off_t>(size_bytes));
  }
  if (error != 0) throw_errno(error, "cannot reserve space", file.path(), offset);
  void* const data =
      ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.descriptor(), static_cast<off_t>(offset));
  if (data == MAP_FAILED) {
    if (errno != ENOMEM) throw_errno(errno, "cannot map for writing", file.path(), offset);
    throw Error(ErrorKind::limit, {.what = "cannot map " + std::to_string(size_bytes) + " bytes for writing",
                                   .file = file.path().string(),
                                   .offset = offset});
  }
  data_ = static_cast<std::byte*>(data);
  if (::madvise(data, size_bytes, MADV_DONTFORK) != 0) {
    const int failure = errno;
    ::munmap(data, size_bytes);
    throw_errno(failure, "cannot keep memory from children", file.path(), offset);
  }
}

WritableMapping::WritableMapping(WritableMapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_bytes_(std::exchange(other.size_bytes_, 0)) {}

WritableMapping::~WritableMapping() {
  if (size_bytes_ != 0) ::munmap(data_, size_bytes_);
}

}  // namespace tenon
