// What a Store handle points to: paths, superblock and catalog of an open directory store, or the one segment of a
// bundle.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "store/catalog.h"
#include "store/heads.h"
#include "store/live.h"
#include "store/rev.h"
#include "store/snapshot_state.h"
#include "store/superblock.h"
#include "tenon/store.h"

namespace tenon {

// Names inside a store's directory.
struct StorePaths {
  std::filesystem::path root;
  std::filesystem::path segments() const { return root / "segments"; }
  std::filesystem::path heads() const { return root / "heads"; }
  std::filesystem::path journal() const { return root / "journal"; }
  std::filesystem::path catalog() const { return root / "catalog"; }
  SegmentDirectory segment_directory() const { return {segments()}; }
};

// Removes segments in flight whose writer has died: `.tmp` files that nobody holds locked and that are older than a
// minute (a writer locks its file right after making it).
void sweep_temporaries(const StorePaths& paths);

// A snapshot's row in the catalog: enough to open it, and (for history) its record, keys and binding without opening
// anything.
struct SnapshotRow {
  format::SegmentReference holder;
  std::span<const std::byte> record;
  std::span<const std::byte> keys;
  std::span<const std::byte> binding;
};
std::vector<std::byte> encode_snapshot_row(const SnapshotRow& row);
// Spans point into `bytes`. Throws corrupt.
SnapshotRow decode_snapshot_row(std::span<const std::byte> bytes, const std::string& file);

class StoreState {
 public:
  static std::shared_ptr<StoreState> open(const std::filesystem::path& path);
  static const std::shared_ptr<StoreState>& of(const Store& store) noexcept { return store.state_; }

  const std::filesystem::path& path() const noexcept { return paths_.root; }
  const StorePaths& paths() const noexcept { return paths_; }
  const Digest& store_id() const noexcept { return store_id_; }
  bool is_durable() const noexcept { return is_durable_; }
  bool is_bundle() const noexcept { return bundle_ != nullptr; }
  // Of a bundle.
  const Segment& bundle() const noexcept { return *bundle_; }
  std::string bundle_ref() const;

  // Throws invalid_argument in a forked child.
  void require_same_process() const;
  // Throws unsupported for bundles, later formats' stores and network file systems; invalid_argument in a forked child.
  void require_writable() const;
  Catalog& catalog() const;

  // The segment and id that a rev stands for. A bare ref is read from its head file.
  struct Located {
    SnapshotId id;
    format::SegmentReference holder;
  };
  Located locate(std::string_view rev) const;
  // Opens what `rev` names; tries again if its segments went away meanwhile because the ref moved on.
  std::shared_ptr<const SnapshotState> open_snapshot(std::string_view rev, const OpenOptions& options) const;
  // With `rev`, the live region tells that it is open. What did not change since `previous` is taken from there; with
  // `keeps_segments` without a look at its files, in mode `shared`.
  std::shared_ptr<const SnapshotState> open_located(const Located& located, const OpenOptions& options,
                                                    std::string_view rev = {},
                                                    const std::shared_ptr<const SnapshotState>& previous = {},
                                                    bool keeps_segments = false) const;
  StoreLive& live() const noexcept { return live_; }
  // What killed writers left, once in the life of this store handle.
  void sweep_temporaries_once();
  // Keeps the last parent's segments mapped for the next commit's comparison; until then their disk space is not
  // returned.
  void keep_parent(std::shared_ptr<const SnapshotState> parent) noexcept;
  // Of a snapshot that is referred to: throws corrupt if it is not there, not_found if it was lost in a repair.
  SnapshotRow row_of(const CatalogReader& reader, const SnapshotId& id) const;
  std::string catalog_name() const { return (paths_.catalog() / "data.mdb").string(); }

 private:
  [[noreturn]] void throw_lost(const SnapshotId& id) const;
  Located locate_in_catalog(const Rev& rev) const;
  Located locate_in_bundle(const Rev& rev, std::string_view text) const;

  StorePaths paths_;
  Digest store_id_;
  bool is_durable_ = true;
  bool is_format_writable_ = true;
  std::string network_file_system_;  // its kind, empty on a local one
  std::shared_ptr<const Segment> bundle_;
  std::unique_ptr<Catalog> catalog_;
  std::uint64_t fork_generation_ = 0;
  mutable SegmentCache cache_;
  mutable StoreLive live_;
  std::once_flag swept_;
  std::mutex parent_mutex_;
  std::shared_ptr<const SnapshotState> parent_;
};

// The ref update that a segment carries.
struct CommitSection {
  std::string ref;
  std::optional<SnapshotId> previous_tip;
};
std::vector<std::byte> encode_commit_section(const CommitSection& commit);
CommitSection decode_commit_section(const Segment& segment);

}  // namespace tenon
