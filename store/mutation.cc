#include "store/mutation.h"

#include <algorithm>
#include <cassert>

#include "mmap/seeded_bug.h"

namespace tenon {

namespace {

auto ref_position(std::vector<RefRow>& refs, std::string_view name) {
  return std::lower_bound(refs.begin(), refs.end(), name,
                          [](const RefRow& row, std::string_view wanted) { return row.name < wanted; });
}

// The error, with what it means for the change.
[[noreturn]] void throw_with(const Error& error, const std::string& meaning, const std::string& hint) {
  Facts facts = error.facts();
  facts.what = meaning + ": " + facts.what;
  facts.hint = hint;
  throw Error(error.kind(), std::move(facts));
}

std::string describe(const std::optional<SnapshotId>& id) { return id ? to_hex(*id) : "no such ref"; }

}  // namespace

Mutation::Mutation(StoreState& store) : store_(store), writer_(store.catalog().write()), root_(writer_.root()) {
  sweep();
}

void Mutation::sweep() {
  sweep_segment();
  sweep_journal();
  mend_newest_head();
}

// A head is written after the catalog. If one is ahead of the catalog, what looks like a leftover was acknowledged, and
// it is the catalog that went back: nothing may be swept.
void Mutation::require_not_acknowledged(std::uint64_t sequence, const std::string& file) const {
  for (const Head& head : read_heads(store_.paths().heads(), store_.store_id())) {
    if (head.sequence < sequence) continue;
    throw Error(ErrorKind::corrupt, {.what = "the catalog is older than ref '" + head.ref + "'",
                                     .file = file,
                                     .got = "sequence " + std::to_string(root_.sequence),
                                     .wanted = "at least " + std::to_string(head.sequence),
                                     .hint = "run `tenon repair`"});
  }
}

void Mutation::sweep_segment() {
  const auto stray = store_.paths().segment_directory().file_of(sequence());
  if (!file_exists(stray) || seeded_bug("loser_not_swept")) return;
  require_not_acknowledged(sequence(), stray.string());
  remove_file(stray);
  if (store_.is_durable()) sync_directory(store_.paths().segments());
}

void Mutation::sweep_journal() {
  File journal = File::open(store_.paths().journal(), File::Access::read_write);
  const std::uint64_t size = journal.size_bytes();
  if (size == root_.journal_bytes || seeded_bug("journal_not_swept")) return;
  if (size < root_.journal_bytes) {
    throw Error(ErrorKind::corrupt, {.what = "journal is shorter than the catalog says",
                                     .file = journal.path().string(),
                                     .got = std::to_string(size),
                                     .wanted = std::to_string(root_.journal_bytes),
                                     .hint = "run `tenon repair`"});
  }
  require_not_acknowledged(sequence(), journal.path().string());
  journal.truncate(root_.journal_bytes);
  if (store_.is_durable()) journal.sync();
}

// Only the newest change can lack its head: every earlier one was mended by the change after it.
void Mutation::mend_newest_head() {
  if (seeded_bug("head_not_mended")) return;
  const auto& heads = store_.paths().heads();
  for (const RefRow& ref : root_.refs) {
    if (ref.sequence != root_.sequence) continue;
    const auto head = whole_head(ref.name);
    if (head && head->sequence >= ref.sequence) return;
    const auto row = writer_.snapshot(ref.id);
    if (!row) {
      throw Error(ErrorKind::corrupt, {.what = "ref '" + ref.name + "' points to a snapshot that is not there",
                                       .file = store_.catalog_name(),
                                       .got = to_hex(ref.id),
                                       .hint = "run `tenon repair`"});
    }
    const SnapshotRow snapshot = decode_snapshot_row(*row, store_.catalog_name());
    write_head(heads, {ref.name, ref.is_tag, ref.sequence, ref.id, snapshot.holder}, store_.store_id(),
               store_.is_durable());
    return;
  }
  const JournalContents journal = read_journal(store_.paths().journal(), store_.store_id(), root_.journal_bytes);
  if (journal.records.empty() || journal.records.back().sequence != root_.sequence) return;
  if (journal.records.back().kind == JournalKind::delete_ref) {
    remove_head(heads, journal.records.back().ref, store_.is_durable());
  }
}

// A damaged head is as good as none: it is about to be written anew.
std::optional<Head> Mutation::whole_head(const std::string& ref) const {
  try {
    return read_head(store_.paths().heads(), ref, store_.store_id());
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::limit) throw;
    return std::nullopt;
  }
}

