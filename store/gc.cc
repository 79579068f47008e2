#include "store/gc.h"

#include <algorithm>
#include <map>
#include <set>

#include "mmap/lock.h"
#include "mmap/seeded_bug.h"
#include "store/failpoint.h"
#include "store/gc_plan.h"
#include "store/history.h"

namespace tenon {

namespace {

constexpr std::uint64_t gc_lock_byte = 2;
constexpr auto gc_lock_timeout = std::chrono::seconds(60);
constexpr std::uint64_t ballast_bytes = 256 * 1024;
constexpr std::size_t first_batch_on_full_disk = 8;  // snapshots: their rows are few pages

std::filesystem::path ballast(const StorePaths& paths) { return paths.root / "ballast"; }

// Of the ids that the remaining snapshots name as parents: history leads over them even when they were forgotten.
using Parents = std::set<SnapshotId>;

class Collector {
 public:
  Collector(StoreState& store, const GcOptions& options)
      : store_(store), options_(options), lock_path_(store.paths().catalog() / "lock") {}

  GcReport run() {
    store_.require_writable();
    if (!options_.dry_run) sweep_temporaries(store_.paths());
    const FileLock alone = FileLock::acquire(lock_path_, LockMode::exclusive, gc_lock_byte, gc_lock_timeout);
    for (bool goes_on = true; goes_on;) goes_on = round(alone);
    if (!options_.dry_run) make_ballast(store_.paths());
    return std::move(report_);
  }

 private:
  // True if there is more to do: what did not fit on the disk may fit now.
  bool round(const FileLock& alone) {
    failpoint("gc.before_mark");
    mark();
    plans_ = plan_segments(store_, *marks_, candidates_);
    if (options_.dry_run) {
      count_plan();
      return false;
    }
    write_copies();
    failpoint("gc.after_mark");
    const std::uint64_t freed_before = report_.freed_bytes;
    const bool is_done = reclaim(alone);
    return !is_done || (has_lacked_space_ && report_.freed_bytes > freed_before);
  }

  // --- step 1

  void mark() {
    marks_ = std::make_unique<Marks>(store_);
    remaining_.clear();
    parents_.clear();
    // A commit may be newer than the list of snapshots, yet in that of the segments.
    const std::uint64_t marked_sequence = store_.catalog().read().root().sequence;
    const auto snapshots = remaining_snapshots(store_);
    std::unordered_set<std::uint64_t> candidates;
    {
      const CatalogReader reader = store_.catalog().read();
      forgotten_ = reader.forgotten();
      for (const auto& [sequence, row] : reader.segments()) {
        if (sequence <= marked_sequence) candidates.insert(sequence);
      }
    }
    for (const RemainingSnapshot& snapshot : snapshots) candidates.erase(snapshot.sequence);
    marks_->restrict_to(candidates);
    candidates_.assign(candidates.begin(), candidates.end());
    std::sort(candidates_.begin(), candidates_.end());
    for (const RemainingSnapshot& snapshot : snapshots) remaining_.insert(snapshot.id);
    visit_snapshots(store_, snapshots, [this](const SnapshotRow& row, const Record& record) { add(row, record); });
  }

  void add(const SnapshotRow& row, const Record& record) {
    marks_->add(row, record);
    parents_.insert(record.info.parents.begin(), record.info.parents.end());
  }

  void count_plan() {
    const CatalogReader reader = store_.catalog().read();
    for (const auto& [id, row] : forgotten_) report_.snapshots += reader.has_snapshot(id) ? 1 : 0;
    for (const SegmentPlan& plan : plans_) {
      (plan.kept.is_empty() ? report_.segments_removed : report_.segments_thinned) += 1;
      report_.freed_bytes += plan.gain;
    }
  }

