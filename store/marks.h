// What of the segments the remaining snapshots need, and how many of them need it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "store/record.h"
#include "store/sparse_copy.h"
#include "store/store_state.h"

namespace tenon {

// Who needs a part: how many snapshots, and which one if it is one. Snapshots are numbered as they are added.
struct Users {
  std::uint32_t count = 0;
  std::uint32_t sole = 0;
  void add(std::uint32_t snapshot) noexcept {
    if (count != 0 && sole == snapshot) return;  // several slots of one snapshot
    ++count;
    sole = snapshot;
  }
  bool is_only(std::uint32_t snapshot) const noexcept { return count == 1 && sole == snapshot; }
};

struct SegmentUse {
  struct Part {
    std::uint64_t size;
    Users users;
  };
  std::unordered_map<std::uint64_t, std::vector<Part>> extents;  // by offset; of one offset few sizes
  Users layout;
  Users structure;
};

class Marks {
 public:
  static constexpr std::uint32_t nobody = 0xFFFFFFFFu;

  explicit Marks(const StoreState& store) : store_(store) {}

  // Only these segments are looked at; all of them until it is called.
  void restrict_to(std::unordered_set<std::uint64_t> sequences) { wanted_ = std::move(sequences); }
  // Notes what a snapshot needs. REQUIRES: its row is not that of a lost one. Returns its number.
  std::uint32_t add(const SnapshotRow& row, const Record& record);

  // What somebody but `without` needs of a segment.
  KeptParts kept(std::uint64_t sequence, std::uint32_t without = nobody) const;
  const std::unordered_map<std::uint64_t, SegmentUse>& segments() const noexcept { return segments_; }

 private:
  const std::vector<std::uint64_t>& slot_sizes(const SnapshotRow& row, const Record& record);

  const StoreState& store_;
  std::optional<std::unordered_set<std::uint64_t>> wanted_;
  std::unordered_map<std::uint64_t, SegmentUse> segments_;  // by sequence
  std::map<Digest, std::vector<std::uint64_t>> sizes_;      // of a layout's slots
  std::uint32_t snapshots_ = 0;
};

// Every snapshot that was not forgotten, in the order of their commits; read in short batches.
struct RemainingSnapshot {
  SnapshotId id;
  std::uint64_t sequence = 0;  // of its segment
};
std::vector<RemainingSnapshot> remaining_snapshots(const StoreState& store);
// Calls visit(row, record) for each of `snapshots` that is still there, in short read batches.
void visit_snapshots(const StoreState& store, const std::vector<RemainingSnapshot>& snapshots,
                     const std::function<void(const SnapshotRow&, const Record&)>& visit);

}  // namespace tenon
