// How a snapshot is opened: what its memory is, and what is asked of the system for it.
#pragma once

#include "tenon/snapshot.h"

namespace tenon {

// All but the mode are for mapped snapshots, cost nothing where they are not asked for, and copy no page: what
// processes share stays shared. `tenon doctor` says what this machine gives.
struct OpenOptions {
  Mode mode = Mode::shared;
  // Every page is in memory, and in this process's page tables, before opening returns.
  bool prefault = false;
  // The system begins to read what is not in memory yet; opening does not wait for it.
  bool will_need = false;
  // Huge pages where the file system has them (tmpfs mounted with huge=advise; large folios on ext4 and XFS need no
  // asking).
  bool huge_pages = false;
  // Pages that were touched once stay in memory (mlock2 with MLOCK_ONFAULT). Throws limit if RLIMIT_MEMLOCK is less.
  bool lock_on_fault = false;
  // Pages that this process brings into memory are spread over all NUMA nodes. Nothing on a machine with one.
  bool numa_interleave = false;
};

}  // namespace tenon
