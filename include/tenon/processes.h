// Who uses a store, and what that costs in memory.
//
// A process is known by its mappings of the store's files (from /proc, where this process may look: its own PID
// namespace and those below) or by its place in the live region (any process that follows a ref, in whatever
// container).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tenon/digest.h"
#include "tenon/export.h"

namespace tenon {

// Of a process's mappings of this store's files, as the kernel counts them. A page that n processes have mapped is
// counted in full in each one's resident bytes, and by a n-th in each one's proportional bytes.
struct ProcessMemory {
  std::uint64_t mapped_bytes = 0;        // addresses
  std::uint64_t resident_bytes = 0;      // RSS
  std::uint64_t proportional_bytes = 0;  // PSS
  std::uint64_t private_bytes = 0;       // copied on write, in memory or swapped out: shared with nobody any more
};

struct StoreProcess {
  std::uint32_t pid = 0;        // as this process sees it; 0 if it does not
  std::uint32_t inner_pid = 0;  // in its own PID namespace
  std::string name;             // what it calls itself, else its program
  std::string ref{};  // what it opened last, and which snapshot that was; empty if it is not in the live region
  std::optional<SnapshotId> snapshot{};
  std::optional<std::int64_t> attached_at_ns{};  // since 1970
  std::uint64_t snapshot_bytes = 0;              // of the snapshots that it has open, as it says
  std::optional<ProcessMemory> memory{};         // nullopt if this process may not look
};

}  // namespace tenon
