// What a Session has open: the store, its history as far as it was read, foreign files, and the statement that runs.
//
// Threads: those of the session, but stop(). Errors: tenon::Error.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "query/engine.h"
#include "query/open_file.h"
#include "store/bounded_cache.h"
#include "store/catalog_snapshots.h"
#include "tenon/query.h"
#include "tenon/rev_path.h"
#include "tenon/summary.h"

namespace tenon {

// The rev alone; throws invalid_argument where a path follows.
std::string require_no_path(std::string_view text);

class TensorSet;

class SessionState {
 public:
  SessionState(std::optional<Store> store, const QueryLimits& limits);

  Engine& engine() noexcept { return engine_; }
  const QueryLimits& limits() const noexcept { return limits_; }
  void set_limits(const QueryLimits& limits);
  void set_progress(std::function<void()> progress) { progress_ = std::move(progress); }

  // ---- the statement that runs

  // Between these, poll() holds the statement to its limits. Statements may overlap; they share the limits of the
  // first.
  void begin_statement();
  void end_statement() noexcept;
  // Throws limit, interrupted, and what the caller's progress throws. Cheap enough for every row.
  void poll();
  void stop() noexcept { is_stopped_.store(true, std::memory_order_relaxed); }
  // Memory of ours that grows with what is asked. Throws limit.
  void charge(std::uint64_t bytes);
  void release(std::uint64_t bytes) noexcept { charged_ -= std::min(bytes, charged_); }
  std::function<void()> poller() {
    return [this] { poll(); };
  }

  // ---- the store

  bool has_store() const noexcept { return store_.has_value(); }
  // Throw no_store where there is none.
  const Store& store() const;
  CatalogSnapshots& history();
  // One answer for the whole of a statement, however its refs move meanwhile.
  SnapshotId resolve(std::string_view rev);
  // Opened to be read. Throws not_found.
  std::shared_ptr<const Snapshot> open(const SnapshotId& id);
  Summaries& summaries();
  // param_names(), remembered for what has the same layout.
  const std::vector<std::string>& params_of(const TensorSet& set);
  // layer_of() every row, remembered likewise.
  const std::vector<std::optional<std::int64_t>>& layers_of(const TensorSet& set);
  // About how much there is, for plans.
  double snapshot_count();
  double tensor_count();

  // ---- foreign files

  // Opened once for a session, until the file changes. Throws what ImportedFile::open throws.
  std::shared_ptr<const OpenFile> open_file(const std::string& path);
  // One that a statement has opened before; nullptr if none has.
  std::shared_ptr<const OpenFile> opened_file(const std::string& path) const;

 private:
  using Clock = std::chrono::steady_clock;
  void check_limits();

  std::optional<Store> store_;
  QueryLimits limits_;
  std::unique_ptr<CatalogSnapshots> history_;
  std::unique_ptr<Summaries> summaries_;
  std::map<std::string, SnapshotId, std::less<>> resolved_;
  bool is_refreshed_ = false;
  BoundedCache<SnapshotId, Snapshot> snapshots_;
  std::map<std::string, std::shared_ptr<const OpenFile>, std::less<>> files_;
  std::shared_ptr<const void> params_layout_;  // whose names `params_` are
  std::vector<std::string> params_;
  std::shared_ptr<const void> layers_layout_;
  std::vector<std::optional<std::int64_t>> layers_;
  double tensor_count_ = 0;

  int running_ = 0;
  std::atomic<bool> is_stopped_ = false;
  Clock::time_point deadline_{};
  Clock::time_point next_look_{};
  std::uint64_t memory_before_ = 0;
  std::uint64_t charged_ = 0;
  std::function<void()> progress_;
  Engine engine_;  // last: its statements and modules refer to the rest
};

}  // namespace tenon
