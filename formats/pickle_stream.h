// Pickles and numbers that follow each other in a part of a file, as torch's older formats have them. Where a pickle
// ends shows only when it was read, so bytes are read ahead in windows, as few as needed.
//
// Errors: as read_pickle; corrupt where a number does not fit what remains. Not for several threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "formats/pickle.h"
#include "mmap/file.h"

namespace tenon {

class PickleStream {
 public:
  // Of bytes [begin, end) of the file. `label` names them in messages.
  PickleStream(std::shared_ptr<const File> file, std::uint64_t begin, std::uint64_t end, std::string label);

  // `options` but for file and base_offset, which are filled in. A pickle may be read more than once, each time into
  // another graph and with all callbacks; `before_reading` is called before each time.
  PickleGraph next(PickleReadOptions options = {}, const std::function<void()>& before_reading = {});
  std::int64_t next_int64() { return static_cast<std::int64_t>(next_bytes(8)); }
  std::int32_t next_int32() { return static_cast<std::int32_t>(next_bytes(4)); }
  // Steps over `size_bytes`; `what` is said to end early if they are not there.
  void skip(std::uint64_t size_bytes, const std::string& what);

  // Forgets what was read ahead, which is read again if it is wanted.
  void release() noexcept { window_.reset(); }

  std::uint64_t offset() const noexcept { return offset_; }  // in the file
  std::uint64_t remaining() const noexcept { return end_ - offset_; }
  const std::string& label() const noexcept { return label_; }

 private:
  std::span<const std::byte> window() const noexcept;
  bool read_more(std::uint64_t wanted);
  std::uint64_t next_bytes(std::size_t count);

  std::shared_ptr<const File> file_;
  std::uint64_t offset_;
  std::uint64_t end_;
  std::string label_;
  std::uint64_t window_begin_ = 0;
  std::shared_ptr<const std::vector<std::byte>> window_;  // a graph may keep it for its texts
};

}  // namespace tenon
