// The catalog: an LMDB environment that indexes segments, snapshots and refs. It is an index: everything in it can be
// rebuilt from segments and journal. LMDB is included by lmdb_environment.cc alone.
//
// Locks: always MDB_NOLOCK plus our own open-file-description locks on `<directory>/lock`, byte 0: shared for a read
// batch (keep it short: it holds up writers), exclusive from the begin of a write transaction to its end. Neither needs
// an LMDB reader slot, so other PID namespaces, other users and read-only mounts work. Byte 1 is a gate that keeps new
// readers from passing a writer that waits. Whoever replaces the directory holds the exclusive lock meanwhile.
//
// Values carry a checksum over table, key and value; the root value carries LMDB's own transaction number, so that a
// stale page cannot pass for the current root, and what full lists of snapshots and segments must sum up to. The lock
// file holds a watermark, the newest transaction known to be committed, so that a root from the past cannot pass
// either. A value that is referenced but not there is damage (corrupt), never emptiness. Before LMDB opens data.mdb its
// meta pages are read and checked, and the file must be as long as they say: LMDB itself opens an emptied file as an
// empty database and dies by SIGBUS on a cut one. Threads: one Catalog may be used from several threads (batches are
// independent). Fork: throws invalid_argument in a child.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/digest.h"

namespace tenon {

struct RefRow {
  std::string name;
  SnapshotId id;
  std::uint64_t sequence = 0;  // of the mutation that set it
  bool is_tag = false;
  friend bool operator==(const RefRow&, const RefRow&) = default;
};

// The one value that says what the current state is.
struct CatalogRoot {
  std::uint64_t sequence = 0;       // of the newest mutation
  std::uint64_t journal_bytes = 0;  // length of the journal that is committed
  std::uint64_t snapshot_count = 0;
  std::vector<RefRow> refs;  // sorted by name
  friend bool operator==(const CatalogRoot&, const CatalogRoot&) = default;
};

struct SegmentRow {
  Digest uuid;
  std::uint64_t file_bytes = 0;
  bool is_sparse = false;  // gc has taken parts of it: see its live section
  friend bool operator==(const SegmentRow&, const SegmentRow&) = default;
};

// Where a storage with a certain sketch was last written: a hint for dedupe, to be compared by bytes.
struct StorageHint {
  std::uint64_t segment_sequence = 0;
  std::uint64_t storage_index = 0;  // in the segment's storages table
  friend bool operator==(const StorageHint&, const StorageHint&) = default;
};

inline constexpr std::size_t hints_per_sketch_max = 4;  // newest first; older ones fall out
// Sketches share this many rows, so that the table, and the cost of adding to it, stays the same however long the
// history is.
inline constexpr std::uint64_t hint_rows_max = 65536;

// A snapshot that was forgotten. Its own row stays until gc takes it; this one stays for as long as a remaining
// snapshot names it as a parent.
struct ForgottenRow {
  std::uint64_t sequence = 0;  // of the mutation that forgot it
  SnapshotId next;             // where its history goes on; zero if it ends there
  friend bool operator==(const ForgottenRow&, const ForgottenRow&) = default;
};

class CatalogState;

// A short, consistent look. Spans returned are valid until the batch ends, and aligned to 8 bytes.
class CatalogReader {
 public:
  CatalogReader(CatalogReader&&) noexcept;
  virtual ~CatalogReader();

  const CatalogRoot& root() const noexcept { return root_; }
  // The row of a snapshot as it was put; nullopt if there is none.
  std::optional<std::span<const std::byte>> snapshot(const SnapshotId& id) const;
  // Whether there is such a row; does not look at it.
  bool has_snapshot(const SnapshotId& id) const;
  // Ids that begin with these hex digits (2 to 32 of them, lower case), at most `limit`.
  std::vector<SnapshotId> snapshots_with_prefix(std::string_view hex_digits, std::size_t limit) const;
  // Every snapshot id, sorted. Throws corrupt if their number is not root().snapshot_count.
  std::vector<SnapshotId> snapshots() const;
  std::optional<SegmentRow> segment(std::uint64_t sequence) const;
  std::vector<std::pair<std::uint64_t, SegmentRow>> segments() const;  // by sequence
  std::vector<StorageHint> hints(std::uint64_t sketch) const;          // damaged ones are left out: they are hints
  std::optional<ForgottenRow> forgotten(const SnapshotId& id) const;
  std::vector<std::pair<SnapshotId, ForgottenRow>> forgotten() const;  // by id

 protected:
  friend class Catalog;
  struct Batch;
  explicit CatalogReader(std::unique_ptr<Batch> batch);
  std::unique_ptr<Batch> batch_;
  CatalogRoot root_;
};

// The one writer. Nothing is seen by others, or survives, unless commit() returned. Ends (aborts) on destruction, and
// only then gives back the lock: what follows a commit (heads) is in order, too. After commit() nothing more can be
// read.
class CatalogWriter : public CatalogReader {
 public:
  CatalogWriter(CatalogWriter&&) noexcept;
  ~CatalogWriter() override;

  void put_snapshot(const SnapshotId& id, std::span<const std::byte> row);
  void delete_snapshot(const SnapshotId& id);
  void put_segment(std::uint64_t sequence, const SegmentRow& row);
  void delete_segment(std::uint64_t sequence);
  void add_hint(std::uint64_t sketch, const StorageHint& hint);
  void put_forgotten(const SnapshotId& id, const ForgottenRow& row);
  void delete_forgotten(const SnapshotId& id);
  // Takes hints away that lead to storages for which `is_dead` holds. Damaged rows go whole.
  void drop_hints(const std::function<bool(const StorageHint&)>& is_dead);
  // Stores `root` and commits, durably unless the catalog is relaxed. On an error before LMDB's meta page was written
  // the old state stands (io, full). Where the outcome cannot be known (a sync failed), `outcome_unknown` is set and io
  // thrown. The environment is closed after any failure and opened anew by the next batch.
  void commit(const CatalogRoot& root);
  bool outcome_unknown() const noexcept { return outcome_unknown_; }

 private:
  friend class Catalog;
  using CatalogReader::CatalogReader;
  bool outcome_unknown_ = false;
};

class Catalog {
 public:
  // Makes `directory` with an empty environment and the lock file in it, in a temporary directory beside it that is
  // renamed into place, so that a crash leaves all or nothing. Throws conflict if it exists. With `durable`, everything
  // is synced.
  static void create(const std::filesystem::path& directory, const Digest& store_id, bool durable,
                     const CatalogRoot& root = {});
  // Opens lazily: the first batch opens the environment. `store_id` must be the one it was created with (else corrupt).
  Catalog(std::filesystem::path directory, const Digest& store_id, bool durable);
  Catalog(Catalog&&) noexcept;
  ~Catalog();

  // Waits for the lock up to `timeout`, then throws busy. Throws corrupt, with a hint to run repair, if the catalog is
  // damaged.
  CatalogReader read(std::chrono::milliseconds timeout = std::chrono::seconds(60)) const;
  CatalogWriter write(std::chrono::milliseconds timeout = std::chrono::seconds(60));

  // Walks every table and checks every value; throws corrupt at the first that is wrong. LMDB itself may crash on a
  // damaged file: call it in a child process.
  void check() const;

 private:
  std::shared_ptr<CatalogState> state_;
};

}  // namespace tenon