  // On a full disk what goes whole goes first.
  void write_copies() {
    has_lacked_space_ = false;
    report_.skipped.clear();
    for (SegmentPlan& plan : plans_) {
      if (plan.kept.is_empty()) continue;
      const auto segment = Segment::open(store_.paths().segment_directory().file_of(plan.sequence), &plan.reference);
      try {
        plan.copy = std::make_unique<SparseCopy>(*segment, plan.kept, store_.is_durable());
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::full) throw;
        has_lacked_space_ = true;
        report_.skipped.push_back("no room to thin " + segment->path().filename().string());
      }
    }
    std::erase_if(plans_, [](const SegmentPlan& plan) { return !plan.kept.is_empty() && !plan.copy; });
  }

  // --- steps 2 to 4. False if there is a rest, or all must be marked anew.

  bool reclaim(const FileLock& alone) {
    try {
      return reclaim_at_most(alone, batch_);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::full || batch_ != SIZE_MAX) throw;
    }
    // LMDB needs room to delete.
    drop_ballast(store_.paths());
    batch_ = first_batch_on_full_disk;
    return false;
  }

  bool reclaim_at_most(const FileLock& alone, std::size_t batch) {
    Mutation mutation(store_);
    if (!alone.is_on(lock_path_)) {
      throw Error(ErrorKind::busy, {.what = "the store was repaired while gc marked", .hint = "run gc again"});
    }
    mark_newer(mutation);
    drop_plans_overtaken();
    strays_ = find_strays(store_, mutation);
    const bool is_all = delete_rows(mutation, batch);
    const bool has_work = !forgotten_.empty() || !plans_.empty();
    if (seeded_bug("gc_unlinks_first")) {
      remove_files();
      failpoint("gc.before_unlink");
    }
    if (has_work) mutation.commit_index();
    failpoint("gc.before_unlink");
    remove_files();
    if (batch_ != SIZE_MAX) batch_ *= 2;
    return is_all;
  }

  // Whatever remains now and did not then: commits, and forgetting that was undone.
  void mark_newer(Mutation& mutation) {
    if (seeded_bug("gc_without_second_mark")) return;
    CatalogWriter& catalog = mutation.catalog();
    std::set<SnapshotId> now_forgotten;
    for (const auto& [id, row] : catalog.forgotten()) now_forgotten.insert(id);
    for (const SnapshotId& id : catalog.snapshots()) {
      if (now_forgotten.contains(id) || remaining_.contains(id)) continue;
      const SnapshotRow row = decode_snapshot_row(*catalog.snapshot(id), store_.catalog_name());
      if (row.record.empty()) continue;
      remaining_.insert(id);
      revived_.insert(row.holder.sequence);
      add(row, decode_record(row.record, store_.catalog_name(), 0));
    }
    // What was forgotten after marking keeps its rows, and may come back: so must what it leads to.
    std::set<SnapshotId> then;
    for (const auto& [id, row] : forgotten_) then.insert(id);
    for (const auto& [id, row] : catalog.forgotten()) {
      if (!then.contains(id)) parents_.insert(row.next);
    }
    std::erase_if(forgotten_, [&](const auto& entry) { return !now_forgotten.contains(entry.first); });
  }

  void drop_plans_overtaken() {
    std::erase_if(plans_, [this](const SegmentPlan& plan) {
      if (revived_.contains(plan.sequence)) return true;
      const KeptParts needed = marks_->kept(plan.sequence);
      return plan.kept.is_empty() ? !needed.is_empty() : !plan.copy->kept().covers(needed);
    });
  }

  // At most so many snapshots; segments and hints go with the last of them. True if that was all.
  bool delete_rows(Mutation& mutation, std::size_t batch) {
    CatalogWriter& catalog = mutation.catalog();
    std::size_t taken = 0;
    for (const auto& [id, row] : forgotten_) {
      if (!catalog.has_snapshot(id)) continue;
      if (taken == batch) break;
      catalog.delete_snapshot(id);
      mutation.uncount_snapshot();
      ++taken;
    }
    report_.snapshots += taken;
    const bool is_all = taken < batch;
    if (!is_all) {
      plans_.clear();  // their segments still have rows of snapshots
      return false;
    }
    shorten_history(catalog);
    delete_segments(catalog);
    return true;
  }

