#include "store/events.h"

#include <set>

#include "store/history.h"
#include "store/mutation.h"
#include "tenon/name.h"

namespace tenon {

namespace {

using format::SectionKind;

const char* action_of(const StoreEvent& event) {
  if (!event.unreadable.empty()) return "unreadable";
  if (event.is_commit) return "commit";
  switch (event.record.kind) {
    case JournalKind::set_ref:
      return "set ref";
    case JournalKind::create_tag:
      return "create tag";
    case JournalKind::delete_ref:
      return "delete";
    case JournalKind::forget:
      return "forget";
    case JournalKind::restore:
      return "restore";
  }
  return "";
}

ReflogEntry entry_of(const StoreEvent& event) {
  const JournalRecord& record = event.record;
  ReflogEntry entry{.sequence = record.sequence, .at_ns = record.at_ns, .action = action_of(event), .ref = record.ref};
  if (record.target != SnapshotId{}) entry.id = record.target;
  if (record.previous && record.previous->id != SnapshotId{}) entry.previous = record.previous->id;
  entry.undoes = record.undoes;
  entry.error = event.unreadable;
  for (const ForgottenSnapshot& snapshot : record.snapshots) entry.snapshots.push_back(snapshot.id);
  return entry;
}

// Takes one mutation back by another, which names it.
class Undo {
 public:
  Undo(StoreState& store, bool dry_run) : store_(store), dry_run_(dry_run), mutation_(store) {}

  ReflogEntry run() {
    const StoreEvent event = find();
    if (!dry_run_) {
      undoing_ = event.record.sequence;
      take_back(event);
      mutation_.commit();
    }
    return entry_of(event);
  }

 private:
  // The newest that neither takes another back nor was taken back.
  StoreEvent find() {
    const EventReader events(store_, mutation_.journal_bytes());
    std::set<std::uint64_t> undone;
    for (std::uint64_t sequence = mutation_.sequence() - 1; sequence > 0; --sequence) {
      if (undone.contains(sequence)) continue;
      const auto event = events.at(sequence);
      if (!event || is_void(*event)) continue;
      if (!event->record.undoes) return *event;
      undone.insert(*event->record.undoes);
    }
    throw Error(ErrorKind::not_found, {.what = "there is nothing to undo", .file = store_.path().string()});
  }

  // What cannot be read cannot be taken back. It is passed over only where no ref stands where it was put by it: after
  // a repair, say.
  bool is_void(const StoreEvent& event) const {
    if (event.unreadable.empty()) return false;
    const RefRow* const ref = mutation_.find_ref_set_by(event.record.sequence);
    if (ref == nullptr) return true;
    throw Error(ErrorKind::corrupt,
                {.what = "the newest mutation, of '" + ref->name + "', cannot be read: " + event.unreadable,
                 .file = store_.path().string(),
                 .hint = "run `tenon repair`, or put the ref elsewhere with `tenon ref set`"});
  }

  void take_back(const StoreEvent& event) {
    const JournalRecord& record = event.record;
    switch (record.kind) {
      case JournalKind::set_ref:
        require_still(record);
        return put_back(record);
      case JournalKind::create_tag:
        require_still(record);
        return remove(record.ref);
      case JournalKind::delete_ref:
        if (mutation_.find_ref(record.ref) != nullptr) throw_changed(record);
        return put_back(record);
      case JournalKind::forget:
        return restore(record);
      case JournalKind::restore:
        break;  // always takes a forget back, and is passed over
    }
    throw Error(ErrorKind::corrupt, {.what = "journal record cannot be undone", .file = store_.path().string()});
  }

  [[noreturn]] void throw_changed(const JournalRecord& record) const {
    throw Error(ErrorKind::conflict,
                {.what = "'" + record.ref + "' is not where mutation " + std::to_string(record.sequence) + " left it",
                 .file = store_.path().string(),
                 .hint = "`tenon reflog` lists where it was; `tenon ref set` puts it there"});
  }

  void require_still(const JournalRecord& record) const {
    const RefRow* const ref = mutation_.find_ref(record.ref);
    if (ref == nullptr || ref->id != record.target) throw_changed(record);
  }

