// Ranges of a long DEFLATE stream without holding what it yields: a first pass notes points from which inflating can
// begin anew, each with the 32 KiB before it. zlib is included by inflate_stream.cc alone.
//
// Memory: at most 128 such points, and a hundredth of what the stream yields; beside them 200 KiB for each
// call and for each of the last eight.
// Threads: const methods from several threads. Errors: InflateFailure, whose owner knows the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <vector>

namespace tenon {

struct InflateFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class InflateStream {
 public:
  // Fills `out` with the deflated bytes from `offset` on.
  using Read = std::function<void(std::uint64_t offset, std::span<std::byte> out)>;
  using Sink = std::function<void(std::span<const std::byte>)>;

  // Inflates everything once, hands it to `sink` in order, and keeps the points. Throws InflateFailure unless
  // `deflated_bytes` are exactly one stream that yields exactly `inflated_bytes`.
  InflateStream(Read read, std::uint64_t deflated_bytes, std::uint64_t inflated_bytes, const Sink& sink);

  ~InflateStream();

  // REQUIRES: the range lies within what the stream yields.
  void read(std::uint64_t offset, std::span<std::byte> out) const;

 private:
  struct Point {
    std::uint64_t inflated = 0;
    std::uint64_t deflated = 0;  // of the first whole byte
    int bits = 0;                // of the byte before it that belong to what follows
    std::vector<std::byte> window{};
  };
  class Inflater;
  std::unique_ptr<Inflater> take_inflater(std::uint64_t offset) const;
  void keep(std::unique_ptr<Inflater> inflater) const;

  Read read_;
  std::uint64_t deflated_bytes_;
  std::uint64_t inflated_bytes_;
  std::vector<Point> points_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Inflater>> idle_;  // where ranges ended that were read: others begin there
};

}  // namespace tenon
