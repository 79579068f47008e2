#include "mmap/file_copy.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

namespace tenon {
namespace {

constexpr std::uint64_t piece_bytes = 2 * 1024 * 1024;

bool means_not_supported(int error) {
  return error == EXDEV || error == EINVAL || error == ENOSYS || error == EOPNOTSUPP || error == EBADF ||
         error == EPERM || error == ETXTBSY;
}

void copy_by_hand(const File& from, File& to, std::uint64_t offset, std::uint64_t size_bytes) {
  std::vector<std::byte> buffer(std::min(piece_bytes, size_bytes));
  for (std::uint64_t done = 0; done < size_bytes; done += piece_bytes) {
    const auto piece = std::span(buffer).first(std::min(piece_bytes, size_bytes - done));
    from.read_at(offset + done, piece);
    to.write_at(offset + done, piece);
  }
}

}  // namespace

void copy_range(const File& from, File& to, std::uint64_t offset, std::uint64_t size_bytes) {
  while (size_bytes > 0) {
    auto in = static_cast<off64_t>(offset), out = in;
    const ssize_t copied = ::copy_file_range(from.descriptor(), &in, to.descriptor(), &out, size_bytes, 0);
    if (copied < 0 && errno == EINTR) continue;
    if (copied < 0 && !means_not_supported(errno)) throw_errno(errno, "cannot copy", to.path(), offset);
    // Nothing copied is the end of the file, or a file system that cannot: reading tells.
    if (copied <= 0) return copy_by_hand(from, to, offset, size_bytes);
    offset += static_cast<std::uint64_t>(copied);
    size_bytes -= static_cast<std::uint64_t>(copied);
  }
}

}  // namespace tenon
