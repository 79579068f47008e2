// Rows of the catalog: keys, values and their checksums. Nothing here knows LMDB.
//
// All tables share one tree; a key begins with the byte that names its table. A stored value is u64 XXH3-64 over the
// value, seeded with that over the key (table byte included), then the value: a row that is damaged, or found under
// another key or table, is not taken for a good one.
//   root       key: nothing more               value: StoredRoot, see encode_root
//   snapshots  key: 16 bytes of the id         value: as put
//   segments   key: u64 sequence               value: uuid, u64 file_bytes
//   hints      key: u64 sketch                 value: up to hints_per_sketch_max times u64 sequence, u64 storage index
//   forgotten  key: 16 bytes of the id         value: u64 sequence, next
// Numbers in keys are big-endian, so that keys ascend with them; everything else is little-endian.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "store/catalog.h"
#include "tenon/digest.h"

namespace tenon::catalog_rows {

enum class Table : std::uint8_t { root = 1, snapshots = 2, segments = 3, hints = 4, forgotten = 5 };

class Key {
 public:
  explicit Key(Table table) noexcept { bytes_[0] = static_cast<std::byte>(table); }
  Key(Table table, std::uint64_t number) noexcept;
  Key(Table table, const Digest& digest) noexcept;
  std::span<const std::byte> bytes() const noexcept { return {bytes_.data(), size_}; }

 private:
  std::array<std::byte, 17> bytes_{};
  std::size_t size_ = 1;
};

bool is_in(Table table, std::span<const std::byte> key) noexcept;
// Nullopt unless `key` is one of `table`, with exactly such a rest.
std::optional<std::uint64_t> key_number(Table table, std::span<const std::byte> key) noexcept;
std::optional<Digest> key_digest(Table table, std::span<const std::byte> key) noexcept;

std::vector<std::byte> seal(std::span<const std::byte> key, std::span<const std::byte> value);
// The value without its checksum; nullopt if that is wrong.
std::optional<std::span<const std::byte>> unseal(std::span<const std::byte> key, std::span<const std::byte> stored);
// Same, but throws corrupt naming `file`.
std::span<const std::byte> unsealed(std::span<const std::byte> key, std::span<const std::byte> stored,
                                    const std::string& file);

// How many rows a table has and a checksum over the set of their keys: what a walk must find.
struct TableTotals {
  std::uint64_t count = 0;
  std::uint64_t keys = 0;
  void add(std::span<const std::byte> key) noexcept;
  void remove(std::span<const std::byte> key) noexcept;
  friend bool operator==(const TableTotals&, const TableTotals&) = default;
};

struct StoredRoot {
  Digest store_id;
  std::uint64_t transaction = 0;  // LMDB's number of the transaction that wrote it
  TableTotals snapshots;
  TableTotals segments;
  CatalogRoot root;
};

// Decoders throw corrupt naming `file`.
std::vector<std::byte> encode_root(const StoredRoot& root);
StoredRoot decode_root(std::span<const std::byte> value, const std::string& file);
std::vector<std::byte> encode_segment(const SegmentRow& row);
SegmentRow decode_segment(std::span<const std::byte> value, const std::string& file);
std::vector<std::byte> encode_hints(std::span<const StorageHint> hints);
// Nullopt if the value cannot be one.
std::optional<std::vector<StorageHint>> decode_hints(std::span<const std::byte> value);

std::vector<std::byte> encode_forgotten(const ForgottenRow& row);
ForgottenRow decode_forgotten(std::span<const std::byte> value, const std::string& file);

// Throws corrupt with a hint to run repair.
[[noreturn]] void throw_corrupt(std::string what, std::string file, std::string got = {}, std::string wanted = {});

}  // namespace tenon::catalog_rows