  // What was forgotten a moment ago still has its row, and may come back: history must lead to it.
  static SnapshotId next_with_row(const CatalogReader& catalog, SnapshotId id) {
    while (id != SnapshotId{} && !catalog.has_snapshot(id)) {
      const auto row = catalog.forgotten(id);
      if (!row) break;  // lost: the walk will tell
      id = row->next;
    }
    return id;
  }

  // Rows of forgotten snapshots stay only where a remaining one leads to them, and lead to the next remaining one.
  void shorten_history(CatalogWriter& catalog) const {
    std::map<SnapshotId, SnapshotId> next;
    for (const auto& [id, row] : forgotten_) {
      if (parents_.contains(id)) next[id] = next_with_row(catalog, id);
    }
    for (const auto& [id, row] : forgotten_) {
      const auto kept = next.find(id);
      if (kept == next.end()) {
        catalog.delete_forgotten(id);
      } else if (kept->second != row.next) {
        catalog.put_forgotten(id, {row.sequence, kept->second});
      }
    }
  }

  void delete_segments(CatalogWriter& catalog) {
    std::map<std::uint64_t, const SegmentPlan*> plans;
    for (const SegmentPlan& plan : plans_) {
      plans[plan.sequence] = &plan;
      if (plan.kept.is_empty())
        catalog.delete_segment(plan.sequence);
      else
        catalog.put_segment(plan.sequence, {plan.reference.uuid, plan.reference.file_bytes, true});
    }
    if (plans.empty()) return;
    catalog.drop_hints([&](const StorageHint& hint) {
      const auto plan = plans.find(hint.segment_sequence);
      if (plan == plans.end()) return false;
      return plan->second->kept.is_empty() ||
             std::binary_search(plan->second->dead.begin(), plan->second->dead.end(), hint.storage_index);
    });
  }

  void remove_files() {
    const auto directory = store_.paths().segment_directory();
    for (SegmentPlan& plan : plans_) {
      if (plan.kept.is_empty()) {
        remove_file(directory.file_of(plan.sequence));
        ++report_.segments_removed;
      } else {
        plan.copy->take_place();
        ++report_.segments_thinned;
      }
      report_.freed_bytes += plan.gain;
    }
    for (const auto& [path, size] : strays_) {
      remove_file(path);
      report_.freed_bytes += size;
      ++report_.strays_removed;
    }
    if (store_.is_durable()) sync_directory(store_.paths().segments());
    if (report_.segments_thinned > 0) store_.live().announce_replaced_segments();
    plans_.clear();
    remove_unfinished_heads();
  }

  // Heads are written under the lock that we hold.
  void remove_unfinished_heads() const {
    for (const std::string& name : list_directory(store_.paths().heads())) {
      if (name.ends_with(".tmp")) remove_file(store_.paths().heads() / name);
    }
  }

  StoreState& store_;
  const GcOptions& options_;
  std::filesystem::path lock_path_;
  GcReport report_;
  std::unique_ptr<Marks> marks_;
  std::set<SnapshotId> remaining_;
  Parents parents_;
  std::vector<std::pair<SnapshotId, ForgottenRow>> forgotten_;
  std::vector<std::uint64_t> candidates_;  // segments whose own snapshot does not remain
  std::set<std::uint64_t> revived_;        // segments whose own snapshot came back
  std::vector<SegmentPlan> plans_;
  std::size_t batch_ = SIZE_MAX;
  bool has_lacked_space_ = false;
  std::vector<StraySegment> strays_;
};

}  // namespace

GcReport collect_garbage(StoreState& store, const GcOptions& options) { return Collector(store, options).run(); }

void drop_ballast(const StorePaths& paths) { remove_file(ballast(paths)); }

// For want of space there is none: no reason to fail.
void make_ballast(const StorePaths& paths) {
  if (file_exists(ballast(paths))) return;
  try {
    File file = File::create(ballast(paths));
    file.write_at(0, std::vector<std::byte>(ballast_bytes));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::full && error.kind() != ErrorKind::conflict) throw;
    if (error.kind() == ErrorKind::full) remove_file(ballast(paths));
  }
}

}  // namespace tenon
