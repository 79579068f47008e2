#include "formats/record_source.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "formats/inflate_stream.h"
#include "formats/region_source.h"
#include "tenon/error.h"

namespace tenon {

namespace {

constexpr std::uint64_t max_whole_bytes = std::uint64_t{1} << 20;
constexpr std::uint32_t crc_polynomial = 0xEDB88320u;  // bit-reversed, as zip has it

// Product of two polynomials over GF(2), modulo the CRC's.
std::uint32_t multiply(std::uint32_t a, std::uint32_t b) noexcept {
  std::uint32_t product = 0;
  for (std::uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
    if ((a & bit) != 0) product ^= b;
    b = (b & 1u) != 0 ? (b >> 1) ^ crc_polynomial : b >> 1;
  }
  return product;
}

std::uint32_t power_of_x(std::uint64_t exponent) noexcept {
  std::uint32_t result = 1u << 31;
  std::uint32_t square = 1u << 30;
  for (; exponent != 0; exponent >>= 1) {
    if ((exponent & 1u) != 0) result = multiply(square, result);
    square = multiply(square, square);
  }
  return result;
}

class RecordSource {
 public:
  RecordSource(std::shared_ptr<const ZipReader> reader, const ZipEntry& entry)
      : reader_(std::move(reader)), entry_(entry), crc_(entry.uncompressed_bytes) {}

  void read(std::uint64_t offset, std::span<std::byte> out);

 private:
  void read_inflated(std::uint64_t offset, std::span<std::byte> out);
  void open_stream();
  [[noreturn]] void fail(std::string what) const;

  const std::shared_ptr<const ZipReader> reader_;
  const ZipEntry entry_;
  CrcTracker crc_;
  std::once_flag is_stream_open_;
  std::optional<InflateStream> stream_;
};

// pread, never a mapping: the file is the user's and may be rewritten or cut short while we read. A mapping would show
// a change between hashing and writing, and die by SIGBUS past the new end; a read gives one stable buffer or an error.
void RecordSource::read(std::uint64_t offset, std::span<std::byte> out) {
  if (out.empty()) return;
  if (!entry_.is_stored) {
    return read_inflated(offset, out);
  }
  reader_->file().read_at(entry_.data_offset + offset, out);
  if (entry_.crc32 == 0) return;  // the writer was told not to compute it
  if (crc_.add_and_mismatches(offset, out, entry_.crc32)) fail("CRC of a record differs");
}

void RecordSource::fail(std::string what) const {
  throw Error(ErrorKind::corrupt, {.what = std::move(what),
                                   .file = fmt::format("{}({})", reader_->file().path().string(), entry_.name),
                                   .offset = entry_.data_offset});
}

// What is inflated is not kept, or a small file could fill memory: a short record is inflated anew for each range, a
// long one from a point near by.
void RecordSource::read_inflated(std::uint64_t offset, std::span<std::byte> out) {
  if (entry_.uncompressed_bytes <= max_whole_bytes) {
    const auto whole = reader_->read(entry_, max_whole_bytes);
    std::memcpy(out.data(), whole.data() + offset, out.size());
    return;
  }
  try {
    std::call_once(is_stream_open_, [this] { open_stream(); });
    stream_->read(offset, out);
  } catch (const InflateFailure& failure) {
    fail(failure.what());
  }
}

void RecordSource::open_stream() {
  std::uint32_t crc = 0;
  const auto read = [this](std::uint64_t at, std::span<std::byte> part) {
    reader_->file().read_at(entry_.data_offset + at, part);
  };
  stream_.emplace(read, entry_.compressed_bytes, entry_.uncompressed_bytes,
                  [&](std::span<const std::byte> piece) { crc = zip_crc32(crc, piece); });
  if (entry_.crc32 != 0 && crc != entry_.crc32) fail("CRC of a record differs");
}

}  // namespace

std::uint32_t combine_crc32(std::uint32_t a, std::uint32_t b, std::uint64_t b_bytes) noexcept {
  return multiply(power_of_x(8 * b_bytes), a) ^ b;
}

bool CrcTracker::add_and_mismatches(std::uint64_t offset, std::span<const std::byte> bytes, std::uint32_t wanted) {
  {
    const std::lock_guard lock(mutex_);
    if (is_complete_) return false;
  }
  add_new(offset, bytes);
  const std::lock_guard lock(mutex_);
  if (is_complete_ || pieces_.empty()) return false;
  const auto& [begin, first] = *pieces_.begin();
  if (begin != 0 || first.end != total_) return false;
  is_complete_ = first.crc == wanted;  // a mismatch is reported to everybody who reads on
  return !is_complete_;
}

// Only what was not seen before is counted. The CRC itself is computed outside the lock, so readers do not wait.
void CrcTracker::add_new(std::uint64_t offset, std::span<const std::byte> bytes) {
  const std::uint64_t end = offset + bytes.size();
  std::uint64_t at = offset;
  while (at < end) {
    std::uint64_t gap_end = end;
    {
      const std::lock_guard lock(mutex_);
      auto next = pieces_.upper_bound(at);
      if (next != pieces_.begin() && std::prev(next)->second.end > at) {
        at = std::prev(next)->second.end;
        continue;
      }
      if (next != pieces_.end()) gap_end = std::min(gap_end, next->first);
    }
    const auto gap = bytes.subspan(static_cast<std::size_t>(at - offset), static_cast<std::size_t>(gap_end - at));
    const std::uint32_t crc = zip_crc32(0, gap);
    const std::lock_guard lock(mutex_);
    const auto next = pieces_.lower_bound(at);
    const bool is_free = (next == pieces_.end() || next->first >= gap_end) &&
                         (next == pieces_.begin() || std::prev(next)->second.end <= at);
    if (!is_free) continue;  // another thread read the same meanwhile
    merge_around(pieces_.emplace(at, Piece{gap_end, crc}).first);
    at = gap_end;
  }
}

void CrcTracker::merge_around(std::map<std::uint64_t, Piece>::iterator piece) {
  const auto join = [this](auto left, auto right) {
    left->second.crc = combine_crc32(left->second.crc, right->second.crc, right->second.end - right->first);
    left->second.end = right->second.end;
    pieces_.erase(right);
    return left;
  };
  if (piece != pieces_.begin() && std::prev(piece)->second.end == piece->first) piece = join(std::prev(piece), piece);
  const auto next = std::next(piece);
  if (next != pieces_.end() && piece->second.end == next->first) join(piece, next);
}

Source make_record_source(std::shared_ptr<const ZipReader> reader, const ZipEntry& entry, std::uint64_t swap_bytes) {
  auto record = std::make_shared<RecordSource>(std::move(reader), entry);
  Source source{.read = [record](std::uint64_t offset, std::span<std::byte> out) { record->read(offset, out); }};
  return make_swapped_source(std::move(source), entry.uncompressed_bytes, swap_bytes);
}

}  // namespace tenon
