#include "store/journal.h"

#include <algorithm>
#include <cstring>

#include "store/codec.h"
#include "store/format.h"

namespace tenon {

namespace {

constexpr std::uint32_t journal_version = 1;
constexpr std::uint32_t record_bytes_max = 4096;
constexpr std::size_t checksum_bytes_size = sizeof(std::uint64_t);
// Size, kind, sequence, time, target, the ref's length, and the checksum.
constexpr std::size_t record_bytes_without_ref = 2 * sizeof(std::uint32_t) + sizeof(std::uint64_t) +
                                                 sizeof(std::int64_t) + sizeof(SnapshotId) + sizeof(std::uint32_t) +
                                                 checksum_bytes_size;

void check_header(std::span<const std::byte> bytes, const Digest& store_id, const std::string& file) {
  const auto fail = [&](const char* what) {
    throw Error(ErrorKind::corrupt, {.what = what, .file = file, .offset = 0});
  };
  format::JournalHeader header;
  if (bytes.size() < sizeof header) fail("journal is shorter than its header");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, format::journal_magic, sizeof header.magic) != 0) fail("not a journal: wrong magic");
  if (header.checksum != format::seal_of(header)) fail("journal header is damaged");
  if (header.version != journal_version) fail("journal has an unknown version");
  if (header.store_id != store_id) fail("journal belongs to another store");
}

// nullopt if what is there is no whole record.
std::optional<JournalRecord> decode_record(std::span<const std::byte> bytes, std::size_t& size) {
  std::uint32_t record_bytes = 0;
  if (bytes.size() < sizeof record_bytes) return std::nullopt;
  std::memcpy(&record_bytes, bytes.data(), sizeof record_bytes);
  if (record_bytes < record_bytes_without_ref || record_bytes > record_bytes_max || record_bytes > bytes.size())
    return std::nullopt;
  const auto body = bytes.first(record_bytes - checksum_bytes_size);
  std::uint64_t checksum;
  std::memcpy(&checksum, bytes.data() + body.size(), sizeof checksum);
  if (checksum != checksum_bytes(body)) return std::nullopt;
  ByteReader in(body, journal_name, "journal record");
  in.get<std::uint32_t>();
  JournalRecord record;
  record.kind = static_cast<JournalKind>(in.get<std::uint32_t>());
  record.sequence = in.get<std::uint64_t>();
  record.at_ns = in.get<std::int64_t>();
  record.target = in.get<SnapshotId>();
  const auto ref_bytes = in.get<std::uint32_t>();
  if (ref_bytes != record_bytes - record_bytes_without_ref) return std::nullopt;
  const auto ref = in.get_bytes(ref_bytes);
  record.ref.assign(reinterpret_cast<const char*>(ref.data()), ref.size());
  if (record.kind < JournalKind::set_ref || record.kind > JournalKind::delete_ref) return std::nullopt;
  size = record_bytes;
  return record;
}

}  // namespace

std::vector<std::byte> encode_journal_header(const Digest& store_id) {
  format::JournalHeader header{};
  std::memcpy(header.magic, format::journal_magic, sizeof header.magic);
  header.version = journal_version;
  header.store_id = store_id;
  header.checksum = format::seal_of(header);
  const auto bytes = std::as_bytes(std::span(&header, 1));
  return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> encode_journal_record(const JournalRecord& record) {
  ByteWriter body;
  body.put(static_cast<std::uint32_t>(record_bytes_without_ref + record.ref.size()));
  body.put(static_cast<std::uint32_t>(record.kind));
  body.put(record.sequence);
  body.put(record.at_ns);
  body.put(record.target);
  body.put_string(record.ref);
  body.put(checksum_bytes(body.bytes()));
  return body.take();
}

JournalContents read_journal(const std::filesystem::path& path, const Digest& store_id, std::uint64_t limit_bytes,
                             bool any_header) {
  const File file = File::open(path);
  std::vector<std::byte> bytes(std::min(file.size_bytes(), limit_bytes));
  file.read_at(0, bytes);
  if (!any_header) check_header(bytes, store_id, path.string());
  JournalContents contents;
  std::size_t at = std::min(sizeof(format::JournalHeader), bytes.size());
  while (at < bytes.size()) {
    std::size_t size = 0;
    auto record = decode_record(std::span(bytes).subspan(at), size);
    if (!record) {
      contents.damaged_at = at;
      break;
    }
    contents.records.push_back(std::move(*record));
    at += size;
  }
  contents.good_bytes = at;
  return contents;
}

}  // namespace tenon
