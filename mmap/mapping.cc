#include "mmap/mapping.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <boost/interprocess/mapped_region.hpp>
#include <cassert>
#include <cerrno>
#include <fstream>
#include <limits>
#include <new>
#include <string>
#include <utility>

namespace tenon {
namespace {

namespace ipc = boost::interprocess;

// Empty ranges point here, so that data() is never null and never needs a mapping.
std::byte empty_range{};

// What Boost calls memory-mappable: anything that tells its descriptor.
struct Descriptor {
  int number;
  ipc::mapping_handle_t get_mapping_handle() const noexcept { return {number, false}; }
};

ipc::mode_t ipc_mode(MapMode mode) noexcept;
ipc::mapped_region map_region(int descriptor, ipc::mode_t mode, std::uint64_t offset, std::uint64_t size_bytes,
                              int flags, const std::filesystem::path& path);
// Pieces of all ranges of this process.
std::atomic<std::size_t> stitched_pieces = 0;
void take_allowance(std::size_t piece_count);
std::byte* reserve_addresses(std::uint64_t size_bytes);
void place_piece(const StitchedRange::Piece& piece, std::byte* address, MapMode mode);
std::uint64_t total_bytes(std::span<const StitchedRange::Piece> pieces);
[[noreturn]] void throw_map_error(int error, const std::filesystem::path& path, std::uint64_t offset,
                                  std::uint64_t size_bytes);

}  // namespace

struct Mapping::Region {
  ipc::mapped_region region;
};

Mapping::Mapping() = default;
Mapping::~Mapping() = default;

Mapping::Mapping(Mapping&& other) noexcept
    : region_(std::move(other.region_)),
      data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  region_ = std::move(other.region_);
  data_ = std::exchange(other.data_, nullptr);
  size_bytes_ = std::exchange(other.size_bytes_, 0);
  return *this;
}

Mapping Mapping::map(const File& file, std::uint64_t offset, std::uint64_t size_bytes, MapMode mode) {
  assert(offset % page_bytes() == 0);
  Mapping mapping;
  mapping.data_ = &empty_range;
  if (size_bytes == 0) return mapping;
  const int flags = mode == MapMode::copy_on_write ? MAP_NORESERVE : 0;
  mapping.region_ = std::make_unique<Region>(
      Region{map_region(file.descriptor(), ipc_mode(mode), offset, size_bytes, flags, file.path())});
  mapping.data_ = static_cast<std::byte*>(mapping.region_->region.get_address());
  mapping.size_bytes_ = size_bytes;
  return mapping;
}

Mapping Mapping::fresh(std::uint64_t size_bytes, int flags) {
  Mapping mapping;
  mapping.data_ = &empty_range;
  if (size_bytes == 0) return mapping;
  mapping.region_ =
      std::make_unique<Region>(Region{map_region(-1, ipc::copy_on_write, 0, size_bytes, MAP_ANONYMOUS | flags, {})});
  mapping.data_ = static_cast<std::byte*>(mapping.region_->region.get_address());
  mapping.size_bytes_ = size_bytes;
  return mapping;
}

Mapping Mapping::anonymous(std::uint64_t size_bytes, bool huge) {
  Mapping mapping = fresh(size_bytes, 0);
  if (huge && size_bytes != 0)
    (void)::madvise(mapping.data_, size_bytes, MADV_HUGEPAGE);  // advice: a kernel built without loses only speed
  return mapping;
}

Mapping Mapping::reserve(std::uint64_t size_bytes) { return fresh(size_bytes, MAP_NORESERVE); }

bool Mapping::populate_read(std::uint64_t offset, std::uint64_t size_bytes) const noexcept {
  assert(offset <= size_bytes_ && size_bytes <= size_bytes_ - offset);
  return tenon::populate_read(data_ + offset, size_bytes);
}

StitchedRange StitchedRange::map(std::span<const Piece> pieces, MapMode mode) {
  StitchedRange range = reserve(total_bytes(pieces), pieces.size());
  std::uint64_t offset = 0;
  for (const Piece& piece : pieces) {
    range.place(offset, piece, mode);
    offset += piece.size_bytes;
  }
  return range;
}

StitchedRange StitchedRange::reserve(std::uint64_t size_bytes, std::size_t piece_count) {
  StitchedRange range;  // owns the addresses from the first moment, so that a throw leaves nothing mapped
  range.data_ = &empty_range;
  if (size_bytes == 0) return range;
  take_allowance(piece_count);
  range.piece_count_ = piece_count;
  range.data_ = reserve_addresses(size_bytes);
  range.size_bytes_ = size_bytes;
  return range;
}

void StitchedRange::place(std::uint64_t offset, const Piece& piece, MapMode mode) {
  if (piece.size_bytes == 0) return;
  assert(offset % page_bytes() == 0 && offset <= size_bytes_ && piece.size_bytes <= size_bytes_ - offset);
  place_piece(piece, data_ + offset, mode);
}

