#include "store/commit.h"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>

#include "store/dedupe.h"
#include "store/failpoint.h"
#include "store/ingest.h"
#include "store/live_ranges.h"
#include "store/mutation.h"
#include "store/seeded_bug.h"

namespace tenon {

namespace {

using format::SectionKind;

std::function<void(std::uint64_t)> progress_counter(const Draft& draft,
                                                    const std::function<void(const Progress&)>& report) {
  if (!report) return [](std::uint64_t) {};
  struct Counter {
    std::mutex mutex;
    Progress progress;
  };
  auto counter = std::make_shared<Counter>();
  for (const SlotDraft& slot : draft.slots) counter->progress.total += slot.nbytes;
  return [counter, report](std::uint64_t bytes) {
    const std::lock_guard lock(counter->mutex);
    counter->progress.done = std::min(counter->progress.done + bytes, counter->progress.total);
    report(counter->progress);
  };
}

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
    const std::shared_ptr<const SnapshotState> parent = may_reuse ? open_parent() : nullptr;
    const auto add_progress = progress_counter(draft_, options_.progress);
    const DedupeResult origins = may_reuse ? find_origins(parent.get(), add_progress) : without_reuse();
    SegmentWriter writer(store_.paths().segments(), store_.store_id());
    Ingested ingested =
        ingest({draft_, parent.get(), origins, options_.statistics, store_.is_durable(), add_progress}, writer);
    if (store_.is_durable() && !seeded_bug("no_file_fsync")) writer.sync();

    failpoint("commit.before_lock");
    const auto result = publish_under_lock(writer, ingested);
    if (result) store_.keep_parent(parent);
    return result;
  }

  std::optional<CommitResult> publish_under_lock(SegmentWriter& writer, Ingested& ingested) {
    Mutation mutation(store_);
    const std::optional<SnapshotId> tip = check_ref(mutation);
    if (!is_alive(mutation, ingested.binding)) return std::nullopt;
    return publish(mutation, writer, ingested, tip);
  }

  // The tip that the new snapshot is compared with. What cannot be opened cannot be compared with; that is verify's to
  // report, and no reason to lose a checkpoint.
  std::shared_ptr<const SnapshotState> open_parent() const {
    if (options_.expected_tip && !*options_.expected_tip) return nullptr;
    try {
      const auto head = read_head(store_.paths().heads(), options_.ref, store_.store_id());
      return head ? store_.open_located({head->snapshot, head->segment}, {}) : nullptr;
    } catch (const Error& error) {
      if (!can_do_without(error)) throw;
      return nullptr;
    }
  }

  // Damage, a disk that does not read, files or mappings that this process may not have: what is compared with is a
  // help.
  static bool can_do_without(const Error& error) noexcept {
    switch (error.kind()) {
      case ErrorKind::corrupt:
      case ErrorKind::not_found:
      case ErrorKind::io:
      case ErrorKind::limit:
      case ErrorKind::too_new:
        return true;
      default:
        return false;
    }
  }

  DedupeResult find_origins(const SnapshotState* parent, const std::function<void(std::uint64_t)>& add_progress) const {
    const auto hints = [this](std::span<const std::uint64_t> sketches) {
      const CatalogReader reader = store_.catalog().read();
      std::vector<std::vector<StorageHint>> found;
      for (const std::uint64_t sketch : sketches) found.push_back(reader.hints(sketch));
      return found;
    };
    const auto segment = [this](std::uint64_t sequence) { return open_segment(sequence); };
    return find_stored_slots({draft_, parent, hints, segment, add_progress});
  }

  // Null for a segment that is gone or damaged: a hint is only a hint.
  std::shared_ptr<const Segment> open_segment(std::uint64_t sequence) const {
    try {
      auto segment = Segment::open(store_.paths().segment_directory().file_of(sequence));
      segment->storages();  // throws where the table is damaged
      return segment;
    } catch (const Error& error) {
      if (!can_do_without(error)) throw;
      return nullptr;
    }
  }

  DedupeResult without_reuse() const {
    DedupeResult result;
    result.slots.resize(draft_.slots.size());
    return result;
  }

  std::optional<SnapshotId> check_ref(const Mutation& mutation) const {
    if (options_.expected_tip) mutation.require_tip(options_.ref, *options_.expected_tip);
    const RefRow* ref = mutation.find_ref(options_.ref);
    if (ref == nullptr) return std::nullopt;
    if (ref->is_tag) {
      throw Error(ErrorKind::conflict, {.what = "'" + options_.ref + "' is a tag: it does not move",
                                        .file = store_.path().string(),
                                        .hint = "commit to another ref"});
    }
    return ref->id;
  }

