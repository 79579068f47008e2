#include "store/repair.h"

#include <algorithm>
#include <map>
#include <set>

#include "mmap/file.h"
#include "mmap/lock.h"
#include "store/catalog_rebuild.h"
#include "store/journal.h"
#include "store/mend.h"
#include "store/store_state.h"

namespace tenon {

namespace {

using format::SectionKind;

constexpr auto lock_timeout = std::chrono::seconds(60);

// A mutation as the truth tells it: a segment's commit section, or a journal record.
struct Event {
  std::optional<WholeSnapshot> snapshot;  // of a commit
  JournalRecord record;                   // of the journal; of a commit: ref and target
};

// Steps, each of which may be killed and the whole repeated:
//   1. superblock, if it is lost: made anew with the segments' store id
//   2. catalog.new, from segments and journal, highest sequence last
//   3. journal, if it is damaged: replaced by its good records
//   4. catalog.new takes the place of catalog
//   5. heads from the refs
// What is replaced though not all of it could be used stays as journal.damaged and catalog.damaged: somebody may make
// more of it.
class Repairer {
 public:
  Repairer(const std::filesystem::path& path, const RepairOptions& options)
      : paths_{std::filesystem::absolute(path).lexically_normal()}, options_(options) {}

  RepairReport run() {
    require_store();
    const auto lock = lock_out_writers();
    find_store_id();
    if (options_.from) mend_from(*options_.from);
    read_whole_journal();
    gather_segments();
    gather_journal();
    gather_heads();
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
  std::filesystem::path damaged_catalog() const { return paths_.root / "catalog.damaged"; }
  std::filesystem::path damaged_journal() const { return paths_.root / "journal.damaged"; }

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

  void mend_from(const std::filesystem::path& other) {
    MendReport mend = mend_segments(paths_, store_id_, is_durable_, other);
    report_.mended = std::move(mend.mended);
    report_.dropped.insert(report_.dropped.end(), mend.left.begin(), mend.left.end());
  }

  std::shared_ptr<const Segment> try_open(const std::filesystem::path& path) {
    try {
      return Segment::read(File::open(path));
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
    const File file = File::open(path);
    const auto segment = Segment::read(file);
    if (segment->sequence() != sequence || segment->footer().store_id != store_id_) {
      throw Error(ErrorKind::corrupt, {.what = "segment has another's name or store", .file = path.string()});
    }
    newest_segment_ = std::max(newest_segment_, sequence);
    contents_.segments.push_back(segment->reference());
    if (!segment->has_section(SectionKind::record)) return;
    const bool is_forgotten = contents_.forgotten.contains(record_id(segment->section(SectionKind::record)));
    const auto snapshot = open_snapshot(file, is_forgotten);
    if (!snapshot) return;
    Event event{WholeSnapshot{segment->reference(), snapshot->info().parents}, {}};
    event.record.ref = decode_commit_section(*segment).ref;
    check_ref_name(event.record.ref);
    event.record.target = snapshot->info().id;
    event.record.sequence = sequence;
    events_.emplace(sequence, std::move(event));
  }

  // A forgotten snapshot of which gc has taken a part is as good as gone.
  std::shared_ptr<const SnapshotState> open_snapshot(const File& file, bool is_forgotten) const {
    try {
      SegmentDirectory directory = paths_.segment_directory();
      directory.metadata_only = true;
      return SnapshotState::open(directory, file, nullptr, nullptr, Mode::shared);
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
    contents_.forgotten = forgotten_snapshots(journal_.records);
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
      report_.dropped.push_back("journal is damaged from offset " + std::to_string(*journal_.damaged_at) + " on: " +
                                std::to_string(journal_.damaged_bytes) + " bytes of it belong to no whole record");
  }

  // A head whose mutation has no record any more tells of it. It becomes a record of the journal, which is the truth.
  void gather_heads() {
    for (const Head& head : whole_heads()) {
      contents_.root.sequence = std::max(contents_.root.sequence, head.sequence);  // no number is given twice
      if (events_.contains(head.sequence) || is_newer_known(head) || !is_whole(head.snapshot)) continue;
      const JournalKind kind = head.is_tag ? JournalKind::create_tag : JournalKind::set_ref;
      JournalRecord record{kind, head.sequence, head.ref, head.snapshot, now_ns()};
      const auto after = std::find_if(journal_.records.begin(), journal_.records.end(),
                                      [&](const JournalRecord& other) { return other.sequence > head.sequence; });
      journal_.records.insert(after, record);
      events_.emplace(head.sequence, Event{std::nullopt, std::move(record)});
      report_.mended.push_back("ref '" + head.ref + "': mutation " + std::to_string(head.sequence) +
                               " taken from its head");
    }
  }

  std::vector<Head> whole_heads() const {
    std::vector<Head> heads;
    if (!file_exists(paths_.heads())) return heads;
    for (const std::string& name : list_directory(paths_.heads())) {
      try {
        if (auto head = read_head(paths_.heads(), ref_of_head_file(name), store_id_); head && is_ref_name(head->ref))
          heads.push_back(std::move(*head));
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::limit) throw;
        // Written anew from what is known of its ref.
      }
    }
    return heads;
  }

  bool is_newer_known(const Head& head) const {
    return std::any_of(events_.upper_bound(head.sequence), events_.end(),
                       [&](const auto& event) { return event.second.record.ref == head.ref; });
  }

  bool is_whole(const SnapshotId& id) const {
    return std::any_of(events_.begin(), events_.end(),
                       [&](const auto& event) { return event.second.snapshot && event.second.record.target == id; });
  }

  void replay() {
    auto& snapshots = contents_.snapshots;
    CatalogRoot& root = contents_.root;
    for (const auto& [sequence, event] : events_) {
      if (event.snapshot) snapshots[event.record.target] = *event.snapshot;
      root.sequence = std::max(root.sequence, sequence);
      if (!event.snapshot && event.record.kind >= JournalKind::forget) continue;
      if (!event.snapshot && event.record.kind == JournalKind::delete_ref) {
        refs_.erase(event.record.ref);
      } else if (contents_.forgotten.contains(event.record.target)) {
        continue;  // a later move led away from it
      } else if (snapshots.contains(event.record.target)) {
        const bool is_tag = !event.snapshot && event.record.kind == JournalKind::create_tag;
        refs_[event.record.ref] = {event.record.ref, event.record.target, sequence, is_tag};
      } else {
        report_.dropped.push_back("ref '" + event.record.ref + "' lost its move to " + to_hex(event.record.target) +
                                  ": that snapshot is lost");
      }
    }
    root.sequence = std::max(root.sequence, newest_segment_);
    for (const auto& [name, ref] : refs_) root.refs.push_back(ref);
    report_.refs = refs_.size();
    for (const auto& [id, forgotten] : contents_.forgotten) report_.forgotten += snapshots.contains(id) ? 1 : 0;
    report_.snapshots = snapshots.size() - report_.forgotten;
  }

  void build_catalog() {
    std::filesystem::remove_all(new_catalog());
    Catalog::create(new_catalog(), store_id_, is_durable_);
    Catalog catalog(new_catalog(), store_id_, is_durable_);
    contents_.root.journal_bytes = journal_bytes();
    const auto missing = rebuild_catalog(catalog, paths_, contents_);
    report_.dropped.insert(report_.dropped.end(), missing.begin(), missing.end());
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
    if (present && *present == wanted) return;
    if (present && !report_.dropped.empty()) replace_file(damaged_journal(), *present, is_durable_);
    replace_file(paths_.journal(), wanted, is_durable_);
  }

  void swap_catalog() {
    std::filesystem::remove_all(old_catalog());
    if (file_exists(paths_.catalog())) {
      rename_file(paths_.catalog(), old_catalog());
    }
    rename_file(new_catalog(), paths_.catalog());
    if (is_durable_) sync_directory(paths_.root);
    if (report_.dropped.empty() || !file_exists(old_catalog())) return void(std::filesystem::remove_all(old_catalog()));
    std::filesystem::remove_all(damaged_catalog());
    rename_file(old_catalog(), damaged_catalog());
  }

  void write_heads() {
    if (!file_exists(paths_.heads())) make_directory(paths_.heads());
    for (const auto& [name, ref] : refs_) {
      write_head(paths_.heads(), {name, ref.is_tag, ref.sequence, ref.id, contents_.snapshots.at(ref.id).holder},
                 store_id_, is_durable_);
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
  CatalogContents contents_;
  std::uint64_t newest_segment_ = 0;
  JournalContents journal_;
  std::map<std::uint64_t, Event> events_;  // by sequence
  std::map<std::string, RefRow> refs_;
};

}  // namespace

RepairReport repair_store(const std::filesystem::path& path, const RepairOptions& options) {
  return Repairer(path, options).run();
}

}  // namespace tenon