  void put_back(const JournalRecord& record) {
    if (!record.previous) {
      throw Error(ErrorKind::unsupported, {.what = "the journal does not say where '" + record.ref + "' was before",
                                           .file = store_.path().string()});
    }
    if (record.previous->id == SnapshotId{}) return remove(record.ref);
    const SnapshotId target = record.previous->id;
    require_not_forgotten(mutation_.catalog(), target, store_.path().string());
    const auto holder = store_.row_of(mutation_.catalog(), target).holder;
    const bool is_tag = record.previous->is_tag;
    append({.kind = is_tag ? JournalKind::create_tag : JournalKind::set_ref, .ref = record.ref, .target = target});
    mutation_.set_ref(record.ref, target, is_tag, holder);
  }

  void remove(const std::string& ref) {
    append({.kind = JournalKind::delete_ref, .ref = ref});
    mutation_.delete_ref(ref);
  }

  // All of them or none: gc takes all that was forgotten.
  void restore(const JournalRecord& record) {
    for (const ForgottenSnapshot& snapshot : record.snapshots) {
      if (mutation_.catalog().has_snapshot(snapshot.id)) continue;
      throw Error(ErrorKind::not_found, {.what = "gc has taken snapshot " + to_hex(snapshot.id),
                                         .file = store_.path().string(),
                                         .hint = "forgetting can be undone until gc"});
    }
    append({.kind = JournalKind::restore, .snapshots = record.snapshots});
    for (const ForgottenSnapshot& snapshot : record.snapshots) mutation_.catalog().delete_forgotten(snapshot.id);
  }

  void append(JournalRecord record) {
    if (record.kind != JournalKind::restore) record.previous = mutation_.previous_of(record.ref);
    record.undoes = undoing_;
    mutation_.append_journal(std::move(record));
  }

  StoreState& store_;
  bool dry_run_;
  Mutation mutation_;
  std::uint64_t undoing_ = 0;
};

}  // namespace

namespace {

// nullopt if gc has thinned it.
std::optional<StoreEvent> commit_in(const File& file, std::uint64_t sequence) {
  const auto segment = Segment::read(file);
  if (!segment->has_section(SectionKind::record)) return std::nullopt;
  const Record snapshot = decode_record(segment->section(SectionKind::record), segment->path().string(),
                                        segment->section_offset(SectionKind::record));
  const CommitSection commit = decode_commit_section(*segment);
  return StoreEvent{.record = {.kind = JournalKind::set_ref,
                               .sequence = sequence,
                               .ref = commit.ref,
                               .target = snapshot.info.id,
                               .at_ns = snapshot.info.created_at_ns,
                               .previous = PreviousRef{commit.previous_tip.value_or(SnapshotId{}), false}},
                    .is_commit = true};
}

}  // namespace

EventReader::EventReader(const StoreState& store, std::uint64_t journal_bytes) : store_(store) {
  for (JournalRecord& record : read_journal(store.paths().journal(), store.store_id(), journal_bytes).records)
    records_.emplace(record.sequence, std::move(record));
}

std::optional<StoreEvent> EventReader::at(std::uint64_t sequence) const {
  if (const auto found = records_.find(sequence); found != records_.end()) return StoreEvent{.record = found->second};
  const auto file = File::try_open(store_.paths().segment_directory().file_of(sequence));
  if (!file) return std::nullopt;
  try {
    return commit_in(*file, sequence);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::too_new) throw;
    return StoreEvent{.record = {.sequence = sequence}, .unreadable = error.what()};
  }
}

std::vector<ReflogEntry> read_reflog(const StoreState& store, std::string_view ref, std::size_t limit) {
  std::uint64_t newest = 0, journal_bytes = 0;
  {
    const CatalogReader reader = store.catalog().read();
    newest = reader.root().sequence;
    journal_bytes = reader.root().journal_bytes;
  }
  const EventReader events(store, journal_bytes);
  std::vector<ReflogEntry> entries;
  for (std::uint64_t sequence = newest; sequence > 0 && entries.size() < limit; --sequence) {
    const auto event = events.at(sequence);
    if (!event) continue;
    const bool may_be_of_ref = ref.empty() || event->record.ref == ref || !event->unreadable.empty();
    if (!may_be_of_ref) continue;
    entries.push_back(entry_of(*event));
  }
  return entries;
}

ReflogEntry undo_newest(StoreState& store, bool dry_run) {
  store.require_writable();
  return Undo(store, dry_run).run();
}

}  // namespace tenon
