// A store: a directory that many processes read and write at once, or a bundle (one file, read-only).
//
// Threads: a Store may be used from several threads. Processes: any number, also in other PID namespaces,
// under other users, on read-only mounts. After fork a Store opened by the parent throws invalid_argument in
// the child when used; open it again there (snapshots and views made before the fork stay valid).
// Errors: tenon::Error. A failed or killed commit leaves the old state or the new one, never a mixture.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/draft.h"
#include "tenon/error.h"
#include "tenon/export.h"
#include "tenon/live.h"
#include "tenon/open_options.h"
#include "tenon/processes.h"
#include "tenon/retention.h"
#include "tenon/snapshot.h"

namespace tenon {

enum class Durability : std::uint8_t { full = 1, relaxed = 2 };

struct InitOptions {
  Durability durability = Durability::full;
};

struct Progress {  // of bytes
  std::uint64_t done = 0;
  std::uint64_t total = 0;
};

struct CommitOptions {
  std::string ref = "main";
  // Set: throw conflict unless the ref's tip is this (nullopt inside: unless the ref does not exist).
  std::optional<std::optional<SnapshotId>> expected_tip{};
  bool statistics = true;
  std::function<void(const Progress&)> progress{};
};

struct CommitResult {
  SnapshotId id;
  std::uint64_t sequence = 0;
  std::uint64_t written_bytes = 0;  // of storages, as new data
  std::uint64_t reused_bytes = 0;   // of storages the store already had
  std::uint32_t written_storages = 0;
  std::uint32_t reused_storages = 0;
};

struct RefInfo {
  std::string name;
  SnapshotId id;
  bool is_tag = false;
  std::uint64_t sequence = 0;  // of the mutation that set it
};

// One mutation of the store.
struct ReflogEntry {
  std::uint64_t sequence = 0;
  std::int64_t at_ns = 0;
  // "commit", "set ref", "create tag", "delete", "forget", "restore"; "unreadable" for a commit whose segment is
  // damaged: then `error` says why, and but for the sequence nothing is known.
  std::string action;
  std::string ref{};                      // that was changed; empty for forget and restore
  std::optional<SnapshotId> id{};         // where it leads since
  std::optional<SnapshotId> previous{};   // where it led before
  std::optional<std::uint64_t> undoes{};  // the mutation that this one takes back
  std::vector<SnapshotId> snapshots{};    // that were forgotten or restored
  std::string error{};                    // of one that is unreadable
};

struct VerifyOptions {
  bool read_data = false;  // hash every storage, too
  // Only the `part`-th of `parts` shares of the data, chosen by the storages' digests: 1 to `parts`, over which all
  // data is read once.
  std::uint32_t part = 1;
  std::uint32_t parts = 1;
  std::function<void(const Progress&)> progress{};
};

struct Damage {
  std::string file;
  std::optional<std::uint64_t> offset;
  std::string what;
  std::vector<std::string> snapshots;  // hex ids of those it hurts, where known
};

struct VerifyReport {
  std::vector<Damage> damage;
  std::uint64_t segments = 0;
  std::uint64_t snapshots = 0;
  std::uint64_t storages = 0;
  std::uint64_t read_bytes = 0;  // of storages, with read_data
};

struct CloneReport {
  std::uint64_t snapshots = 0;
  std::uint64_t segments = 0;      // that were copied
  std::uint64_t copied_bytes = 0;  // of them
};

struct RepairOptions {
  // Another store, or a bundle, from which damaged storages and segments are taken where it has them. All data is read.
  std::optional<std::filesystem::path> from{};
};

struct RepairReport {
  std::uint64_t snapshots = 0;
  std::uint64_t refs = 0;
  std::uint64_t forgotten = 0;       // snapshots that stay forgotten, and that gc has not taken
  std::vector<std::string> mended;   // from the other store, or from heads; one line each
  std::vector<std::string> dropped;  // what could not be kept, one line each
};

struct BundleOptions {
  std::function<void(const Progress&)> progress{};
};

class StoreState;

class FilledCommit;
class JointCommit;

class TENON_API Store {
 public:
  // Makes an empty store. Throws conflict if something is there already.
  static Store init(const std::filesystem::path& path, const InitOptions& options = {});
  // Opens a directory store or a bundle; never creates. Throws no_store, corrupt, too_new, unsupported.
  static Store open(const std::filesystem::path& path);

