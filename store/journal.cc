#include "store/journal.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "store/codec.h"
#include "store/format.h"

namespace tenon {

namespace {

constexpr std::uint32_t journal_version = 1;
constexpr std::uint32_t record_bytes_max = 256 * 1024;
// In the upper half of `kind`: what stands between the ref and the checksum.
constexpr std::uint32_t kind_mask = 0xFFFF;
constexpr std::uint32_t has_previous = 1 << 16;
constexpr std::uint32_t has_undoes = 1 << 17;
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

void encode_rest(const JournalRecord& record, ByteWriter& out) {
  if (record.previous) {
    out.put(record.previous->id);
    out.put(static_cast<std::uint32_t>(record.previous->is_tag));
  }
  if (record.undoes) out.put(*record.undoes);
  if (record.kind != JournalKind::forget && record.kind != JournalKind::restore) return;
  out.put(static_cast<std::uint32_t>(record.snapshots.size()));
  for (const ForgottenSnapshot& snapshot : record.snapshots) {
    out.put(snapshot.id);
    if (record.kind == JournalKind::forget) out.put(snapshot.parent);
  }
}

void decode_rest(ByteReader& in, std::uint32_t kind, JournalRecord& record) {
  if ((kind & has_previous) != 0) {
    record.previous.emplace();
    record.previous->id = in.get<SnapshotId>();
    record.previous->is_tag = in.get<std::uint32_t>() != 0;
  }
  if ((kind & has_undoes) != 0) record.undoes = in.get<std::uint64_t>();
  if (record.kind == JournalKind::forget || record.kind == JournalKind::restore) {
    for (auto left = in.get<std::uint32_t>(); left > 0; --left) {
      ForgottenSnapshot& snapshot = record.snapshots.emplace_back();
      snapshot.id = in.get<SnapshotId>();
      if (record.kind == JournalKind::forget) snapshot.parent = in.get<SnapshotId>();
    }
  }
  in.require_end();
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
  const auto kind = in.get<std::uint32_t>();
  record.kind = static_cast<JournalKind>(kind & kind_mask);
  if (record.kind < JournalKind::set_ref || record.kind > JournalKind::restore) return std::nullopt;
  record.sequence = in.get<std::uint64_t>();
  record.at_ns = in.get<std::int64_t>();
  record.target = in.get<SnapshotId>();
  try {
    record.ref = in.get_string();
    decode_rest(in, kind, record);
  } catch (const Error&) {
    return std::nullopt;  // what it counts is not what it holds
  }
  size = record_bytes;
  return record;
}

// Where the first whole record with a number above `sequence` begins behind the damage at `at`; the end if there is
// none. The damaged record's own length is not to be believed, so every place is tried; a checksum of 64 bits decides.
std::size_t next_whole_record(std::span<const std::byte> bytes, std::size_t at, std::uint64_t sequence) {
  constexpr std::size_t sequence_offset = 2 * sizeof(std::uint32_t);
  while (++at + record_bytes_without_ref <= bytes.size()) {
    std::uint64_t candidate;
    std::memcpy(&candidate, bytes.data() + at + sequence_offset, sizeof candidate);
    std::size_t size = 0;
    if (candidate > sequence && decode_record(bytes.subspan(at), size)) return at;
  }
  return bytes.size();
}

}  // namespace

std::map<SnapshotId, std::pair<std::uint64_t, SnapshotId>> forgotten_snapshots(
    const std::vector<JournalRecord>& records) {
  std::map<SnapshotId, std::pair<std::uint64_t, SnapshotId>> forgotten;
  for (const JournalRecord& record : records) {
    for (const ForgottenSnapshot& snapshot : record.snapshots) {
      if (record.kind == JournalKind::forget)
        forgotten[snapshot.id] = {record.sequence, snapshot.parent};
      else
        forgotten.erase(snapshot.id);
    }
  }
  return forgotten;
}

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
  ByteWriter rest;
  encode_rest(record, rest);
  ByteWriter body;
  body.put(static_cast<std::uint32_t>(record_bytes_without_ref + record.ref.size() + rest.size()));
  body.put(static_cast<std::uint32_t>(record.kind) | (record.previous ? has_previous : 0) |
           (record.undoes ? has_undoes : 0));
  body.put(record.sequence);
  body.put(record.at_ns);
  body.put(record.target);
  body.put_string(record.ref);
  body.put_bytes(rest.bytes());
  body.put(checksum_bytes(body.bytes()));
  assert(body.size() <= record_bytes_max);
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
    if (record) {
      contents.records.push_back(std::move(*record));
      at += size;
      continue;
    }
    if (!contents.damaged_at) contents.damaged_at = at;
    const std::size_t next =
        next_whole_record(bytes, at, contents.records.empty() ? 0 : contents.records.back().sequence);
    contents.damaged_bytes += next - at;
    at = next;
  }
  contents.good_bytes = contents.damaged_at.value_or(at);
  return contents;
}

}  // namespace tenon
