#include "store/repair.h"

#include <algorithm>
#include <map>
#include <set>

#include "mmap/file.h"
#include "mmap/lock.h"
#include "store/journal.h"
#include "store/mend.h"
#include "store/store_state.h"

namespace tenon {

namespace {

using format::SectionKind;

constexpr auto lock_timeout = std::chrono::seconds(60);

// A snapshot that can be opened, and the segment that holds it.
struct WholeSnapshot {
  format::SegmentReference holder;
  std::vector<SnapshotId> parents;
};

// A mutation as the truth tells it: a segment's commit section, or a journal record.
struct Event {
  std::optional<WholeSnapshot> snapshot;  // of a commit
  JournalRecord record;                   // of the journal; of a commit: ref and target
};

// Steps, each of which may be killed and the whole repeated:
//   1. superblock, if it is lost: made anew with the segments' store id
//   2. catalog.new, from segments and journal, highest sequence last
//   3. journal, if its tail is damaged: replaced by its good part
//   4. catalog.new takes the place of catalog
//   5. heads from the refs
class Repairer {
 public:
  Repairer(const std::filesystem::path& path, const RepairOptions& options)
      : paths_{std::filesystem::absolute(path).lexically_normal()}, options_(options) {}

  RepairReport run() {
    require_store();
    const auto lock = lock_out_writers();
    find_store_id();
    if (options_.from) report_.mended = mend_segments(paths_, store_id_, is_durable_, *options_.from);
    read_whole_journal();
    gather_segments();
    gather_journal();
    replay();
    build_catalog();
    const auto new_lock = FileLock::acquire(new_catalog() / "lock", LockMode::exclusive, 0, lock_timeout);
    mend_journal();
    swap_catalog();
    write_heads();
    sweep_temporaries(paths_);
    return std::move(report_);
  }

 private:
  void require_store() const {
    if (std::filesystem::is_directory(paths_.segments())) return;
    throw Error(ErrorKind::no_store,
                {.what = "nothing to repair: no directory with segments", .file = paths_.root.string()});
  }

  // Whoever waits for a catalog's lock looks afterwards whether it is still the one in place, so holding the old
  // catalog's lock, and later the new one's, keeps writers out from the first look to the last head.
  std::optional<FileLock> lock_out_writers() const {
    for (const auto& directory : {paths_.catalog(), old_catalog(), new_catalog()}) {
      const auto path = directory / "lock";
      while (file_exists(path)) {
        auto lock = FileLock::acquire(path, LockMode::exclusive, 0, lock_timeout);
        if (lock.is_on(path)) return lock;
      }
    }
    return std::nullopt;
  }

  std::filesystem::path new_catalog() const { return paths_.root / "catalog.new"; }
  std::filesystem::path old_catalog() const { return paths_.root / "catalog.old"; }

  void find_store_id() {
    try {
      const format::Superblock superblock = read_superblock(paths_.root);
      store_id_ = superblock.store_id;
      is_durable_ = superblock.durability != static_cast<std::uint8_t>(Durability::relaxed);
      return;
    } catch (const Error& error) {
      const bool is_lost =
          error.kind() == ErrorKind::corrupt || error.kind() == ErrorKind::no_store || error.kind() == ErrorKind::limit;
      if (!is_lost) throw;
    }
    std::map<Digest, int> votes;
    for (const std::string& name : list_directory(paths_.segments())) {
      if (!parse_segment_file_name(name)) continue;
      if (const auto segment = try_open(paths_.segments() / name)) ++votes[segment->footer().store_id];
    }
    if (votes.empty())
      throw Error(ErrorKind::corrupt, {.what = "superblock is damaged and no whole segment tells the store's id",
                                       .file = paths_.root.string()});
    store_id_ = std::max_element(votes.begin(), votes.end(), [](const auto& a, const auto& b) {
                  return a.second < b.second;
                })->first;
    const format::Superblock superblock = make_superblock(store_id_, Durability::full);
    replace_file(paths_.root / superblock_name, std::as_bytes(std::span(&superblock, 1)), true);
    report_.dropped.push_back("superblock was damaged: made anew");
  }

  std::shared_ptr<const Segment> try_open(const std::filesystem::path& path) {
    try {
      return Segment::open(path);
    } catch (const Error& error) {
      return drop(error);
    }
  }

  // Notes what cannot be kept. Anything but damage is the caller's to know.
  std::nullptr_t drop(const Error& error) {
    if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::not_found &&
        error.kind() != ErrorKind::too_new)
      throw error;
    report_.dropped.emplace_back(error.what());
    return nullptr;
  }

  void gather_segments() {
    for (const std::string& name : list_directory(paths_.segments())) {
      const auto sequence = parse_segment_file_name(name);
      if (!sequence) continue;
      try {
        gather_segment(paths_.segments() / name, *sequence);
      } catch (const Error& error) {
        drop(error);
      }
    }
  }