const RefRow* Mutation::find_ref(std::string_view name) const noexcept {
  const auto found =
      std::find_if(root_.refs.begin(), root_.refs.end(), [&](const RefRow& row) { return row.name == name; });
  return found == root_.refs.end() ? nullptr : &*found;
}

const RefRow* Mutation::find_ref_set_by(std::uint64_t sequence) const noexcept {
  const auto found =
      std::find_if(root_.refs.begin(), root_.refs.end(), [&](const RefRow& row) { return row.sequence == sequence; });
  return found == root_.refs.end() ? nullptr : &*found;
}

PreviousRef Mutation::previous_of(std::string_view name) const noexcept {
  const RefRow* const ref = find_ref(name);
  return ref == nullptr ? PreviousRef{} : PreviousRef{ref->id, ref->is_tag};
}

void Mutation::require_tip(std::string_view name, const std::optional<SnapshotId>& expected) const {
  const RefRow* ref = find_ref(name);
  const std::optional<SnapshotId> tip = ref == nullptr ? std::nullopt : std::optional(ref->id);
  if (tip == expected) return;
  throw Error(ErrorKind::conflict, {.what = "ref '" + std::string(name) + "' is not where it was expected",
                                    .file = store_.path().string(),
                                    .got = describe(tip),
                                    .wanted = describe(expected),
                                    .hint = "look at it again, then retry"});
}

void Mutation::set_ref(const std::string& name, const SnapshotId& target, bool is_tag,
                       const format::SegmentReference& holder) {
  assert(!head_ && !deleted_);
  const RefRow row{name, target, sequence(), is_tag};
  const auto at = ref_position(root_.refs, name);
  if (at != root_.refs.end() && at->name == name) {
    *at = row;
  } else {
    root_.refs.insert(at, row);
  }
  head_ = Head{name, is_tag, sequence(), target, holder};
}

void Mutation::delete_ref(const std::string& name) {
  assert(!head_ && !deleted_);
  const auto at = ref_position(root_.refs, name);
  assert(at != root_.refs.end() && at->name == name);
  root_.refs.erase(at);
  deleted_ = name;
}

void Mutation::append_journal(JournalRecord record) {
  record.sequence = sequence();
  record.at_ns = now_ns();
  const auto bytes = encode_journal_record(record);
  File journal = File::open(store_.paths().journal(), File::Access::read_write);
  journal.write_at(root_.journal_bytes, bytes);
  if (store_.is_durable()) journal.sync();
  root_.journal_bytes += bytes.size();
}

void Mutation::commit() {
  root_.sequence = sequence();
  commit_catalog();
  try {
    const auto& heads = store_.paths().heads();
    if (head_) write_head(heads, *head_, store_.store_id(), store_.is_durable());
    if (deleted_) remove_head(heads, *deleted_, store_.is_durable());
  } catch (const Error& error) {
    throw_with(error, "the change is committed, but its head file could not be written",
               "the next change of the store mends the head");
  }
  if (head_ || deleted_) store_.live().announce(head_ ? head_->ref : *deleted_);
}

void Mutation::commit_catalog() {
  try {
    writer_.commit(root_);
  } catch (const Error& error) {
    if (!writer_.outcome_unknown()) throw;
    throw_with(error, "the outcome of the change is unknown",
               "look with `tenon log` and `tenon ref` whether it is there");
  }
  is_committed_ = true;
}

}  // namespace tenon
