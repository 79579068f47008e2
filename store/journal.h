// The journal: an append-only file with the mutations that carry no data (ref moves, tags, removals of refs,
// forgetting). With the
// segments' commit sections it lets repair rebuild every ref. Never mapped.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "mmap/file.h"
#include "tenon/digest.h"

namespace tenon {

inline constexpr const char* journal_name = "journal";

enum class JournalKind : std::uint32_t { set_ref = 1, create_tag = 2, delete_ref = 3, forget = 4, restore = 5 };

// Where a ref was before a record changed it.
struct PreviousRef {
  SnapshotId id;  // zero: it did not exist
  bool is_tag = false;
  friend bool operator==(const PreviousRef&, const PreviousRef&) = default;
};

struct ForgottenSnapshot {
  SnapshotId id;
  SnapshotId parent;  // its first; zero if it has none
  friend bool operator==(const ForgottenSnapshot&, const ForgottenSnapshot&) = default;
};

inline constexpr std::size_t forgotten_per_record_max = 8000;

struct JournalRecord {
  JournalKind kind = JournalKind::set_ref;
  std::uint64_t sequence = 0;
  std::string ref;
  SnapshotId target;  // zero for delete_ref
  std::int64_t at_ns = 0;
  std::optional<PreviousRef> previous{};       // of set_ref and delete_ref
  std::optional<std::uint64_t> undoes{};       // the mutation that this one takes back
  std::vector<ForgottenSnapshot> snapshots{};  // of forget; of restore, without parents
  friend bool operator==(const JournalRecord&, const JournalRecord&) = default;
};

// Damage costs the records that it touches: reading goes on at the next whole record with a higher number.
struct JournalContents {
  std::vector<JournalRecord> records;
  std::uint64_t good_bytes = 0;             // up to the first damage, header included
  std::optional<std::uint64_t> damaged_at;  // first byte that is no whole record
  std::uint64_t damaged_bytes = 0;          // that belong to no whole record
};

// What is forgotten at the end of these records: id -> the sequence of its forgetting, and its first parent.
std::map<SnapshotId, std::pair<std::uint64_t, SnapshotId>> forgotten_snapshots(
    const std::vector<JournalRecord>& records);

// An empty journal's bytes.
std::vector<std::byte> encode_journal_header(const Digest& store_id);
std::vector<std::byte> encode_journal_record(const JournalRecord& record);
// Every record in `path` up to `limit_bytes`. Throws not_found; corrupt if the header is not this store's, unless
// `any_header`.
JournalContents read_journal(const std::filesystem::path& path, const Digest& store_id,
                             std::uint64_t limit_bytes = UINT64_MAX, bool any_header = false);

}  // namespace tenon
