#include "formats/record_source.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "formats/inflating_reader.h"
#include "formats/region_source.h"
#include "tenon/error.h"

namespace tenon {

namespace {

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
      : reader_(std::move(reader)), entry_(entry), crc_(entry.uncompressed_bytes) {
    if (!entry_.is_stored) inflating_.emplace(reader_, entry_);
  }

  void read(std::uint64_t offset, std::span<std::byte> out);

 private:
  const std::shared_ptr<const ZipReader> reader_;
  const ZipEntry entry_;
  CrcTracker crc_;
  std::optional<InflatingReader> inflating_;
};

// pread, never a mapping: the file is the user's and may be rewritten or cut short while we read. A mapping would show
// a change between hashing and writing, and die by SIGBUS past the new end; a read gives one stable buffer or an error.
void RecordSource::read(std::uint64_t offset, std::span<std::byte> out) {
  if (out.empty()) return;
  if (inflating_) {
    inflating_->read(offset, out);
  } else {
    reader_->file().read_at(entry_.data_offset + offset, out);
  }
  if (entry_.crc32 == 0) return;  // the writer was told not to compute it
  if (crc_.add_and_mismatches(offset, out, entry_.crc32)) {
    throw Error(ErrorKind::corrupt, {.what = "CRC of a record differs",
                                     .file = fmt::format("{}({})", reader_->file().path().string(), entry_.name),
                                     .offset = entry_.data_offset,
                                     .wanted = fmt::format("{:08x}", entry_.crc32)});
  }
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
