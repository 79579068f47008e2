#include "store/verify.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>

#include "mmap/file.h"
#include "mmap/lock.h"
#include "store/codec.h"
#include "store/journal.h"
#include "store/live_ranges.h"
#include "store/storage_check.h"
#include "store/store_state.h"

namespace tenon {

namespace {

using format::SectionKind;
using format::StorageEntry;

constexpr std::uint64_t head_piece_bytes = 1 << 16;  // more than any head has

class Verifier {
 public:
  Verifier(const std::filesystem::path& path, const VerifyOptions& options)
      : paths_{std::filesystem::absolute(path).lexically_normal()}, options_(options) {}

  VerifyReport run() {
    if (std::filesystem::is_regular_file(paths_.root)) {
      verify_segment(paths_.root, std::nullopt);
    } else {
      verify_directory();
    }
    name_hurt_snapshots();
    return std::move(report_);
  }

 private:
  void add_damage(const std::string& file, std::optional<std::uint64_t> offset, std::string what) {
    report_.damage.push_back({file, offset, std::move(what), {}});
  }
  void add_damage(const Error& error, const std::filesystem::path& where) {
    const Facts& facts = error.facts();
    std::string what = facts.what;
    if (!facts.got.empty()) what += ", got " + facts.got;
    if (!facts.wanted.empty()) what += ", wanted " + facts.wanted;
    add_damage(facts.file.empty() ? where.string() : facts.file, facts.offset, std::move(what));
  }

  // Runs `check`; an Error that tells damage becomes part of the report, any other is the caller's.
  template <typename Check>
  bool holds(const std::filesystem::path& where, const Check& check) {
    try {
      check();
      return true;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::not_found &&
          error.kind() != ErrorKind::too_new)
        throw;
      add_damage(error, where);
      return false;
    }
  }

  void verify_directory() {
    try {
      store_id_ = read_superblock(paths_.root).store_id;
    } catch (const Error& error) {
      const bool was_a_store = file_exists(paths_.segments()) || file_exists(paths_.catalog());
      const bool is_anothers = error.kind() == ErrorKind::too_new || error.kind() == ErrorKind::unsupported;
      if (!was_a_store || is_anothers || error.kind() == ErrorKind::io) throw;
      add_damage(error, paths_.root / superblock_name);
    }
    // The long part beside writers; the rest, what they added meanwhile, and what was not in order, while none can
    // commit and no gc can take anything.
    verify_segments(true);
    const auto lock = hold_off_writers();
    if (store_id_) holds(paths_.journal(), [this] { verify_journal(); });
    verify_segments(false);
    verify_heads();
    if (store_id_) verify_catalog();
  }

  std::optional<FileLock> hold_off_writers() const {
    const auto path = paths_.catalog() / "lock";
    if (!file_exists(path)) return std::nullopt;  // the catalog's check will tell
    return FileLock::acquire(path, LockMode::shared, 0, std::chrono::seconds(60));
  }

  void verify_segments(bool is_beside_writers) {
    for_each_name(paths_.segments(), [&](const std::string& name) {
      const auto sequence = parse_segment_file_name(name);
      if (!sequence || !scanned_.insert(name).second) return;
      const VerifyReport before = report_;
      verify_segment(paths_.segments() / name, sequence);
      if (!is_beside_writers || report_.damage.size() == before.damage.size()) return;
      report_ = before;  // gc may have been at it: once more, later
      for (auto at = damage_segment_.lower_bound(before.damage.size()); at != damage_segment_.end();)
        at = damage_segment_.erase(at);
      scanned_.erase(name);
    });
  }

  template <typename Use>
  void for_each_name(const std::filesystem::path& directory, const Use& use) {
    holds(directory, [&] {
      for (const std::string& name : list_directory(directory)) use(name);
    });
  }

  void verify_segment(const std::filesystem::path& path, std::optional<std::uint64_t> sequence) {
    if (sequence && !file_exists(path)) return;  // swept since it was listed
    ++report_.segments;
    std::shared_ptr<const Segment> segment;
    const bool is_whole = holds(path, [&] {
      segment = Segment::open(path);
      if (sequence && segment->sequence() != *sequence) {
        throw Error(ErrorKind::corrupt, {.what = "segment has another's name",
                                         .file = path.string(),
                                         .got = std::to_string(segment->sequence()),
                                         .wanted = std::to_string(*sequence)});
      }
      if (store_id_ && segment->footer().store_id != *store_id_)
        throw Error(ErrorKind::corrupt, {.what = "segment belongs to another store", .file = path.string()});
    });
    if (!is_whole) return;
    for (std::uint32_t i = 0; i < segment->footer().section_count; ++i) {
      holds(path, [&] { segment->section(static_cast<SectionKind>(segment->footer().sections[i].kind)); });
    }
    holds(path, [&] { verify_storages(*segment); });
    if (!segment->has_section(SectionKind::record) || is_taken(*segment)) return;
    holds(path, [&] { verify_snapshot(path, sequence); });
  }

