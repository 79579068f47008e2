#include "store/commit.h"

#include "mmap/seeded_bug.h"
#include "store/failpoint.h"
#include "store/ingest.h"
#include "store/origins.h"
#include "store/publication.h"

namespace tenon {

namespace {

class Commit {
 public:
  Commit(StoreState& store, const Draft& draft, const CommitOptions& options)
      : store_(store), draft_(draft), options_(options) {}

  CommitResult run() {
    store_.require_writable();
    check_ref_name(options_.ref);
    check_draft(draft_);
    store_.sweep_temporaries_once();
    for (const bool may_reuse : {true, false}) {
      if (auto result = attempt(may_reuse)) return *result;
    }
    throw Error(ErrorKind::io,
                {.what = "commit reused nothing and yet lost what it reused", .file = store_.path().string()});
  }

 private:
  // nullopt: a segment that was to be reused has gone meanwhile.
  std::optional<CommitResult> attempt(bool may_reuse) {
    const bool is_first = options_.expected_tip && !*options_.expected_tip;
    const auto parent = may_reuse && !is_first ? open_tip(store_, options_.ref) : nullptr;
    const auto add_progress = progress_counter(draft_, options_.progress);
    const DedupeResult origins = may_reuse ? find_origins(store_, draft_, parent.get(), add_progress) : without_reuse();
    SegmentWriter writer(store_.paths().segments(), store_.store_id());
    StoredSlots slots = store_slots({draft_, origins, options_.statistics, store_.is_durable(), add_progress}, writer);
    Ingested ingested = describe_slots(draft_, parent.get(), std::move(slots), options_.statistics, writer);
    if (store_.is_durable() && !seeded_bug("no_file_fsync")) writer.sync();

    failpoint("commit.before_lock");
    const auto result = publish_snapshot(store_, options_, writer, ingested);
    if (result) store_.keep_parent(parent);
    return result;
  }

  DedupeResult without_reuse() const {
    DedupeResult result;
    result.slots.resize(draft_.slots.size());
    return result;
  }

  StoreState& store_;
  const Draft& draft_;
  const CommitOptions& options_;
};

}  // namespace

CommitResult commit_draft(StoreState& store, const Draft& draft, const CommitOptions& options) {
  return Commit(store, draft, options).run();
}

}  // namespace tenon
