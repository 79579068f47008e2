#include "store/publication.h"

#include <algorithm>
#include <map>

#include "mmap/seeded_bug.h"
#include "store/live_ranges.h"
#include "store/mutation.h"

namespace tenon {

namespace {

using format::SectionKind;

class Publication {
 public:
  Publication(StoreState& store, const CommitOptions& options) : store_(store), options_(options) {}

  std::optional<CommitResult> run(SegmentWriter& writer, Ingested& ingested) {
    Mutation mutation(store_);
    const std::optional<SnapshotId> tip = check_ref(mutation);
    if (!is_alive(mutation, ingested.binding)) return std::nullopt;
    return publish(mutation, writer, ingested, tip);
  }

 private:
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
            .written_bytes = ingested.counts.written_bytes,
            .reused_bytes = ingested.counts.reused_bytes,
            .written_storages = ingested.counts.written_storages,
            .reused_storages = ingested.counts.reused_storages};
  }

  StoreState& store_;
  const CommitOptions& options_;
};

}  // namespace

SegmentWriter begin_segment(StoreState& store, const CommitOptions& options) {
  store.require_writable();
  check_ref_name(options.ref);
  store.sweep_temporaries_once();
  return {store.paths().segments(), store.store_id()};
}

std::optional<CommitResult> publish_snapshot(StoreState& store, const CommitOptions& options, SegmentWriter& writer,
                                             Ingested& ingested) {
  return Publication(store, options).run(writer, ingested);
}

}  // namespace tenon