StitchedRange::StitchedRange(StitchedRange&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)),
      piece_count_(std::exchange(other.piece_count_, 0)) {}

StitchedRange& StitchedRange::operator=(StitchedRange&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  std::swap(piece_count_, other.piece_count_);
  return *this;
}

StitchedRange::~StitchedRange() {
  if (size_bytes_ != 0) ::munmap(data_, size_bytes_);
  stitched_pieces -= piece_count_;
}

bool populate_read(const std::byte* data, std::uint64_t size_bytes) noexcept {
  if (size_bytes == 0) return true;
  const std::uint64_t before = reinterpret_cast<std::uintptr_t>(data) % page_bytes();
  return ::madvise(const_cast<std::byte*>(data) - before, size_bytes + before, MADV_POPULATE_READ) == 0;
}

std::uint64_t page_bytes() noexcept {
  static const auto bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

namespace {

ipc::mode_t ipc_mode(MapMode mode) noexcept {
  switch (mode) {
    case MapMode::copy_on_write:
      return ipc::copy_on_write;
    case MapMode::read_write:
      return ipc::read_write;
    case MapMode::read_only:
      break;
  }
  return ipc::read_only;
}

ipc::mapped_region map_region(int descriptor, ipc::mode_t mode, std::uint64_t offset, std::uint64_t size_bytes,
                              int flags, const std::filesystem::path& path) {
  if (offset > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) {
    throw_map_error(EOVERFLOW, path, offset, size_bytes);
  }
  try {
    return {Descriptor{descriptor}, mode, static_cast<off_t>(offset), size_bytes, nullptr, flags};
  } catch (const ipc::interprocess_exception& failure) {
    throw_map_error(failure.get_native_error(), path, offset, size_bytes);
  }
}

// Half of what the kernel allows; of what it allows by default, where it does not say.
std::size_t allowed_pieces() {
  constexpr std::size_t usual = 65530;
  static const std::size_t allowed = [] {
    std::size_t count = 0;
    return (std::ifstream("/proc/sys/vm/max_map_count") >> count && count > 0 ? count : usual) / 2;
  }();
  return allowed;
}

void take_allowance(std::size_t piece_count) {
  const std::size_t before = stitched_pieces.fetch_add(piece_count);
  if (before + piece_count <= allowed_pieces()) return;
  stitched_pieces -= piece_count;
  throw Error(ErrorKind::limit, {.what = "this process has too many mapped pieces of stitched storages",
                                 .got = std::to_string(before) + " and " + std::to_string(piece_count) + " more",
                                 .wanted = "at most " + std::to_string(allowed_pieces()) + ", half of vm.max_map_count",
                                 .hint = "close snapshots, raise vm.max_map_count, or open in copy mode"});
}

std::byte* reserve_addresses(std::uint64_t size_bytes) {
  void* const base = ::mmap(nullptr, size_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) throw_map_error(errno, {}, 0, size_bytes);
  return static_cast<std::byte*>(base);
}

void place_piece(const StitchedRange::Piece& piece, std::byte* address, MapMode mode) {
  assert(mode != MapMode::read_write);  // what is stitched belongs to nobody to write
  assert(piece.file_offset % page_bytes() == 0);
  const bool is_private = mode == MapMode::copy_on_write;
  const int protection = is_private ? PROT_READ | PROT_WRITE : PROT_READ;
  const int flags = MAP_FIXED | (is_private ? MAP_PRIVATE | MAP_NORESERVE : MAP_SHARED);
  void* const placed = ::mmap(address, piece.size_bytes, protection, flags, piece.file->descriptor(),
                              static_cast<off_t>(piece.file_offset));
  if (placed == MAP_FAILED) throw_map_error(errno, piece.file->path(), piece.file_offset, piece.size_bytes);
}

std::uint64_t total_bytes(std::span<const StitchedRange::Piece> pieces) {
  std::uint64_t total = 0;
  for (const auto& piece : pieces) {
    if (__builtin_add_overflow(total, piece.size_bytes, &total)) {
      throw_map_error(EOVERFLOW, piece.file->path(), piece.file_offset, piece.size_bytes);
    }
  }
  return total;
}

void throw_map_error(int error, const std::filesystem::path& path, std::uint64_t offset, std::uint64_t size_bytes) {
  const std::string what = "cannot map " + std::to_string(size_bytes) + " bytes";
  if (error != ENOMEM && error != EOVERFLOW) throw_errno(error, what, path, offset);
  throw Error(ErrorKind::limit,
              {.what = what,
               .file = path.string(),
               .offset = path.empty() ? std::nullopt : std::optional(offset),
               .got = std::generic_category().message(error),
               .hint = "too little memory or address space, or more mappings than vm.max_map_count allows"});
}

}  // namespace
}  // namespace tenon
