#include "store/catalog_rebuild.h"

#include <optional>
#include <set>

#include "store/failpoint.h"

namespace tenon {

namespace {

using format::SectionKind;

// Rows of one transaction, roughly: LMDB keeps its pages in memory until it commits.
constexpr std::size_t batch_bytes = 16 << 20;

class Rebuilder {
 public:
  Rebuilder(Catalog& catalog, const StorePaths& paths, const CatalogContents& contents)
      : catalog_(catalog), paths_(paths), contents_(contents), writer_(catalog.write()) {}

  std::vector<std::string> run() {
    for (const format::SegmentReference& segment : contents_.segments) put_segment(segment);
    for (const auto& [id, snapshot] : contents_.snapshots) put_snapshot(id, snapshot);
    // A lost ancestor gets an empty row, so that history knows where it ends.
    for (const SnapshotId& id : lost_) {
      put_row(id, {});
      missing_.push_back("snapshot " + to_hex(id) + " is lost: history ends there");
    }
    CatalogRoot root = contents_.root;
    root.snapshot_count = rows_;
    writer_->commit(root);
    return std::move(missing_);
  }

 private:
  void put_segment(const format::SegmentReference& reference) {
    const auto segment = open_tables(reference);
    const bool is_sparse = segment && segment->has_section(SectionKind::live);
    writer_->put_segment(reference.sequence, {reference.uuid, reference.file_bytes, is_sparse});
    if (!segment) return;
    const auto storages = segment->storages();
    for (std::size_t i = 0; i < storages.size(); ++i) {
      if (storages[i].nbytes == 0 || storages[i].sketch == format::no_sketch) continue;
      writer_->add_hint(storages[i].sketch, {reference.sequence, i});
      count_bytes(sizeof(StorageHint));
    }
  }

  // Null where the tables are damaged: only hints are lost.
  std::shared_ptr<const Segment> open_tables(const format::SegmentReference& reference) {
    try {
      auto segment = Segment::read(File::open(file_of(reference)), &reference);
      segment->storages();
      return segment;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::not_found) throw;
      missing_.emplace_back(error.what());
      return nullptr;
    }
  }

  void put_snapshot(const SnapshotId& id, const WholeSnapshot& snapshot) {
    const auto holder = Segment::read(File::open(file_of(snapshot.holder)), &snapshot.holder);
    put_row(id, {snapshot.holder, holder->section(SectionKind::record), holder->section(SectionKind::keys),
                 holder->section(SectionKind::binding)});
    if (const auto own = contents_.forgotten.find(id); own != contents_.forgotten.end())
      writer_->put_forgotten(id, {own->second.first, own->second.second});
    for (const SnapshotId& parent : snapshot.parents) {
      if (contents_.snapshots.contains(parent)) continue;
      const SnapshotId last = lead_over(parent);
      if (last != SnapshotId{} && !contents_.snapshots.contains(last)) lost_.insert(last);
    }
  }

  void put_row(const SnapshotId& id, const SnapshotRow& row) {
    const auto bytes = encode_snapshot_row(row);
    writer_->put_snapshot(id, bytes);
    ++rows_;
    count_bytes(bytes.size());
  }

  // Where history goes on from `id`, which is not there; where that was forgotten, a row says so.
  SnapshotId lead_over(const SnapshotId& id) {
    const auto& forgotten = contents_.forgotten;
    SnapshotId next = id;
    for (auto at = forgotten.find(id); at != forgotten.end() && !contents_.snapshots.contains(next);
         at = forgotten.find(next)) {
      next = at->second.second;
    }
    if (next != id) writer_->put_forgotten(id, {forgotten.at(id).first, next});
    return next;
  }

  // Nobody reads this catalog yet, so what stands in it after a batch has only to be well-formed.
  void count_bytes(std::size_t bytes) {
    bytes_ += bytes;
    if (bytes_ < batch_bytes) return;
    writer_->commit({.snapshot_count = rows_});
    writer_.reset();  // gives back the lock
    failpoint("repair.between_batches");
    writer_.emplace(catalog_.write());
    bytes_ = 0;
  }

  std::filesystem::path file_of(const format::SegmentReference& segment) const {
    return paths_.segment_directory().file_of(segment.sequence);
  }

  Catalog& catalog_;
  const StorePaths& paths_;
  const CatalogContents& contents_;
  std::optional<CatalogWriter> writer_;
  std::size_t bytes_ = 0;
  std::uint64_t rows_ = 0;
  std::set<SnapshotId> lost_;
  std::vector<std::string> missing_;
};

}  // namespace

std::vector<std::string> rebuild_catalog(Catalog& catalog, const StorePaths& paths, const CatalogContents& contents) {
  return Rebuilder(catalog, paths, contents).run();
}

}  // namespace tenon
