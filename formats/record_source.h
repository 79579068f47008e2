// The bytes of one zip record as a Source: read from the file on demand, inflated or byte-swapped where needed, and its
// CRC checked on the way, without reading anything twice.
//
// Errors: corrupt when the last missing piece shows a wrong CRC, or the file became shorter. Threads: any, at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>

#include "formats/zip_reader.h"
#include "tenon/draft.h"

namespace tenon {

// CRC-32 of a record whose pieces come in any order, more than once, from several threads.
class CrcTracker {
 public:
  explicit CrcTracker(std::uint64_t total_bytes) : total_(total_bytes) {}
  // True once every byte was seen and the CRC is not `wanted`.
  bool add_and_mismatches(std::uint64_t offset, std::span<const std::byte> bytes, std::uint32_t wanted);

 private:
  struct Piece {
    std::uint64_t end;
    std::uint32_t crc;
  };
  void add_new(std::uint64_t offset, std::span<const std::byte> bytes);
  void merge_around(std::map<std::uint64_t, Piece>::iterator piece);

  std::uint64_t total_;
  std::mutex mutex_;
  bool is_complete_ = false;
  std::map<std::uint64_t, Piece> pieces_;  // disjoint, by offset; neighbours are joined
};

// CRC-32 of a followed by b, from both and the length of b.
std::uint32_t combine_crc32(std::uint32_t a, std::uint32_t b, std::uint64_t b_bytes) noexcept;

// `swap_bytes`: width of the units whose bytes are reversed; 1: none. The reader stays alive with the source.
Source make_record_source(std::shared_ptr<const ZipReader> reader, const ZipEntry& entry, std::uint64_t swap_bytes);

}  // namespace tenon