  // The snapshot was forgotten, and gc has taken parts of it elsewhere.
  bool is_taken(const Segment& segment) const {
    try {
      if (!forgotten_.contains(record_id(segment.section(SectionKind::record)))) return false;
      SnapshotState::open(paths_.segment_directory(), File::open(segment.path()), nullptr, nullptr, Mode::shared);
      return false;
    } catch (const Error& error) {
      return error.kind() == ErrorKind::not_found || error.kind() == ErrorKind::corrupt;
    }
  }

  void verify_storages(const Segment& segment) {
    const LiveRanges live(segment);
    const File file = File::open(segment.path());
    for (const StorageEntry& entry : segment.storages()) {
      if (entry.nbytes == 0) continue;  // gc has taken it
      ++report_.storages;
      if (!is_touched(live.ranges(), entry.offset, entry.nbytes))
        add_storage_damage(segment, entry.offset, entry.offset, "storage lies in a hole");
      if (options_.read_data && is_in_part(entry.key)) verify_storage(segment, file, entry);
    }
  }

  // Storages are dealt out by digest, so that every run of a part looks at the same ones.
  bool is_in_part(const Digest& key) const { return key.low % options_.parts == options_.part - 1; }

  void verify_storage(const Segment& segment, const File& file, const StorageEntry& entry) {
    check_storage(
        segment, file, entry,
        {.damaged = [&](std::uint64_t at, const char* what) { add_storage_damage(segment, entry.offset, at, what); },
         .read =
             [&](std::uint64_t bytes) {
               report_.read_bytes += bytes;
               if (options_.progress) options_.progress({report_.read_bytes, 0});
             }});
  }

  void add_storage_damage(const Segment& segment, std::uint64_t storage_offset, std::uint64_t at, const char* what) {
    damage_segment_[report_.damage.size()] = {segment.sequence(), storage_offset};
    add_damage(segment.path().string(), at, what);
  }

  void verify_snapshot(const std::filesystem::path& path, std::optional<std::uint64_t> sequence) {
    const auto state =
        SnapshotState::open(paths_.segment_directory(), File::open(path), nullptr, nullptr, Mode::shared);
    ++report_.snapshots;
    state->layout().check_names(path.string());
    if (state->layout().tensor_count() > 0) state->statistics(0);
    state->attachments();
    decode_commit_section(state->holder());
    Known& known = snapshots_[state->info().id];
    known.holder = {state->holder().uuid(), sequence.value_or(0), state->holder().file_bytes()};
    known.keys = digest_bytes(state->holder().section(SectionKind::keys));
    known.binding = digest_bytes(state->holder().section(SectionKind::binding));
    for (std::uint32_t slot = 0; slot < state->layout().slot_count(); ++slot) {
      check_key(*state, slot);
      for (const format::Extent& extent : state->placement(slot)) {
        const StorageEntry* storage = state->segments()[extent.segment]->storage_at(extent.offset);  // check_key saw it
        known.extents.insert({sequence ? state->reference(extent.segment).sequence : 0, storage->offset});
      }
    }
  }

  // The binding must place a slot where its segments say that bytes with such leaves are as make up its key.
  void check_key(const SnapshotState& state, std::uint32_t slot) const {
    const Placement placement = state.placement(slot);
    if (placement.empty() || !state.slot_leaves(slot).empty()) return;
    throw Error(ErrorKind::corrupt,
                {.what = "slot " + std::to_string(slot) + " is placed where no storage of its key is",
                 .file = state.segments()[placement[0].segment]->path().string(),
                 .offset = placement[0].offset,
                 .wanted = to_hex(state.keys()[slot])});
  }

