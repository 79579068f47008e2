#include "formats/pickle_stream.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace tenon {

namespace {

constexpr std::uint64_t first_window_bytes = std::uint64_t{64} << 10;
constexpr std::uint64_t window_growth = 4;
constexpr std::uint64_t max_pickle_bytes = std::uint64_t{2} << 30;

}  // namespace

PickleStream::PickleStream(std::shared_ptr<const File> file, std::uint64_t begin, std::uint64_t end, std::string label)
    : file_(std::move(file)), offset_(begin), end_(end), label_(std::move(label)), window_begin_(begin) {}

PickleGraph PickleStream::next(PickleReadOptions options, const std::function<void()>& before_reading) {
  options.file = label_;
  options.base_offset = offset_;
  for (;;) {
    if (before_reading) before_reading();
    options.owner = window_;
    try {
      auto result = read_pickle(window(), options);
      offset_ += result.consumed_bytes;
      return std::move(result.graph);
    } catch (const PickleEndsEarly&) {
      options.owner.reset();  // or what was read in vain stays beside what is read anew
      if (!read_more(std::max(first_window_bytes, window_growth * window().size()))) throw;
    }
  }
}

void PickleStream::skip(std::uint64_t size_bytes, const std::string& what) {
  if (size_bytes > remaining()) {
    throw Error(ErrorKind::corrupt, {.what = what + " ends early",
                                     .file = label_,
                                     .offset = offset_,
                                     .got = fmt::format("{} bytes", remaining()),
                                     .wanted = fmt::format("{} bytes", size_bytes)});
  }
  offset_ += size_bytes;
}

// What was read ahead and not used yet.
std::span<const std::byte> PickleStream::window() const noexcept {
  if (!window_ || offset_ >= window_begin_ + window_->size()) return {};
  return std::span(*window_).subspan(static_cast<std::size_t>(offset_ - window_begin_));
}

// False if there is no more. Reads anew from the offset on.
bool PickleStream::read_more(std::uint64_t wanted) {
  const std::uint64_t had = window().size();
  const std::uint64_t available = std::min({wanted, remaining(), max_pickle_bytes});
  if (available <= had) return false;
  release();
  std::vector<std::byte> bytes(static_cast<std::size_t>(available));
  file_->read_at(offset_, bytes);
  window_ = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  window_begin_ = offset_;
  return true;
}

// Little-endian.
std::uint64_t PickleStream::next_bytes(std::size_t count) {
  if (window().size() < count) read_more(first_window_bytes);
  const auto bytes = window();
  skip(count, "number");
  std::uint64_t value = 0;
  for (std::size_t i = count; i-- > 0;) value = (value << 8) | std::to_integer<std::uint64_t>(bytes[i]);
  return value;
}

}  // namespace tenon