  void gather_segment(const std::filesystem::path& path, std::uint64_t sequence) {
    File file = File::open(path);
    const auto segment = Segment::open(file);
    if (segment->sequence() != sequence || segment->footer().store_id != store_id_) {
      throw Error(ErrorKind::corrupt, {.what = "segment has another's name or store", .file = path.string()});
    }
    newest_segment_ = std::max(newest_segment_, sequence);
    segments_.push_back(segment->reference());
    if (!segment->has_section(SectionKind::record)) return;
    const bool is_forgotten = forgotten_.contains(record_id(segment->section(SectionKind::record)));
    const auto snapshot = open_snapshot(std::move(file), is_forgotten);
    if (!snapshot) return;
    Event event{WholeSnapshot{segment->reference(), snapshot->info().parents}, {}};
    event.record.ref = decode_commit_section(*segment).ref;
    check_ref_name(event.record.ref);
    event.record.target = snapshot->info().id;
    event.record.sequence = sequence;
    events_.emplace(sequence, std::move(event));
  }

  // A forgotten snapshot of which gc has taken a part is as good as gone.
  std::shared_ptr<const SnapshotState> open_snapshot(File file, bool is_forgotten) const {
    try {
      return SnapshotState::open(paths_.segment_directory(), std::move(file), nullptr, nullptr, Mode::shared);
    } catch (const Error& error) {
      const bool is_damage = error.kind() == ErrorKind::corrupt || error.kind() == ErrorKind::not_found;
      if (!is_forgotten || !is_damage) throw;
      return nullptr;
    }
  }

  void read_whole_journal() {
    try {
      journal_ = read_journal(paths_.journal(), store_id_, UINT64_MAX, true);
    } catch (const Error& error) {
      drop(error);
      journal_.damaged_at = 0;
    }
    forgotten_ = forgotten_snapshots(journal_.records);
  }

  void gather_journal() {
    for (const JournalRecord& record : journal_.records) {
      const bool has_ref = record.kind != JournalKind::forget && record.kind != JournalKind::restore;
      if (has_ref && !is_ref_name(record.ref)) {
        report_.dropped.push_back("journal record " + std::to_string(record.sequence) + " has no ref name");
        continue;
      }
      // A commit and a journal record never share a sequence number: each sweeps what a killed one before it left.
      if (!events_.try_emplace(record.sequence, Event{std::nullopt, record}).second) {
        report_.dropped.push_back("journal record " + std::to_string(record.sequence) +
                                  " has a commit's sequence number");
      }
    }
    if (journal_.damaged_at)
      report_.dropped.push_back("journal is damaged from offset " + std::to_string(*journal_.damaged_at) + " on");
  }

  void replay() {
    for (const auto& [sequence, event] : events_) {
      if (event.snapshot) snapshots_[event.record.target] = *event.snapshot;
      root_.sequence = std::max(root_.sequence, sequence);
      if (!event.snapshot && event.record.kind >= JournalKind::forget) continue;
      if (!event.snapshot && event.record.kind == JournalKind::delete_ref) {
        refs_.erase(event.record.ref);
      } else if (forgotten_.contains(event.record.target)) {
        continue;  // a later move led away from it
      } else if (snapshots_.contains(event.record.target)) {
        const bool is_tag = !event.snapshot && event.record.kind == JournalKind::create_tag;
        refs_[event.record.ref] = {event.record.ref, event.record.target, sequence, is_tag};
      } else {
        report_.dropped.push_back("ref '" + event.record.ref + "' lost its move to " + to_hex(event.record.target) +
                                  ": that snapshot is lost");
      }
    }
    root_.sequence = std::max(root_.sequence, newest_segment_);
    for (const auto& [name, ref] : refs_) root_.refs.push_back(ref);
    report_.refs = refs_.size();
    for (const auto& [id, forgotten] : forgotten_) report_.forgotten += snapshots_.contains(id) ? 1 : 0;
    report_.snapshots = snapshots_.size() - report_.forgotten;
  }