  void verify_heads() {
    if (!store_id_) return;  // lost with the superblock, which is reported
    for_each_name(paths_.heads(), [this](const std::string& name) {
      if (name.ends_with(".tmp")) return;
      const auto path = paths_.heads() / name;
      holds(path, [&] {
        const File file = File::open(path);
        std::vector<std::byte> bytes(std::min(file.size_bytes(), head_piece_bytes));  // a larger file is none
        file.read_at(0, bytes);
        const Head head = decode_head(bytes, *store_id_, path.string());
        if (head_file_name(head.ref) != name)
          throw Error(ErrorKind::corrupt,
                      {.what = "head is another ref's", .file = path.string(), .got = head.ref, .wanted = name});
        const auto known = snapshots_.find(head.snapshot);
        if (known == snapshots_.end() || known->second.holder.uuid != head.segment.uuid) {
          throw Error(ErrorKind::corrupt, {.what = "head points to a snapshot that no whole segment holds",
                                           .file = path.string(),
                                           .got = to_hex(head.snapshot)});
        }
        heads_.emplace(head.ref, head);
      });
    });
  }

  void verify_journal() {
    const JournalContents journal = read_journal(paths_.journal(), *store_id_);
    journal_damaged_at_ = journal.damaged_at;
    forgotten_ = forgotten_snapshots(journal.records);
    journal_records_ = journal.records;
    journal_bytes_ = File::open(paths_.journal()).size_bytes();
  }

