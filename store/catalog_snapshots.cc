#include "store/catalog_snapshots.h"

#include <algorithm>

#include "store/history.h"
#include "store/marks.h"

namespace tenon {

namespace {

using format::SectionKind;

constexpr std::uint64_t snapshot_bytes_max = std::uint64_t{64} << 20;  // of bindings and keys that are kept
constexpr std::uint64_t layouts_max = 64;
// Each keeps its segment mapped, of which a process may have 65,530 or so.
constexpr std::uint64_t statistics_max = 4096;
constexpr std::uint64_t structures_max = 64;
constexpr std::size_t chains_max = 16;

std::span<const std::byte> section_of(const Segment& segment, SectionKind kind, const Digest& wanted) {
  const auto bytes = segment.section(kind);
  if (digest_bytes(bytes) == wanted) return bytes;
  throw Error(ErrorKind::corrupt, {.what = "section is not the one that the snapshot names",
                                   .file = segment.path().string(),
                                   .offset = segment.section_offset(kind),
                                   .got = to_hex(digest_bytes(bytes)),
                                   .wanted = to_hex(wanted)});
}

std::vector<Digest> decode_keys(std::span<const std::byte> bytes, const Digest& wanted, const std::string& file) {
  if (bytes.size() % sizeof(Digest) != 0 || digest_bytes(bytes) != wanted)
    throw Error(ErrorKind::corrupt, {.what = "keys are not those that the snapshot names", .file = file});
  std::vector<Digest> keys(bytes.size() / sizeof(Digest));
  std::copy(bytes.begin(), bytes.end(), std::as_writable_bytes(std::span(keys)).begin());
  return keys;
}

}  // namespace

CatalogSnapshots::CatalogSnapshots(std::shared_ptr<StoreState> store)
    : store_(std::move(store)),
      snapshots_(snapshot_bytes_max),
      layouts_(layouts_max),
      statistics_(statistics_max),
      structures_(structures_max) {
  if (store_->is_bundle()) add_bundle();
}

void CatalogSnapshots::add_bundle() {
  const Segment& segment = store_->bundle();
  CatalogSnapshot snapshot;
  snapshot.record = decode_record(segment.section(SectionKind::record), segment.path().string(),
                                  segment.section_offset(SectionKind::record));
  snapshot.holder = segment.reference();
  snapshot.keys = decode_keys(segment.section(SectionKind::keys), snapshot.record.keys, segment.path().string());
  newest_ = snapshot.info().id;
  snapshot_count_ = 1;
  all_ = std::make_shared<const std::vector<SnapshotId>>(1, *newest_);
  add(std::move(snapshot), segment.section(SectionKind::binding));
}

void CatalogSnapshots::refresh() {
  store_->require_same_process();
  if (store_->is_bundle()) return;
  const CatalogReader reader = store_->catalog().read();
  const CatalogRoot& root = reader.root();
  if (root.sequence == sequence_) return;
  sequence_ = root.sequence;
  if (root.journal_bytes != journal_bytes_) snapshots_.clear();  // the journal has what was forgotten
  journal_bytes_ = root.journal_bytes;
  snapshot_count_ = root.snapshot_count;
  const auto last_set = std::max_element(root.refs.begin(), root.refs.end(),
                                         [](const RefRow& a, const RefRow& b) { return a.sequence < b.sequence; });
  newest_ = last_set == root.refs.end() ? std::nullopt : std::optional(last_set->id);
  chains_.clear();
  all_ = nullptr;
  statistics_.clear();  // what gc has unlinked is on the disk for as long as it is mapped
  structures_.clear();
}

CatalogSnapshots::Ids CatalogSnapshots::chain(const SnapshotId& newest) {
  if (store_->is_bundle()) return all_;
  if (const auto found = chains_.find(newest); found != chains_.end()) return found->second;
  auto ids = std::make_shared<std::vector<SnapshotId>>();
  const CatalogReader reader = store_->catalog().read();
  require_not_forgotten(reader, newest, store_->path().string());
  walk_history(reader, newest, store_->catalog_name(), [&](const SnapshotRow&, const Record& record) {
    ids->push_back(record.info.id);
    return true;
  });
  if (chains_.size() >= chains_max) chains_.clear();
  return chains_.emplace(newest, std::move(ids)).first->second;
}

CatalogSnapshots::Ids CatalogSnapshots::all() {
  if (all_) return all_;
  auto ids = std::make_shared<std::vector<SnapshotId>>();
  for (const RemainingSnapshot& one : remaining_snapshots(*store_)) ids->push_back(one.id);
  return all_ = std::move(ids);
}

std::shared_ptr<const CatalogSnapshot> CatalogSnapshots::try_find(const SnapshotId& id) {
  if (auto known = snapshots_.find(id)) return known;
  if (store_->is_bundle()) return nullptr;
  const CatalogReader reader = store_->catalog().read();
  const auto row = reader.snapshot(id);
  return row && !reader.forgotten(id) ? add(*row) : nullptr;
}

std::shared_ptr<const CatalogSnapshot> CatalogSnapshots::find(const SnapshotId& id) {
  if (auto found = try_find(id)) return found;
  if (!store_->is_bundle()) require_not_forgotten(store_->catalog().read(), id, store_->path().string());
  throw Error(ErrorKind::not_found, {.what = "no snapshot " + to_hex(id), .file = store_->path().string()});
}

void CatalogSnapshots::prefetch(std::span<const SnapshotId> ids) {
  if (store_->is_bundle() ||
      std::all_of(ids.begin(), ids.end(), [&](const SnapshotId& id) { return snapshots_.find(id); }))
    return;
  const CatalogReader reader = store_->catalog().read();
  for (const SnapshotId& id : ids) {
    if (snapshots_.find(id)) continue;
    if (const auto row = reader.snapshot(id)) add(*row);
  }
}

std::shared_ptr<const CatalogSnapshot> CatalogSnapshots::add(std::span<const std::byte> bytes) {
  const std::string file = store_->catalog_name();
  const SnapshotRow row = decode_snapshot_row(bytes, file);
  CatalogSnapshot snapshot;
  if (row.record.empty()) return nullptr;
  snapshot.record = decode_record(row.record, file, 0);
  snapshot.holder = row.holder;
  snapshot.keys = decode_keys(row.keys, snapshot.record.keys, file);
  return add(std::move(snapshot), row.binding);
}

std::shared_ptr<const CatalogSnapshot> CatalogSnapshots::add(CatalogSnapshot snapshot,
                                                             std::span<const std::byte> binding) {
  const std::string file = store_->is_bundle() ? store_->path().string() : store_->catalog_name();
  snapshot.binding_bytes.resize((binding.size() + 7) / 8);
  std::copy(binding.begin(), binding.end(), std::as_writable_bytes(std::span(snapshot.binding_bytes)).begin());
  snapshot.binding = Binding::open(std::as_bytes(std::span(snapshot.binding_bytes)).first(binding.size()), file, 0);
  if (snapshot.binding.slot_count() != snapshot.keys.size())
    throw Error(ErrorKind::corrupt, {.what = "binding and keys differ in their number of slots", .file = file});
  const std::uint64_t cost = sizeof snapshot + binding.size() + snapshot.keys.size() * sizeof(Digest) +
                             snapshot.info().meta.size() + snapshot.info().message.size();
  auto shared = std::make_shared<const CatalogSnapshot>(std::move(snapshot));
  if (!snapshots_.find(shared->info().id)) snapshots_.add(shared->info().id, shared, cost);
  return shared;
}

std::shared_ptr<const Segment> CatalogSnapshots::open_segment(const CatalogSnapshot& snapshot,
                                                              std::uint32_t index) const {
  const format::SegmentReference& wanted = snapshot.segment(index);
  const auto path = store_->is_bundle() ? store_->path() : store_->paths().segment_directory().file_of(wanted.sequence);
  return Segment::open(path, &wanted);
}

std::shared_ptr<const SharedLayout> CatalogSnapshots::layout(const CatalogSnapshot& snapshot) {
  auto shared = layouts_.find(snapshot.record.layout);
  if (!shared) {
    auto made = std::make_shared<SharedLayout>();
    made->segment = open_segment(snapshot, snapshot.binding.layout_segment());
    const auto bytes = section_of(*made->segment, SectionKind::layout, snapshot.record.layout);
    made->layout =
        Layout::open(bytes, made->segment->path().string(), made->segment->section_offset(SectionKind::layout));
    layouts_.add(snapshot.record.layout, made);
    shared = std::move(made);
  }
  if (shared->layout.slot_count() != snapshot.keys.size() ||
      shared->layout.tensor_count() != snapshot.info().tensor_count) {
    throw Error(ErrorKind::corrupt, {.what = "layout and binding differ in their number of slots",
                                     .file = shared->segment->path().string()});
  }
  return shared;
}

std::shared_ptr<const SnapshotStatistics> CatalogSnapshots::statistics(const CatalogSnapshot& snapshot) {
  if (auto known = statistics_.find(snapshot.info().id)) return known;
  auto made = std::make_shared<SnapshotStatistics>();
  made->segment = open_segment(snapshot, 0);
  made->column = StatisticsColumn::open(*made->segment, snapshot.info().tensor_count);
  statistics_.add(snapshot.info().id, made);
  return made;
}

std::shared_ptr<const SharedStructure> CatalogSnapshots::structure(const CatalogSnapshot& snapshot) {
  if (auto known = structures_.find(snapshot.record.structure)) return known;
  auto made = std::make_shared<SharedStructure>();
  made->segment = open_segment(snapshot, snapshot.binding.structure_segment());
  made->bytes = section_of(*made->segment, SectionKind::structure, snapshot.record.structure);
  structures_.add(snapshot.record.structure, made);
  return made;
}

std::vector<std::pair<std::uint64_t, SegmentRow>> CatalogSnapshots::segments() const {
  if (!store_->is_bundle()) return store_->catalog().read().segments();
  const Segment& bundle = store_->bundle();
  return {{bundle.sequence(), {.uuid = bundle.uuid(), .file_bytes = bundle.file_bytes()}}};
}

}  // namespace tenon