  // The catalog must still know what is reused; of segments that gc has thinned, the very parts must still be there.
  bool is_alive(Mutation& mutation, const BindingDraft& binding) const {
    if (seeded_bug("dedupe_on_the_dead")) return true;
    std::map<std::uint32_t, LiveRanges> thinned;
    for (std::uint32_t i = 1; i < binding.segments.size(); ++i) {
      const auto row = mutation.catalog().segment(binding.segments[i].sequence);
      if (!row || row->uuid != binding.segments[i].uuid) return false;
      if (!row->is_sparse) continue;
      const auto segment = Segment::open(store_.paths().segment_directory().file_of(binding.segments[i].sequence));
      if (i == binding.layout_segment && !segment->has_section(SectionKind::layout)) return false;
      if (i == binding.structure_segment && !segment->has_section(SectionKind::structure)) return false;
      thinned.emplace(i, LiveRanges(*segment));
    }
    if (thinned.empty()) return true;
    return std::all_of(binding.slots.begin(), binding.slots.end(), [&](const Placement& placement) {
      return std::all_of(placement.begin(), placement.end(), [&](const format::Extent& extent) {
        const auto found = thinned.find(extent.segment);
        return found == thinned.end() || found->second.contains(extent.offset, extent.size);
      });
    });
  }

  CommitResult publish(Mutation& mutation, SegmentWriter& writer, Ingested& ingested,
                       const std::optional<SnapshotId>& tip) {
    if (tip) ingested.record.info.parents = {*tip};
    auto record = encode_record(ingested.record);
    // A clock that stands still must not give one id to two commits.
    while (mutation.catalog().has_snapshot(record_id(record))) {
      ++ingested.record.info.created_at_ns;
      record = encode_record(ingested.record);
    }
    const SnapshotId id = record_id(record);
    writer.add_section(SectionKind::record, record);
    writer.add_section(SectionKind::commit, encode_commit_section({options_.ref, tip}));
    const std::uint64_t sequence = mutation.sequence();
    const auto path = store_.paths().segment_directory().file_of(sequence);
    const Digest uuid = writer.uuid();
    const format::SegmentReference holder{uuid, sequence, writer.seal(sequence)};
    put_rows(mutation, holder, id, record, ingested);
    if (seeded_bug("row_before_data")) mutation.commit();
    writer.publish(path, store_.is_durable());
    if (!seeded_bug("row_before_data")) commit_or_withdraw(mutation, path);
    return result_of(id, sequence, ingested);
  }

  // A segment that the catalog surely does not know is taken back, so that a full disk is not left fuller; where the
  // outcome is not known it stays, and the next change finds out.
  void commit_or_withdraw(Mutation& mutation, const std::filesystem::path& segment) const {
    try {
      mutation.commit();
    } catch (...) {
      if (mutation.is_surely_void()) {
        remove_file(segment);
        // The next change takes this sequence number: the segment must not come back.
        if (store_.is_durable()) sync_directory(segment.parent_path());
      }
      throw;
    }
  }

  void put_rows(Mutation& mutation, const format::SegmentReference& holder, const SnapshotId& id,
                std::span<const std::byte> record, const Ingested& ingested) const {
    CatalogWriter& catalog = mutation.catalog();
    catalog.put_segment(holder.sequence, {holder.uuid, holder.file_bytes});
    catalog.put_snapshot(id, encode_snapshot_row({holder, record, ingested.keys_section, ingested.binding_section}));
    for (std::size_t i = 0; i < ingested.storages.size(); ++i) {
      const std::uint64_t sketch = ingested.storages[i].sketch;
      if (sketch != format::no_sketch) catalog.add_hint(sketch, {holder.sequence, i});
    }
    mutation.count_snapshot();
    mutation.set_ref(options_.ref, id, false, holder);
  }

  CommitResult result_of(const SnapshotId& id, std::uint64_t sequence, const Ingested& ingested) const {
    return {.id = id,
            .sequence = sequence,
            .written_bytes = ingested.written_bytes,
            .reused_bytes = ingested.reused_bytes,
            .written_storages = ingested.written_storages,
            .reused_storages = ingested.reused_storages};
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
