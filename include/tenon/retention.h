// Which snapshots stay, what forgetting costs and what gc gives back.
//
// A forgotten snapshot is out of history and cannot be opened by anything but a handle that has it open. Until gc its
// bytes are there and `undo` brings it back. The tips of refs and tags are never forgotten.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tenon/export.h"
#include "tenon/snapshot.h"

namespace tenon {

// A snapshot stays if any rule keeps it. Rules look at one history at a time, the first-parent chain of a ref. Of an
// hour, day, week (from Monday) or month, in local time, the newest snapshot counts.
struct KeepRules {
  std::uint64_t last = 0;     // the newest ones
  std::uint64_t hourly = 0;   // one of each of the newest hours that have any
  std::uint64_t daily = 0;    //
  std::uint64_t weekly = 0;   //
  std::uint64_t monthly = 0;  //
  std::int64_t every = 0;     // of each N steps the first snapshot: step 0 to N-1, N to 2N-1, ...
  struct Best {
    std::string metric;  // a number of the metadata; see Store::snapshot
    bool is_least = true;
    std::uint64_t count = 1;
  };
  std::vector<Best> best{};
  bool tagged = false;  // what tags point to stays anyhow; this makes a rule of it

  bool is_empty() const noexcept {
    return last == 0 && hourly == 0 && daily == 0 && weekly == 0 && monthly == 0 && every == 0 && best.empty() &&
           !tagged;
  }
};

// "min:METRIC" or "max:METRIC", with ":COUNT" if it is not 1. Throws invalid_argument.
TENON_API KeepRules::Best parse_keep_best(const std::string& text);

struct ForgetOptions {
  KeepRules keep{};
  std::vector<std::string> refs{};      // whose histories are looked at; all refs if none is named
  std::vector<SnapshotId> snapshots{};  // forget these; the rules are not asked about others if there are none
  bool unreachable = false;             // forget what is in no history of a ref or tag, too
  bool dry_run = false;
};

struct RetentionRow {
  SnapshotInfo info;
  std::string ref;  // in whose history it was met first; empty for what is in none
  bool is_kept = true;
  std::vector<std::string> reasons;  // "last 1", "daily 2026-11-20", "best min:val_loss", "tip of main", ...
};

struct ForgetReport {
  std::vector<RetentionRow> rows;  // of all that were looked at, newest first in each history
  std::uint64_t forgotten = 0;     // or, in a dry run, would have been
};

struct GcOptions {
  bool dry_run = false;
};

struct GcReport {
  std::uint64_t snapshots = 0;         // forgotten ones that were taken
  std::uint64_t segments_removed = 0;  // whole
  std::uint64_t segments_thinned = 0;  // in part
  std::uint64_t freed_bytes = 0;       // of disk, in blocks of 4 KiB
  std::uint64_t strays_removed = 0;    // files that an interrupted gc left
  std::vector<std::string> skipped;    // what could not be given back, one line each
};

struct SnapshotUsage {
  SnapshotInfo info;
  std::uint64_t freed_bytes = 0;  // what gc would give back if this one were forgotten
};

struct DiskUsage {
  std::uint64_t total_bytes = 0;         // of the whole store, as the file system counts
  std::uint64_t segment_bytes = 0;       // of segments, in blocks of 4 KiB
  std::uint64_t reclaimable_bytes = 0;   // what gc would give back now
  std::uint64_t forgotten = 0;           // snapshots that gc would take
  std::vector<SnapshotUsage> snapshots;  // newest first
};

}  // namespace tenon
