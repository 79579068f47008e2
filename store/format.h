// Constants and fixed structures of the files of a store. docs/format.md is the specification; the assertions here hold
// the structures to it. All integers are little-endian; every reserved byte is zero.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "store/digest.h"
#include "tenon/digest.h"
#include "tenon/statistics.h"

namespace tenon::format {

static_assert(std::endian::native == std::endian::little, "columns are used straight from the mapping");

inline constexpr std::uint16_t version_major = 1;
inline constexpr std::uint16_t version_minor = 0;

// Feature bits this code knows. A store with an unknown incompat bit is refused; with an unknown ro_compat bit it is
// read-only.
inline constexpr std::uint32_t known_ro_compat = 0;
inline constexpr std::uint32_t known_incompat = 0;

inline constexpr std::uint32_t digest_xxh3_128_merkle = 1;
inline constexpr std::uint32_t granule_bytes = 64 * 1024;
static_assert(granule_bytes == leaf_bytes);

inline constexpr std::uint64_t alignment_small = 64;   // of every storage
inline constexpr std::uint64_t alignment_page = 4096;  // from page_aligned_from bytes on
inline constexpr std::uint64_t page_aligned_from = 4096;
inline constexpr std::uint64_t granule_aligned_from = 1 << 20;

inline constexpr char superblock_magic[8] = {'T', 'E', 'N', 'O', 'N', '\r', '\n', '\x1a'};
inline constexpr char segment_magic[8] = {'T', 'E', 'N', 'O', 'N', 'S', 'E', 'G'};
inline constexpr char footer_magic[8] = {'T', 'E', 'N', 'O', 'N', 'E', 'N', 'D'};
inline constexpr char layout_magic[8] = {'T', 'E', 'N', 'O', 'N', 'L', 'A', 'Y'};
inline constexpr char record_magic[8] = {'T', 'E', 'N', 'O', 'N', 'R', 'E', 'C'};
inline constexpr char head_magic[8] = {'T', 'E', 'N', 'O', 'N', 'H', 'E', 'D'};
inline constexpr char journal_magic[8] = {'T', 'E', 'N', 'O', 'N', 'J', 'N', 'L'};

struct Superblock {
  char magic[8];
  std::uint16_t major;
  std::uint16_t minor;
  std::uint32_t compat;
  std::uint32_t ro_compat;
  std::uint32_t incompat;
  Digest store_id;
  std::uint32_t digest_id;
  std::uint32_t granule;
  std::int64_t created_at_ns;
  std::uint8_t durability;
  std::uint8_t reserved0[7];
  char created_by[64];
  std::uint8_t reserved1[120];
  std::uint64_t checksum;  // XXH3-64 of all bytes before it
};
static_assert(sizeof(Superblock) == 256 && std::has_unique_object_representations_v<Superblock>);

struct SegmentHeader {
  char magic[8];
  std::uint32_t version;
  std::uint32_t reserved0;
  Digest store_id;
  Digest uuid;
  std::uint8_t reserved1[72];
  std::uint64_t checksum;
};
static_assert(sizeof(SegmentHeader) == 128 && std::has_unique_object_representations_v<SegmentHeader>);

enum class SectionKind : std::uint32_t {
  storages = 1,  // StorageEntry[]
  leaves,        // Digest[]: leaf digests of storages larger than one leaf, in order
  layout,
  keys,  // Digest[slot_count]
  binding,
  structure,
  statistics,
  attachments,
  record,
  commit,
  live = 15,  // LiveRange[]: of a sparse copy, what is not a hole
};
inline constexpr std::size_t section_kinds = 10;

struct Section {
  std::uint32_t kind;  // 0: unused
  std::uint32_t reserved;
  std::uint64_t offset;
  std::uint64_t size;
  std::uint64_t checksum;  // XXH3-64, seed = kind
};
static_assert(sizeof(Section) == 32);

inline constexpr std::size_t sections_max = 16;

struct SegmentFooter {
  char magic[8];
  std::uint32_t version;
  std::uint32_t section_count;
  Digest store_id;
  Digest uuid;
  std::uint64_t sequence;    // 0 in a bundle
  std::uint64_t file_bytes;  // of the whole file, this footer included
  std::uint64_t data_bytes;  // end of the storages
  std::uint64_t reserved0[3];
  Section sections[sections_max];
  std::uint64_t reserved1[3];
  std::uint64_t checksum;
};
static_assert(sizeof(SegmentFooter) == 640 && std::has_unique_object_representations_v<SegmentFooter>);

struct StorageEntry {
  Digest key;
  std::uint64_t offset;
  std::uint64_t nbytes;
  std::uint64_t sketch;
  std::uint64_t first_leaf;  // index in the leaves section; 0 if the storage is one leaf
};
static_assert(sizeof(StorageEntry) == 48);
inline constexpr std::uint64_t no_sketch = 0;  // of a piece of a stitched slot: nothing is found by it

struct LiveRange {
  std::uint64_t offset;
  std::uint64_t size;
  friend bool operator==(const LiveRange&, const LiveRange&) = default;
};
static_assert(sizeof(LiveRange) == 16);

struct BindingHeader {
  std::uint32_t slot_count;
  std::uint32_t segment_count;  // entry 0 is the segment that holds this binding
  std::uint32_t extent_count;
  std::uint32_t layout_segment;  // index in the segment table
  std::uint32_t structure_segment;
  std::uint32_t reserved[11];
};
static_assert(sizeof(BindingHeader) == 64);

// Followed by SegmentReference[segment_count], u64 placements[slot_count], Extent[extent_count].
struct SegmentReference {
  Digest uuid;
  std::uint64_t sequence;    // names the file in segments/; 0 for entry 0: itself
  std::uint64_t file_bytes;  // 0 for entry 0
};
static_assert(sizeof(SegmentReference) == 32);

struct Extent {
  std::uint32_t segment;  // index in the segment table
  std::uint32_t reserved;
  std::uint64_t offset;  // bytes in that segment
  std::uint64_t size;    // bytes
};
static_assert(sizeof(Extent) == 24);

// A placement: bit 63 clear: one extent: bits 40..62 segment index, bits 0..39 offset in units of 64 bytes.
//              bit 63 set: stitched: bits 32..62 number of extents, bits 0..31 index of the first.
inline constexpr std::uint64_t placement_stitched = std::uint64_t{1} << 63;
inline constexpr unsigned placement_offset_bits = 40;
inline constexpr std::uint64_t placement_segments_max = std::uint64_t{1} << 23;

struct LayoutHeader {
  char magic[8];
  std::uint32_t version;
  std::uint32_t tensor_count;
  std::uint32_t slot_count;
  std::uint32_t string_count;
  std::uint32_t extra_count;
  std::uint32_t name_index_size;  // a power of two, at least 2 * tensor_count; 0 if there are no tensors
  std::uint64_t names_bytes;
  std::uint64_t dims_count;
  std::uint64_t strings_bytes;
  std::uint64_t total_bytes;
};
static_assert(sizeof(LayoutHeader) == 64);

inline constexpr std::uint32_t none = 0xFFFFFFFFu;

// What few tensors have.
struct Extra {
  std::uint32_t wrapper;     // string, or none
  std::uint32_t quantizer;   // string, or none
  std::uint32_t shard_dims;  // index in dims of global shape then global offset, or none
  std::uint32_t shard_rank;
  std::uint32_t param;  // string; 0, which is "": none
  std::uint32_t reserved[3];
};
static_assert(sizeof(Extra) == 32);

enum TensorFlags : std::uint16_t { flag_requires_grad = 1, flag_conj = 2, flag_neg = 4 };

struct StatisticsHeader {
  std::uint32_t tensor_count;
  std::uint32_t reserved[15];
};
static_assert(sizeof(StatisticsHeader) == 64);
// Followed by Statistics[tensor_count], u8 is_known[tensor_count].

struct JournalHeader {
  char magic[8];
  std::uint32_t version;
  std::uint32_t reserved0;
  Digest store_id;
  std::uint8_t reserved1[24];
  std::uint64_t checksum;
};
static_assert(sizeof(JournalHeader) == 64);

template <typename T>
constexpr T align_up(T value, T alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

// XXH3-64 over a structure that ends in its own checksum field.
template <typename T>
std::uint64_t seal_of(const T& sealed) {
  static_assert(std::is_trivially_copyable_v<T>);
  return checksum_bytes({reinterpret_cast<const std::byte*>(&sealed), sizeof(T) - sizeof(std::uint64_t)});
}

}  // namespace tenon::format
