// Fields and windows of an archive that is being understood.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mmap/file.h"

namespace tenon::zip {

// The little-endian field at `position`. REQUIRES: it lies within `bytes`.
template <typename T>
T field(std::span<const std::byte> bytes, std::size_t position) noexcept {
  assert(position + sizeof(T) <= bytes.size());
  T value;
  std::memcpy(&value, bytes.data() + position, sizeof(T));
  return value;
}

// Small records at mostly rising offsets before `end`, with one system call for several that lie together.
class Window {
 public:
  Window(const File& file, std::uint64_t end, std::size_t read_bytes)
      : file_(file), end_(end), read_bytes_(read_bytes) {}

  // Valid until the next call. Throws corrupt if it would reach past `end`; `what` names the record.
  std::span<const std::byte> at(std::uint64_t offset, std::size_t nbytes, const char* what) {
    if (offset > end_ || nbytes > end_ - offset) fail(offset, nbytes, what);
    if (offset < start_ || offset + nbytes > start_ + bytes_.size()) refill(offset, nbytes);
    return std::span(bytes_).subspan(offset - start_, nbytes);
  }
  std::uint64_t end() const noexcept { return end_; }

 private:
  void refill(std::uint64_t offset, std::size_t nbytes) {
    bytes_.resize(std::min<std::uint64_t>(std::max(nbytes, read_bytes_), end_ - offset));
    file_.read_at(offset, bytes_);
    start_ = offset;
  }
  [[noreturn]] void fail(std::uint64_t offset, std::size_t nbytes, const char* what) const {
    throw Error(ErrorKind::corrupt, {.what = std::string(what) + " runs past what precedes the next part",
                                     .file = file_.path().string(),
                                     .offset = offset,
                                     .got = std::to_string(offset < end_ ? end_ - offset : 0) + " bytes left",
                                     .wanted = std::to_string(nbytes) + " bytes"});
  }

  const File& file_;
  std::uint64_t end_;
  std::size_t read_bytes_;
  std::uint64_t start_ = 0;
  std::vector<std::byte> bytes_;
};

}  // namespace tenon::zip