  void build_catalog() {
    std::filesystem::remove_all(new_catalog());
    Catalog::create(new_catalog(), store_id_, is_durable_);
    Catalog catalog(new_catalog(), store_id_, is_durable_);
    CatalogWriter writer = catalog.write();
    for (const format::SegmentReference& segment : segments_) put_segment(writer, segment);
    std::set<SnapshotId> lost;
    for (const auto& [id, snapshot] : snapshots_) {
      const auto holder = Segment::open(file_of(snapshot.holder), &snapshot.holder);
      writer.put_snapshot(
          id, encode_snapshot_row({snapshot.holder, holder->section(SectionKind::record),
                                   holder->section(SectionKind::keys), holder->section(SectionKind::binding)}));
      if (const auto own = forgotten_.find(id); own != forgotten_.end())
        writer.put_forgotten(id, {own->second.first, own->second.second});
      for (const SnapshotId& parent : snapshot.parents) {
        if (snapshots_.contains(parent)) continue;
        const SnapshotId last = lead_over(writer, parent);
        if (last != SnapshotId{} && !snapshots_.contains(last)) lost.insert(last);
      }
    }
    // A lost ancestor gets an empty row, so that history knows where it ends.
    for (const SnapshotId& id : lost) {
      writer.put_snapshot(id, encode_snapshot_row({}));
      report_.dropped.push_back("snapshot " + to_hex(id) + " is lost: history ends there");
    }
    root_.snapshot_count = snapshots_.size() + lost.size();
    root_.journal_bytes = journal_bytes();
    writer.commit(root_);
  }

  // Where history goes on from `id`, which is not there; where that was forgotten, a row says so.
  SnapshotId lead_over(CatalogWriter& writer, const SnapshotId& id) const {
    SnapshotId next = id;
    for (auto at = forgotten_.find(id); at != forgotten_.end() && !snapshots_.contains(next);
         at = forgotten_.find(next)) {
      next = at->second.second;
    }
    if (next != id) writer.put_forgotten(id, {forgotten_.at(id).first, next});
    return next;
  }

  std::filesystem::path file_of(const format::SegmentReference& segment) const {
    return paths_.segment_directory().file_of(segment.sequence);
  }

  void put_segment(CatalogWriter& writer, const format::SegmentReference& reference) {
    SegmentRow row{reference.uuid, reference.file_bytes};
    writer.put_segment(reference.sequence, row);
    try {
      const auto segment = Segment::open(file_of(reference), &reference);
      row.is_sparse = segment->has_section(SectionKind::live);
      if (row.is_sparse) writer.put_segment(reference.sequence, row);
      const auto storages = segment->storages();
      for (std::size_t i = 0; i < storages.size(); ++i) {
        if (storages[i].nbytes != 0 && storages[i].sketch != format::no_sketch)
          writer.add_hint(storages[i].sketch, {reference.sequence, i});
      }
    } catch (const Error& error) {
      drop(error);  // only hints are lost
    }
  }

  std::uint64_t journal_bytes() const {
    std::uint64_t bytes = sizeof(format::JournalHeader);
    for (const JournalRecord& record : journal_.records) bytes += encode_journal_record(record).size();
    return bytes;
  }

  // The good part, under a good header. Left as it is if that is what it is already.
  void mend_journal() {
    std::vector<std::byte> wanted = encode_journal_header(store_id_);
    for (const JournalRecord& record : journal_.records) {
      const auto bytes = encode_journal_record(record);
      wanted.insert(wanted.end(), bytes.begin(), bytes.end());
    }
    const auto present = try_read_file(paths_.journal(), UINT64_MAX);
    if (!present || *present != wanted) replace_file(paths_.journal(), wanted, is_durable_);
  }

  void swap_catalog() {
    std::filesystem::remove_all(old_catalog());
    if (file_exists(paths_.catalog())) {
      rename_file(paths_.catalog(), old_catalog());
    }
    rename_file(new_catalog(), paths_.catalog());
    if (is_durable_) sync_directory(paths_.root);
    std::filesystem::remove_all(old_catalog());
  }

  void write_heads() {
    if (!file_exists(paths_.heads())) make_directory(paths_.heads());
    for (const auto& [name, ref] : refs_) {
      write_head(paths_.heads(), {name, ref.is_tag, ref.sequence, ref.id, snapshots_.at(ref.id).holder}, store_id_,
                 is_durable_);
    }
    std::set<std::string> wanted;
    for (const auto& [name, ref] : refs_) wanted.insert(head_file_name(name));
    for (const std::string& file : list_directory(paths_.heads())) {
      if (!wanted.contains(file)) remove_file(paths_.heads() / file);
    }
    if (is_durable_) sync_directory(paths_.heads());
  }

  StorePaths paths_;
  const RepairOptions& options_;
  RepairReport report_;
  Digest store_id_;
  bool is_durable_ = true;
  std::vector<format::SegmentReference> segments_;
  std::uint64_t newest_segment_ = 0;
  JournalContents journal_;
  std::map<std::uint64_t, Event> events_;  // by sequence
  std::map<SnapshotId, WholeSnapshot> snapshots_;
  std::map<std::string, RefRow> refs_;
  std::map<SnapshotId, std::pair<std::uint64_t, SnapshotId>> forgotten_;  // sequence, first parent
  CatalogRoot root_;
};

}  // namespace

RepairReport repair_store(const std::filesystem::path& path, const RepairOptions& options) {
  return Repairer(path, options).run();
}

}  // namespace tenon