  // LMDB may crash on a damaged file, so a child looks; a crash there is a finding.
  void verify_catalog() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw_errno(errno, "cannot make a pipe", paths_.catalog());
    const pid_t child = fork();
    if (child < 0) throw_errno(errno, "cannot fork", paths_.catalog());
    if (child == 0) {
      close(ends[0]);
      const std::string findings = catalog_findings();
      std::size_t done = 0;
      while (done < findings.size()) {
        const ssize_t n = write(ends[1], findings.data() + done, findings.size() - done);
        if (n <= 0) break;
        done += static_cast<std::size_t>(n);
      }
      _exit(done == findings.size() ? 0 : 1);
    }
    close(ends[1]);
    std::string findings;
    char buffer[4096];
    for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) != 0;) {
      if (n < 0 && errno != EINTR) break;
      if (n > 0) findings.append(buffer, static_cast<std::size_t>(n));
    }
    close(ends[0]);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    const std::string file = (paths_.catalog() / "data.mdb").string();
    for (std::size_t begin = 0; begin < findings.size();) {
      const std::size_t end = findings.find('\n', begin);
      add_damage(file, std::nullopt, findings.substr(begin, end - begin));
      begin = end == std::string::npos ? findings.size() : end + 1;
    }
    if (WIFSIGNALED(status))
      add_damage(file, std::nullopt,
                 "the catalog is so damaged that reading it dies by signal " + std::to_string(WTERMSIG(status)));
    else if (WEXITSTATUS(status) != 0)
      add_damage(file, std::nullopt, "looking at the catalog failed");
  }

  // One finding a line. Runs in the child.
  std::string catalog_findings() const {
    std::string findings;
    const auto find = [&findings](std::string what) { findings += what + "\n"; };
    try {
      const Catalog catalog(paths_.catalog(), *store_id_, false);
      catalog.check();
      const CatalogReader reader = catalog.read();
      compare_rows(reader, find);
      compare_refs(reader, find);
      compare_forgotten(reader, find);
      compare_segments(reader, find);
      if (reader.root().journal_bytes > journal_bytes_) find("journal is shorter than the catalog says");
      if (journal_damaged_at_ && *journal_damaged_at_ < reader.root().journal_bytes) {
        find("journal is damaged at offset " + std::to_string(*journal_damaged_at_));
      }
    } catch (const std::exception& error) {
      find(error.what());
    }
    return findings;
  }

  template <typename Find>
  void compare_rows(const CatalogReader& reader, const Find& find) const {
    std::set<SnapshotId> rows;
    for (const SnapshotId& id : reader.snapshots()) {
      rows.insert(id);
      const SnapshotRow row = decode_snapshot_row(*reader.snapshot(id), paths_.catalog().string());
      if (row.record.empty()) continue;  // known to be lost
      const auto known = snapshots_.find(id);
      if (known == snapshots_.end()) {
        find("snapshot " + to_hex(id) + " is in the catalog but in no whole segment");
      } else if (known->second.holder.uuid != row.holder.uuid || known->second.keys != digest_bytes(row.keys) ||
                 known->second.binding != digest_bytes(row.binding) || record_id(row.record) != id) {
        find("snapshot " + to_hex(id) + " differs between catalog and segment");
      }
    }
    // The newest segment may belong to a commit that was killed before its row was written; an older one may not.
    for (const auto& [id, known] : snapshots_) {
      const bool may_be_gone = forgotten_.contains(id) || known.holder.sequence > reader.root().sequence;
      if (!rows.contains(id) && !may_be_gone)
        find("snapshot " + to_hex(id) + " is in a segment but not in the catalog");
    }
  }

  // The catalog may have let go of rows that lead nowhere, and lags behind a record that was not acknowledged.
  template <typename Find>
  void compare_forgotten(const CatalogReader& reader, const Find& find) const {
    auto records = journal_records_;
    std::erase_if(records, [&](const JournalRecord& record) { return record.sequence > reader.root().sequence; });
    const auto wanted = forgotten_snapshots(records);
    for (const auto& [id, row] : reader.forgotten()) {
      if (!wanted.contains(id) && !journal_damaged_at_)
        find("snapshot " + to_hex(id) + " is forgotten by the catalog but not by the journal");
    }
    for (const auto& [id, forgotten] : wanted) {
      if (reader.snapshot(id) && !reader.forgotten(id))
        find("snapshot " + to_hex(id) + " is forgotten by the journal but not by the catalog");
    }
  }

  template <typename Find>
  void compare_segments(const CatalogReader& reader, const Find& find) const {
    for (const auto& [sequence, row] : reader.segments()) {
      const std::string name = segment_file_name(sequence);
      if (!file_exists(paths_.segments() / name)) find("segment " + name + " is in the catalog but not there");
    }
  }

  template <typename Find>
  void compare_refs(const CatalogReader& reader, const Find& find) const {
    std::set<std::string> names;
    for (const RefRow& ref : reader.root().refs) {
      names.insert(ref.name);
      const auto head = heads_.find(ref.name);
      const bool may_lag = ref.sequence == reader.root().sequence;
      if (head == heads_.end()) {
        if (!may_lag) find("ref '" + ref.name + "' has no head");
      } else if (head->second.sequence > ref.sequence) {
        find("ref '" + ref.name + "' is older in the catalog than its head");
      } else if (!may_lag && (head->second.sequence != ref.sequence || head->second.snapshot != ref.id)) {
        find("ref '" + ref.name + "' differs between catalog and head");
      }
    }
    for (const auto& [name, head] : heads_) {
      if (!names.contains(name) && head.sequence > reader.root().sequence)
        find("head of '" + name + "' is newer than the catalog");
    }
  }

  void name_hurt_snapshots() {
    for (std::size_t i = 0; i < report_.damage.size(); ++i) {
      const auto where = damage_segment_.find(i);
      if (where == damage_segment_.end()) continue;
      for (const auto& [id, known] : snapshots_) {
        if (known.extents.contains(where->second)) report_.damage[i].snapshots.push_back(to_hex(id));
      }
    }
  }

  struct Known {
    format::SegmentReference holder;
    Digest keys;
    Digest binding;
    std::set<std::pair<std::uint64_t, std::uint64_t>> extents;  // (segment sequence, offset)
  };

  StorePaths paths_;
  const VerifyOptions& options_;
  VerifyReport report_;
  std::optional<Digest> store_id_;
  std::map<SnapshotId, Known> snapshots_;
  std::map<std::string, Head> heads_;
  std::set<std::string> scanned_;                                                  // segment file names
  std::map<std::size_t, std::pair<std::uint64_t, std::uint64_t>> damage_segment_;  // index in report_.damage -> storage
  std::map<SnapshotId, std::pair<std::uint64_t, SnapshotId>> forgotten_;           // by the journal
  std::vector<JournalRecord> journal_records_;
  std::uint64_t journal_bytes_ = 0;
  std::optional<std::uint64_t> journal_damaged_at_;
};

}  // namespace

VerifyReport verify_store(const std::filesystem::path& path, const VerifyOptions& options) {
  if (!std::filesystem::exists(path))
    throw Error(ErrorKind::no_store, {.what = "no store here", .file = path.string()});
  if (options.parts == 0 || options.part == 0 || options.part > options.parts) {
    throw Error(ErrorKind::invalid_argument, {.what = "no such part of the data",
                                              .got = std::to_string(options.part) + "/" + std::to_string(options.parts),
                                              .wanted = "1 to the number of parts"});
  }
  return Verifier(path, options).run();
}

}  // namespace tenon
