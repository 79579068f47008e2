#include "store/catalog_rows.h"

#include <cassert>
#include <cstring>

#include "mmap/seeded_bug.h"
#include "store/codec.h"
#include "store/digest.h"
#include "tenon/error.h"

namespace tenon::catalog_rows {
namespace {

constexpr std::uint64_t segment_is_sparse = 1;  // flags of a segment row; left out where there are none

constexpr std::uint32_t root_version = 1;
constexpr std::size_t checksum_size = sizeof(std::uint64_t);
constexpr std::size_t smallest_ref = 4 + 1 + 16 + 8 + 1;  // a name of one byte
constexpr std::size_t hint_size = 16;

void store_big_endian(std::uint64_t number, std::byte* out) noexcept;
std::uint64_t load_big_endian(const std::byte* bytes) noexcept;
std::uint64_t row_checksum(std::span<const std::byte> key, std::span<const std::byte> value) noexcept;
void put_totals(ByteWriter& writer, const TableTotals& totals);
TableTotals get_totals(ByteReader& reader);
std::vector<RefRow> get_refs(ByteReader& reader, std::uint32_t count, const std::string& file);

}  // namespace

Key::Key(Table table, std::uint64_t number) noexcept : Key(table) {
  store_big_endian(number, bytes_.data() + 1);
  size_ = 1 + sizeof(number);
}

Key::Key(Table table, const Digest& digest) noexcept : Key(table) {
  store_big_endian(digest.high, bytes_.data() + 1);
  store_big_endian(digest.low, bytes_.data() + 9);
  size_ = bytes_.size();
}

bool is_in(Table table, std::span<const std::byte> key) noexcept {
  return !key.empty() && key[0] == static_cast<std::byte>(table);
}

std::optional<std::uint64_t> key_number(Table table, std::span<const std::byte> key) noexcept {
  if (!is_in(table, key) || key.size() != 9) return std::nullopt;
  return load_big_endian(key.data() + 1);
}

std::optional<Digest> key_digest(Table table, std::span<const std::byte> key) noexcept {
  if (!is_in(table, key) || key.size() != 17) return std::nullopt;
  return Digest{load_big_endian(key.data() + 1), load_big_endian(key.data() + 9)};
}

std::vector<std::byte> seal(std::span<const std::byte> key, std::span<const std::byte> value) {
  ByteWriter writer;
  writer.put(row_checksum(key, value));
  writer.put_bytes(value);
  return writer.take();
}

std::optional<std::span<const std::byte>> unseal(std::span<const std::byte> key, std::span<const std::byte> stored) {
  if (stored.size() < checksum_size) return std::nullopt;
  std::uint64_t checksum = 0;
  std::memcpy(&checksum, stored.data(), checksum_size);
  const auto value = stored.subspan(checksum_size);
  if (row_checksum(key, value) != checksum && !seeded_bug("row_unchecked")) return std::nullopt;
  return value;
}

std::span<const std::byte> unsealed(std::span<const std::byte> key, std::span<const std::byte> stored,
                                    const std::string& file) {
  const auto value = unseal(key, stored);
  if (!value) throw_corrupt("a catalog row's checksum differs", file);
  return *value;
}

void TableTotals::add(std::span<const std::byte> key) noexcept {
  ++count;
  keys ^= checksum_bytes(key);
}

void TableTotals::remove(std::span<const std::byte> key) noexcept {
  --count;
  keys ^= checksum_bytes(key);
}

std::vector<std::byte> encode_root(const StoredRoot& stored) {
  ByteWriter writer;
  writer.put(root_version);
  writer.put(static_cast<std::uint32_t>(stored.root.refs.size()));
  writer.put(stored.store_id);
  writer.put(stored.transaction);
  writer.put(stored.root.sequence);
  writer.put(stored.root.journal_bytes);
  writer.put(stored.root.snapshot_count);
  put_totals(writer, stored.snapshots);
  put_totals(writer, stored.segments);
  for (const RefRow& ref : stored.root.refs) {
    writer.put_string(ref.name);
    writer.put(ref.id);
    writer.put(ref.sequence);
    writer.put(static_cast<std::uint8_t>(ref.is_tag));
  }
  return writer.take();
}

StoredRoot decode_root(std::span<const std::byte> value, const std::string& file) {
  ByteReader reader(value, file, "the catalog's root");
  if (const auto version = reader.get<std::uint32_t>(); version != root_version) {
    throw_corrupt("the catalog's root is malformed", file, "version " + std::to_string(version),
                  "version " + std::to_string(root_version));
  }
  const auto ref_count = reader.get<std::uint32_t>();
  StoredRoot stored;
  stored.store_id = reader.get<Digest>();
  stored.transaction = reader.get<std::uint64_t>();
  stored.root.sequence = reader.get<std::uint64_t>();
  stored.root.journal_bytes = reader.get<std::uint64_t>();
  stored.root.snapshot_count = reader.get<std::uint64_t>();
  stored.snapshots = get_totals(reader);
  stored.segments = get_totals(reader);
  stored.root.refs = get_refs(reader, ref_count, file);
  reader.require_end();
  return stored;
}

std::vector<std::byte> encode_segment(const SegmentRow& row) {
  ByteWriter writer;
  writer.put(row.uuid);
  writer.put(row.file_bytes);
  if (row.is_sparse) writer.put(segment_is_sparse);
  return writer.take();
}

SegmentRow decode_segment(std::span<const std::byte> value, const std::string& file) {
  ByteReader reader(value, file, "a segment's row");
  SegmentRow row;
  row.uuid = reader.get<Digest>();
  row.file_bytes = reader.get<std::uint64_t>();
  if (reader.remaining() != 0) row.is_sparse = (reader.get<std::uint64_t>() & segment_is_sparse) != 0;
  reader.require_end();
  return row;
}

std::vector<std::byte> encode_hints(std::span<const StorageHint> hints) {
  ByteWriter writer;
  for (const StorageHint& hint : hints) {
    writer.put(hint.segment_sequence);
    writer.put(hint.storage_index);
  }
  return writer.take();
}

std::optional<std::vector<StorageHint>> decode_hints(std::span<const std::byte> value) {
  if (value.size() % hint_size != 0 || value.size() > hints_per_sketch_max * hint_size) return std::nullopt;
  std::vector<StorageHint> hints(value.size() / hint_size);
  static_assert(sizeof(StorageHint) == hint_size);
  if (!hints.empty()) std::memcpy(hints.data(), value.data(), value.size());
  return hints;
}

std::vector<std::byte> encode_forgotten(const ForgottenRow& row) {
  ByteWriter writer;
  writer.put(row.sequence);
  writer.put(row.next);
  return writer.take();
}

ForgottenRow decode_forgotten(std::span<const std::byte> value, const std::string& file) {
  ByteReader reader(value, file, "a forgotten snapshot's row");
  ForgottenRow row;
  row.sequence = reader.get<std::uint64_t>();
  row.next = reader.get<SnapshotId>();
  reader.require_end();
  return row;
}

[[noreturn]] void throw_corrupt(std::string what, std::string file, std::string got, std::string wanted) {
  throw Error(ErrorKind::corrupt, {.what = std::move(what),
                                   .file = std::move(file),
                                   .got = std::move(got),
                                   .wanted = std::move(wanted),
                                   .hint = "run `tenon repair`"});
}

namespace {

void store_big_endian(std::uint64_t number, std::byte* out) noexcept {
  for (int shift = 56; shift >= 0; shift -= 8) *out++ = static_cast<std::byte>(number >> shift);
}

std::uint64_t load_big_endian(const std::byte* bytes) noexcept {
  std::uint64_t number = 0;
  for (int i = 0; i < 8; ++i) number = number << 8 | std::to_integer<std::uint64_t>(bytes[i]);
  return number;
}

std::uint64_t row_checksum(std::span<const std::byte> key, std::span<const std::byte> value) noexcept {
  if (seeded_bug("row_checksum_without_key")) key = {};
  return checksum_bytes(value, checksum_bytes(key));
}

void put_totals(ByteWriter& writer, const TableTotals& totals) {
  writer.put(totals.count);
  writer.put(totals.keys);
}

TableTotals get_totals(ByteReader& reader) {
  TableTotals totals;
  totals.count = reader.get<std::uint64_t>();
  totals.keys = reader.get<std::uint64_t>();
  return totals;
}

std::vector<RefRow> get_refs(ByteReader& reader, std::uint32_t count, const std::string& file) {
  if (count > reader.remaining() / smallest_ref) {
    throw_corrupt("the catalog's root is malformed", file,
                  std::to_string(count) + " refs in " + std::to_string(reader.remaining()) + " bytes",
                  "as many as fit");
  }
  std::vector<RefRow> refs(count);
  for (RefRow& ref : refs) {
    ref.name = reader.get_string();
    ref.id = reader.get<SnapshotId>();
    ref.sequence = reader.get<std::uint64_t>();
    ref.is_tag = reader.get<std::uint8_t>() != 0;
    if (&ref != refs.data() && !((&ref)[-1].name < ref.name)) {
      throw_corrupt("the catalog's root is malformed", file, "ref " + ref.name + " after " + (&ref)[-1].name,
                    "names that ascend");
    }
  }
  return refs;
}

}  // namespace
}  // namespace tenon::catalog_rows