  const std::filesystem::path& path() const noexcept;
  bool is_bundle() const noexcept;

  // A rev is NAME[@VALUE][~N]. NAME: a ref or tag by its exact name, or an id prefix of 4 or more hex digits. @VALUE
  // selects from its first-parent ancestry: a date, YYYY-MM-DD[THHMM[SS]] (the newest made before it was over, local
  // time), step:N (the newest with that step), min:KEY or max:KEY (of a number in the metadata). ~N: the N-th first
  // parent. A bare ref or tag is opened from its head file, without the catalog.
  Snapshot snapshot(std::string_view rev = "main", const OpenOptions& options = {}) const;
  // Throws not_found (with close names, also for a snapshot that was forgotten), invalid_argument (no rev, or an
  // ambiguous prefix).
  SnapshotId resolve(std::string_view rev) const;

  // Follows a ref or tag: its snapshot now, then the newest one whenever it moves. See tenon/live.h.
  Watch watch(const std::string& ref = "main", const WatchOptions& options = {}) const;

  // Who uses the store now, by pid; those that cannot be seen from here come last.
  std::vector<StoreProcess> processes() const;

  CommitResult commit(const Draft& draft, const CommitOptions& options = {});

  std::vector<RefInfo> refs() const;
  // Points a ref (or creates a tag, which does not move) at a snapshot. For refs, `expected_tip` as in CommitOptions.
  void set_ref(const std::string& name, const SnapshotId& target,
               std::optional<std::optional<SnapshotId>> expected_tip = {});
  void create_tag(const std::string& name, const SnapshotId& target);
  // Removes the name; the snapshot stays.
  void delete_ref(const std::string& name);

  // First-parent chain from `rev`, newest first; at most `limit`.
  std::vector<SnapshotInfo> log(std::string_view rev = "main", std::size_t limit = SIZE_MAX) const;

  // What happened to `ref` (to all of the store, if empty), newest first; at most `limit`. Commits whose segments gc
  // has taken are left out; unreadable ones are among those of every ref.
  std::vector<ReflogEntry> reflog(std::string_view ref = {}, std::size_t limit = SIZE_MAX) const;
  // Takes back the newest mutation that neither was taken back nor takes another back, and says which: a ref moved by a
  // commit or by hand goes back, a tag or ref made goes, one deleted comes back, and what was forgotten is there again.
  // The snapshot of a commit that is undone stays in the store. Throws not_found if there is nothing to undo, or if gc
  // has taken what would be needed; corrupt if that mutation cannot be read.
  ReflogEntry undo(bool dry_run = false);

  // Forgets the snapshots that no rule keeps. Throws invalid_argument if nothing says what to keep or to forget.
  ForgetReport forget(const ForgetOptions& options);
  // Gives the disk space of forgotten snapshots back, beside readers and writers. On a full disk, too.
  GcReport gc(const GcOptions& options = {});
  // What each snapshot costs: freed_bytes of one is what gc would free after forgetting it alone.
  DiskUsage du() const;

  // Writes a snapshot as a single-file read-only store, digests checked on the way. Replaces nothing: throws
  // conflict if `out` exists. Until it is whole it stands beside `out` as `<out>.<random>.tmp`.
  void bundle(std::string_view rev, const std::filesystem::path& out, const BundleOptions& options = {}) const;

  // Makes a consistent copy of the store in the new directory `out`, beside readers and writers. Every byte of the copy
  // is checked. Throws conflict if `out` exists, corrupt if the store is damaged, unsupported for a bundle.
  CloneReport clone(const std::filesystem::path& out) const;

  // Looks at every checksum; damage is reported, not thrown. Works on stores whose catalog is damaged.
  static VerifyReport verify(const std::filesystem::path& path, const VerifyOptions& options = {});
  // Rebuilds catalog, refs, tags and heads from the segments and the journal.
  static RepairReport repair(const std::filesystem::path& path, const RepairOptions& options = {});

 private:
  friend class StoreState;
  void require_directory(const char* what) const;
  friend class FilledCommit;
  friend class JointCommit;
  explicit Store(std::shared_ptr<StoreState> state) noexcept : state_(std::move(state)) {}
  std::shared_ptr<StoreState> state_;
};

}  // namespace tenon
