#include "formats/inflate_stream.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <new>
#include <utility>

namespace tenon {

namespace {

constexpr std::size_t piece_bytes = 64 * 1024;
constexpr std::size_t window_bytes = 32 * 1024;  // as far back as DEFLATE refers
constexpr std::uint64_t least_span_bytes = std::uint64_t{4} << 20;
constexpr std::uint64_t max_points = 128;
constexpr std::size_t max_idle = 8;  // about as many as threads that commit

}  // namespace

// One run through the stream from some point on.
class InflateStream::Inflater {
 public:
  Inflater(const InflateStream& stream, const Point& from)
      : stream_(stream), inflated_(from.inflated), deflated_(from.deflated) {
    if (inflateInit2(&state_, -MAX_WBITS) != Z_OK) throw std::bad_alloc();
    if (from.bits != 0) prime(from);
    if (from.window.empty()) return;
    inflateSetDictionary(&state_, reinterpret_cast<const Bytef*>(from.window.data()),
                         static_cast<uInt>(from.window.size()));
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  ~Inflater() { inflateEnd(&state_); }

  std::uint64_t position() const noexcept { return inflated_; }
  bool is_at_end() const noexcept { return is_at_end_; }
  // Bytes of the stream that were not needed.
  std::uint64_t left() const noexcept { return stream_.deflated_bytes_ - deflated_ + state_.avail_in; }

  // Inflates into `out` until it is full or the stream ends, or with Z_BLOCK until a block ends. Returns how much.
  std::size_t inflate_some(std::span<std::byte> out, int flush) {
    state_.next_out = reinterpret_cast<Bytef*>(out.data());
    state_.avail_out = static_cast<uInt>(out.size());
    while (state_.avail_out != 0 && !is_at_end_) {
      const int result = inflate(&state_, flush);
      if (result == Z_BUF_ERROR && state_.avail_in == 0) {  // there may have been output without more input
        refill();
        continue;
      }
      if (result == Z_STREAM_END) is_at_end_ = true;
      if (result != Z_OK && result != Z_STREAM_END) throw InflateFailure("record does not inflate");
      if (flush == Z_BLOCK && is_between_blocks()) break;
    }
    const std::size_t got = out.size() - state_.avail_out;
    inflated_ += got;
    return got;
  }

  bool is_between_blocks() const noexcept { return (state_.data_type & 128) != 0 && (state_.data_type & 64) == 0; }

  Point point() {
    Point point{.inflated = inflated_, .deflated = deflated_ - state_.avail_in, .bits = state_.data_type & 7};
    point.window.resize(window_bytes);
    uInt length = 0;
    inflateGetDictionary(&state_, reinterpret_cast<Bytef*>(point.window.data()), &length);
    point.window.resize(length);
    return point;
  }

 private:
  void refill() {
    const std::uint64_t left = stream_.deflated_bytes_ - deflated_;
    if (left == 0) throw InflateFailure("record ends before its stream");
    const auto part = std::span(input_).first(static_cast<std::size_t>(std::min<std::uint64_t>(left, piece_bytes)));
    stream_.read_(deflated_, part);
    deflated_ += part.size();
    state_.next_in = reinterpret_cast<Bytef*>(part.data());
    state_.avail_in = static_cast<uInt>(part.size());
  }

  void prime(const Point& from) {
    std::byte before{};
    stream_.read_(from.deflated - 1, {&before, 1});
    inflatePrime(&state_, from.bits, std::to_integer<int>(before) >> (8 - from.bits));
  }

  const InflateStream& stream_;
  std::uint64_t inflated_;
  std::uint64_t deflated_;  // up to where it was read
  bool is_at_end_ = false;
  z_stream state_{};
  std::array<std::byte, piece_bytes> input_;
};

InflateStream::InflateStream(Read read, std::uint64_t deflated_bytes, std::uint64_t inflated_bytes, const Sink& sink)
    : read_(std::move(read)), deflated_bytes_(deflated_bytes), inflated_bytes_(inflated_bytes) {
  const std::uint64_t span = std::max(least_span_bytes, inflated_bytes / max_points + 1);
  points_.emplace_back();
  Inflater inflater(*this, points_.back());
  std::vector<std::byte> piece(piece_bytes);
  while (!inflater.is_at_end()) {
    const std::size_t got = inflater.inflate_some(piece, Z_BLOCK);
    if (inflater.position() > inflated_bytes) throw InflateFailure("record yields more than it claims");
    sink(std::span(piece).first(got));
    if (!inflater.is_at_end() && inflater.is_between_blocks() &&
        inflater.position() - points_.back().inflated >= span) {
      points_.push_back(inflater.point());
    }
  }
  if (inflater.position() != inflated_bytes) throw InflateFailure("record yields less than it claims");
  if (inflater.left() != 0) throw InflateFailure("record goes on after its stream");
}

InflateStream::~InflateStream() = default;

// The one that need skip least: an idle one before `offset`, or a new one from the point before it.
std::unique_ptr<InflateStream::Inflater> InflateStream::take_inflater(std::uint64_t offset) const {
  const auto after = std::upper_bound(points_.begin(), points_.end(), offset,
                                      [](std::uint64_t at, const Point& point) { return at < point.inflated; });
  const Point& from = *std::prev(after);
  {
    const std::lock_guard lock(mutex_);
    auto best = idle_.end();
    for (auto it = idle_.begin(); it != idle_.end(); ++it) {
      const std::uint64_t at = (*it)->position();
      if (at < from.inflated || at > offset) continue;
      if (best == idle_.end() || at > (*best)->position()) best = it;
    }
    if (best != idle_.end()) {
      std::unique_ptr<Inflater> found = std::move(*best);
      idle_.erase(best);
      return found;
    }
  }
  return std::make_unique<Inflater>(*this, from);
}

void InflateStream::keep(std::unique_ptr<Inflater> inflater) const {
  const std::lock_guard lock(mutex_);
  if (idle_.size() == max_idle) idle_.erase(idle_.begin());
  idle_.push_back(std::move(inflater));
}

void InflateStream::read(std::uint64_t offset, std::span<std::byte> out) const {
  std::unique_ptr<Inflater> inflater = take_inflater(offset);
  std::vector<std::byte> skipped(piece_bytes);
  const auto fill = [&](std::span<std::byte> part) {
    if (inflater->inflate_some(part, Z_NO_FLUSH) != part.size()) {
      throw InflateFailure("record changed while it was read");
    }
  };
  while (inflater->position() < offset) {
    const std::uint64_t left = offset - inflater->position();
    fill(std::span(skipped).first(static_cast<std::size_t>(std::min<std::uint64_t>(left, piece_bytes))));
  }
  while (!out.empty()) {  // zlib counts in 32 bits
    const auto part = out.first(std::min(out.size(), std::size_t{1} << 30));
    fill(part);
    out = out.subspan(part.size());
  }
  // An archive may have thousands of records, and each inflater takes 100 KiB.
  if (inflater->position() < inflated_bytes_) keep(std::move(inflater));
}

}  // namespace tenon
