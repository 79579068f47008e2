#include "store/verify.h"

#include <algorithm>
#include <map>
#include <set>

#include "mmap/file.h"
#include "mmap/lock.h"
#include "mmap/seeded_bug.h"
#include "store/catalog_check.h"
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
      verify_segment(paths_.root, std::nullopt, true);
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
    // The long part beside writers. What they added meanwhile, and what was not in order, once more while none can
    // commit and no gc can take anything; the bytes of these, which may be many, beside writers again.
    verify_segments(true);
    newest_.reset();  // of what gc took meanwhile nothing may be remembered
    {
      const auto lock = hold_off_writers();
      if (store_id_) holds(paths_.journal(), [this] { verify_journal(); });
      verify_segments(false);
      verify_heads();
      if (store_id_) verify_catalog();
    }
    read_rest();
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
      verify_segment(paths_.segments() / name, sequence, is_beside_writers);
      if (!is_beside_writers) unread_.push_back(name);
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

  // Of segments that came or were not in order; gone by now, or thinned, they are as good as they need be.
  void read_rest() {
    if (!options_.read_data) return;
    for (const std::string& name : unread_) {
      const auto path = paths_.segments() / name;
      holds(path, [&] {
        if (const auto file = File::try_open(path)) read_storages(*Segment::read(*file), *file);
      });
    }
  }

  // Everything through one descriptor: gc may put another inode under the name at any moment.
  void verify_segment(const std::filesystem::path& path, std::optional<std::uint64_t> sequence, bool with_data) {
    std::optional<File> file;
    if (!holds(path, [&] { file = File::try_open(path); }) || !file) return;  // swept since it was listed
    ++report_.segments;
    std::shared_ptr<const Segment> segment;
    if (!holds(path, [&] { segment = open_segment(*file, sequence); })) return;
    for (std::uint32_t i = 0; i < segment->footer().section_count; ++i) {
      holds(path, [&] { segment->section(static_cast<SectionKind>(segment->footer().sections[i].kind)); });
    }
    holds(path, [&] { verify_storages(*segment); });
    if (with_data && options_.read_data) holds(path, [&] { read_storages(*segment, *file); });
    if (!segment->has_section(SectionKind::record) || is_taken(*segment, *file)) return;
    holds(path, [&] { verify_snapshot(*file, sequence); });
  }

  std::shared_ptr<const Segment> open_segment(const File& file, std::optional<std::uint64_t> sequence) const {
    auto segment = Segment::read(file);
    if (sequence && segment->sequence() != *sequence) {
      throw Error(ErrorKind::corrupt, {.what = "segment has another's name",
                                       .file = file.path().string(),
                                       .got = std::to_string(segment->sequence()),
                                       .wanted = std::to_string(*sequence)});
    }
    if (store_id_ && segment->footer().store_id != *store_id_)
      throw Error(ErrorKind::corrupt, {.what = "segment belongs to another store", .file = file.path().string()});
    return segment;
  }

  // Metadata alone, by pread: a disk that does not read is a finding, and no signal.
  SegmentDirectory metadata() {
    SegmentDirectory directory = paths_.segment_directory();
    directory.cache = &cache_;
    directory.metadata_only = true;
    return directory;
  }

  // The snapshot was forgotten, and gc has taken parts of it elsewhere.
  bool is_taken(const Segment& segment, const File& file) {
    try {
      if (!truth_.forgotten.contains(record_id(segment.section(SectionKind::record)))) return false;
      SnapshotState::open(metadata(), file, nullptr, nullptr, Mode::shared);
      return false;
    } catch (const Error& error) {
      return error.kind() == ErrorKind::not_found || error.kind() == ErrorKind::corrupt;
    }
  }

  void verify_storages(const Segment& segment) {
    const LiveRanges live(segment);
    for (const StorageEntry& entry : segment.storages()) {
      if (entry.nbytes == 0) continue;  // gc has taken it
      ++report_.storages;
      if (!is_touched(live.ranges(), entry.offset, entry.nbytes))
        add_storage_damage(segment, entry.offset, {entry.offset, "storage lies in a hole", false});
    }
  }

  void read_storages(const Segment& segment, const File& file) {
    for (const StorageEntry& entry : segment.storages()) {
      if (seeded_bug("verify_skips_small") && leaf_count(entry.nbytes) == 1) continue;
      if (is_in_part(entry.key)) read_storage(segment, file, entry);
    }
  }

  // Storages are dealt out by digest, so that every run of a part looks at the same ones.
  bool is_in_part(const Digest& key) const { return key.low % options_.parts == options_.part - 1; }

  void read_storage(const Segment& segment, const File& file, const StorageEntry& entry) {
    check_storage(segment, file, entry,
                  {.damaged = [&](const StorageDamage& damage) { add_storage_damage(segment, entry.offset, damage); },
                   .read =
                       [&](std::uint64_t bytes) {
                         report_.read_bytes += bytes;
                         if (options_.progress) options_.progress({report_.read_bytes, 0});
                       }});
  }

  void add_storage_damage(const Segment& segment, std::uint64_t storage_offset, const StorageDamage& damage) {
    damage_segment_[report_.damage.size()] = {segment.sequence(), storage_offset};
    add_damage(segment.path().string(), damage.offset, damage.what);
  }

  void verify_snapshot(const File& file, std::optional<std::uint64_t> sequence) {
    const auto state = SnapshotState::open(metadata(), file, nullptr, nullptr, Mode::shared);
    newest_ = state;
    ++report_.snapshots;
    state->layout().check_names(file.path().string());
    if (state->layout().tensor_count() > 0) state->statistics(0);
    state->attachments();
    decode_commit_section(state->holder());
    KnownSnapshot& known = truth_.snapshots[state->info().id];
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
        const auto known = truth_.snapshots.find(head.snapshot);
        if (known == truth_.snapshots.end() || known->second.holder.uuid != head.segment.uuid) {
          throw Error(ErrorKind::corrupt, {.what = "head points to a snapshot that no whole segment holds",
                                           .file = path.string(),
                                           .got = to_hex(head.snapshot)});
        }
        truth_.heads.emplace(head.ref, head);
      });
    });
  }

  void verify_journal() {
    truth_.journal = read_journal(paths_.journal(), *store_id_);
    truth_.forgotten = forgotten_snapshots(truth_.journal.records);
    truth_.journal_bytes = File::open(paths_.journal()).size_bytes();
  }

  void verify_catalog() {
    const std::string file = (paths_.catalog() / "data.mdb").string();
    for (std::string& finding : check_catalog(paths_, *store_id_, truth_))
      add_damage(file, std::nullopt, std::move(finding));
  }

  void name_hurt_snapshots() {
    for (std::size_t i = 0; i < report_.damage.size(); ++i) {
      const auto where = damage_segment_.find(i);
      if (where == damage_segment_.end()) continue;
      for (const auto& [id, known] : truth_.snapshots) {
        if (known.extents.contains(where->second)) report_.damage[i].snapshots.push_back(to_hex(id));
      }
    }
  }

  StorePaths paths_;
  const VerifyOptions& options_;
  VerifyReport report_;
  std::optional<Digest> store_id_;
  KnownTruth truth_;
  std::set<std::string> scanned_;                                                  // segment file names
  std::vector<std::string> unread_;                                                // of these, whose data was not read
  std::map<std::size_t, std::pair<std::uint64_t, std::uint64_t>> damage_segment_;  // index in report_.damage -> storage
  std::shared_ptr<const SnapshotState> newest_;  // whose segments the next snapshot draws on, most likely
  SegmentCache cache_;
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
