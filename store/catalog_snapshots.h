// History as the catalog has it, copied out in short batches: every column of a snapshot's tensors but their values,
// without opening the snapshot. Of a bundle, its one snapshot.
//
// What was read is kept within bounds, as snapshots never change. Nothing of the catalog is held between calls. A
// snapshot may be forgotten meanwhile, and its segments taken: find() and the columns throw not_found then. Threads:
// one at a time.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "store/binding.h"
#include "store/bounded_cache.h"
#include "store/layout.h"
#include "store/record.h"
#include "store/segment.h"
#include "store/statistics_column.h"
#include "store/store_state.h"

namespace tenon {

// One snapshot. Immutable.
struct CatalogSnapshot {
  Record record;
  format::SegmentReference holder;  // the segment with its record and statistics
  std::vector<Digest> keys;         // of its slots
  std::vector<std::uint64_t> binding_bytes;
  Binding binding;  // over them

  const SnapshotInfo& info() const noexcept { return record.info; }
  // Entry `index` of the binding's table, valid outside of it, too (entry 0 names the holder).
  const format::SegmentReference& segment(std::uint32_t index) const noexcept {
    return index == 0 ? holder : binding.segments()[index];
  }
};

// A column that many snapshots may share, and the segment that it lies in.
struct SharedLayout {
  std::shared_ptr<const Segment> segment;
  Layout layout;
};
struct SnapshotStatistics {
  std::shared_ptr<const Segment> segment;
  StatisticsColumn column;
};
struct SharedStructure {
  std::shared_ptr<const Segment> segment;
  std::span<const std::byte> bytes;
};

class CatalogSnapshots {
 public:
  using Ids = std::shared_ptr<const std::vector<SnapshotId>>;

  explicit CatalogSnapshots(std::shared_ptr<StoreState> store);

  // Looks whether the store changed since the last call, and drops what may have.
  void refresh();
  // As of the last refresh, forgotten ones that gc has not taken among them; and what a ref was last set to, if any.
  std::uint64_t snapshot_count() const noexcept { return snapshot_count_; }
  const std::optional<SnapshotId>& newest() const noexcept { return newest_; }
  // `newest` and its first parents, newest first, as far as history goes. Throws not_found if it was forgotten.
  Ids chain(const SnapshotId& newest);
  // Every snapshot that was not forgotten, in the order of their commits.
  Ids all();
  // Throws not_found.
  std::shared_ptr<const CatalogSnapshot> find(const SnapshotId& id);
  // nullptr for what is forgotten, or never was.
  std::shared_ptr<const CatalogSnapshot> try_find(const SnapshotId& id);
  // Reads those of `ids` that are not known yet, in one batch.
  void prefetch(std::span<const SnapshotId> ids);

  std::shared_ptr<const SharedLayout> layout(const CatalogSnapshot& snapshot);
  std::shared_ptr<const SnapshotStatistics> statistics(const CatalogSnapshot& snapshot);
  std::shared_ptr<const SharedStructure> structure(const CatalogSnapshot& snapshot);
  // Every segment with its row, in the order of their commits.
  std::vector<std::pair<std::uint64_t, SegmentRow>> segments() const;

 private:
  std::shared_ptr<const CatalogSnapshot> add(std::span<const std::byte> row);  // nullptr if it was lost in a repair
  std::shared_ptr<const CatalogSnapshot> add(CatalogSnapshot snapshot, std::span<const std::byte> binding);
  void add_bundle();
  std::shared_ptr<const Segment> open_segment(const CatalogSnapshot& snapshot, std::uint32_t index) const;

  std::shared_ptr<StoreState> store_;
  std::uint64_t sequence_ = 0;  // of the newest mutation, at the last refresh
  std::uint64_t journal_bytes_ = 0;
  std::uint64_t snapshot_count_ = 0;
  std::optional<SnapshotId> newest_;
  std::map<SnapshotId, Ids> chains_;
  Ids all_;
  BoundedCache<SnapshotId, CatalogSnapshot> snapshots_;
  BoundedCache<Digest, SharedLayout> layouts_;
  BoundedCache<SnapshotId, SnapshotStatistics> statistics_;
  BoundedCache<Digest, SharedStructure> structures_;
};

}  // namespace tenon
