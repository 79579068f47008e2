// Mappings: move-only ranges of memory backed by files, and reserved ranges that are stitched together from pieces.
// Boost.Interprocess makes the plain ones.
//
// Lifetime: unmapped on destruction; the file's descriptor may be closed before. A mapped inode outlives its unlink.
// Private mappings are MAP_NORESERVE and are never populated by MAP_POPULATE or mlock (both copy every page).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "mmap/file.h"

namespace tenon {

enum class MapMode : std::uint8_t {
  read_only,      // PROT_READ, MAP_SHARED
  copy_on_write,  // PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE
  read_write      // PROT_READ | PROT_WRITE, MAP_SHARED: memory that processes share
};

class Mapping {
 public:
  Mapping();
  // Maps [offset, offset + size) of the file; offset a multiple of the page size; size may be 0. The caller has checked
  // that the file is that long. Throws io or limit (ENOMEM).
  static Mapping map(const File& file, std::uint64_t offset, std::uint64_t size_bytes, MapMode mode);
  // Fresh zeroed private memory, page-aligned. With `huge`, advised to use huge pages.
  static Mapping anonymous(std::uint64_t size_bytes, bool huge = false);
  // Same, without asking for the memory: of a large range, of which little will be touched.
  static Mapping reserve(std::uint64_t size_bytes);
  Mapping(Mapping&&) noexcept;
  Mapping& operator=(Mapping&&) noexcept;
  ~Mapping();

  std::byte* data() const noexcept { return data_; }
  std::uint64_t size_bytes() const noexcept { return size_bytes_; }
  std::span<const std::byte> bytes() const noexcept { return {data_, size_bytes_}; }
  // Brings the pages of a part into memory without copying any (MADV_POPULATE_READ); false where the kernel cannot.
  bool populate_read(std::uint64_t offset, std::uint64_t size_bytes) const noexcept;

 private:
  struct Region;
  static Mapping fresh(std::uint64_t size_bytes, int flags);
  std::unique_ptr<Region> region_;
  std::byte* data_ = nullptr;
  std::uint64_t size_bytes_ = 0;
};

// A contiguous range of addresses, first reserved without access, then filled with pieces of files by MAP_FIXED. The
// kernel allows a process so many mappings (vm.max_map_count); all stitched ranges of it together take half of them at
// most, since a process that has none left cannot allocate memory, either. Threads: ranges are independent.
class StitchedRange {
 public:
  struct Piece {
    const File* file;
    std::uint64_t file_offset;  // multiple of the page size
    std::uint64_t size_bytes;   // multiple of the page size, but for the last piece
  };
  StitchedRange() = default;
  // Throws limit if that would be too many mappings, or on ENOMEM, leaving nothing mapped.
  static StitchedRange map(std::span<const Piece> pieces, MapMode mode);
  // The addresses alone, for so many pieces, which place() fills in any order. Throws limit, as map().
  static StitchedRange reserve(std::uint64_t size_bytes, std::size_t piece_count);
  // REQUIRES: [offset, offset + the piece's size) lies in the range; offset is a multiple of the page size. Throws
  // limit, io.
  void place(std::uint64_t offset, const Piece& piece, MapMode mode);
  StitchedRange(StitchedRange&&) noexcept;
  StitchedRange& operator=(StitchedRange&&) noexcept;
  ~StitchedRange();

  std::byte* data() const noexcept { return data_; }
  std::uint64_t size_bytes() const noexcept { return size_bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::uint64_t size_bytes_ = 0;
  std::size_t piece_count_ = 0;  // counted against the process's allowance
};

std::uint64_t page_bytes() noexcept;

// Brings the pages of a mapped range into memory in one call, without copying any (MADV_POPULATE_READ), which costs
// less than a fault for each; false where the kernel cannot, and the faults come later.
bool populate_read(const std::byte* data, std::uint64_t size_bytes) noexcept;

}  // namespace tenon
