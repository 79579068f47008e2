#include "store/store_state.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <chrono>
#include <cstring>

#include "mmap/file.h"
#include "mmap/lock.h"
#include "mmap/seeded_bug.h"
#include "store/codec.h"
#include "store/history.h"
#include "store/rev.h"

namespace tenon {

namespace {

// How often a reader starts over when a ref moves on, and its old segments go, between reading the head and opening
// what it names.
constexpr int attach_attempts = 16;
constexpr auto temporary_age_min = std::chrono::minutes(1);

}  // namespace

// What cannot be removed (another user's, or no file at all) is in nobody's way, and no reason to refuse a commit.
void sweep_temporaries(const StorePaths& paths) {
  for (const std::string& name : list_directory(paths.segments())) {
    const auto path = paths.segments() / name;
    std::error_code gone;
    if (!name.ends_with(".tmp") || !std::filesystem::is_regular_file(path, gone)) continue;
    const auto age = std::filesystem::file_time_type::clock::now() - std::filesystem::last_write_time(path, gone);
    if (gone || age < temporary_age_min) continue;
    try {
      const auto file = File::try_open(path);
      if (file && !FileLock::is_locked(*file)) remove_file(path);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::io) throw;
    }
  }
}

std::vector<std::byte> encode_snapshot_row(const SnapshotRow& row) {
  ByteWriter out;
  out.put(row.holder);
  out.put(static_cast<std::uint64_t>(row.record.size()));
  out.put(static_cast<std::uint64_t>(row.keys.size()));
  out.put(static_cast<std::uint64_t>(row.binding.size()));
  out.put_bytes(row.record);
  out.put_bytes(row.keys);
  out.put_bytes(row.binding);
  return out.take();
}

SnapshotRow decode_snapshot_row(std::span<const std::byte> bytes, const std::string& file) {
  ByteReader in(bytes, file, "snapshot row");
  SnapshotRow row;
  row.holder = in.get<format::SegmentReference>();
  const auto record = in.get<std::uint64_t>();
  const auto keys = in.get<std::uint64_t>();
  const auto binding = in.get<std::uint64_t>();
  row.record = in.get_bytes(record);
  row.keys = in.get_bytes(keys);
  row.binding = in.get_bytes(binding);
  in.require_end();
  return row;
}

std::vector<std::byte> encode_commit_section(const CommitSection& commit) {
  ByteWriter out;
  out.put_string(commit.ref);
  out.put(static_cast<std::uint32_t>(commit.previous_tip.has_value()));
  out.put(commit.previous_tip.value_or(SnapshotId{}));
  return out.take();
}

CommitSection decode_commit_section(const Segment& segment) {
  ByteReader in(segment.section(format::SectionKind::commit), segment.path().string(), "commit section",
                segment.section_offset(format::SectionKind::commit));
  CommitSection commit;
  commit.ref = in.get_string();
  const bool has_previous = in.get<std::uint32_t>() != 0;
  const auto previous = in.get<SnapshotId>();
  if (has_previous) commit.previous_tip = previous;
  in.require_end();
  return commit;
}

namespace {

// A file of another kind is no store, rather than a damaged one.
void require_bundle(const std::filesystem::path& file, const std::filesystem::path& given) {
  const File bundle = File::open(file);
  std::array<char, sizeof format::segment_magic> magic{};
  if (bundle.size_bytes() >= magic.size()) bundle.read_at(0, std::as_writable_bytes(std::span(magic)));
  if (std::memcmp(magic.data(), format::segment_magic, magic.size()) == 0) return;
  throw Error(
      ErrorKind::no_store,
      {.what = "not a store", .file = given.string(), .hint = "look into it with `tenon ls " + given.string() + "`"});
}

}  // namespace

std::shared_ptr<StoreState> StoreState::open(const std::filesystem::path& path) {
  auto state = std::make_shared<StoreState>();
  state->paths_.root = std::filesystem::absolute(path).lexically_normal();
  state->fork_generation_ = fork_generation();
  std::error_code error;
  const auto status = std::filesystem::status(state->paths_.root, error);
  if (!std::filesystem::exists(status)) {
    throw Error(ErrorKind::no_store,
                {.what = "no store here", .file = path.string(), .hint = "make one with `tenon init PATH`"});
  }
  if (std::filesystem::is_regular_file(status)) {
    require_bundle(state->paths_.root, path);
    state->bundle_ = Segment::open(state->paths_.root);
    state->store_id_ = state->bundle_->footer().store_id;
    return state;
  }
  const format::Superblock superblock = read_superblock(state->paths_.root);
  state->store_id_ = superblock.store_id;
  state->is_durable_ = superblock.durability != static_cast<std::uint8_t>(Durability::relaxed);
  state->is_format_writable_ = is_writable(superblock);
  state->live_.set_directory(state->paths_.root);
  state->catalog_ = std::make_unique<Catalog>(state->paths_.catalog(), state->store_id_,
                                              state->is_durable_ && !seeded_bug("ack_before_commit"));
  return state;
}

void StoreState::require_same_process() const {
  if (fork_generation_ == fork_generation() || seeded_bug("fork_unchecked")) return;
  throw Error(ErrorKind::invalid_argument, {.what = "store was opened before a fork and is used in the child",
                                            .file = path().string(),
                                            .hint = "open it again in the child; snapshots and views stay valid"});
}

void StoreState::require_writable() const {
  require_same_process();
  if (is_bundle())
    throw Error(ErrorKind::unsupported,
                {.what = "a bundle is read-only", .file = path().string(), .hint = "import it into a directory store"});
  if (!is_format_writable_)
    throw Error(ErrorKind::unsupported, {.what = "store has features that this version can only read",
                                         .file = path().string(),
                                         .hint = "use a later tenon to write"});
  if (std::string kind; is_network_file_system(path(), kind)) {
    throw Error(ErrorKind::unsupported,
                {.what = "writing to a store on a network file system is not safe",
                 .file = path().string(),
                 .got = kind,
                 .hint = "keep the store on a local disk; reading heads and bundles works here"});
  }
}

Catalog& StoreState::catalog() const {
  require_same_process();
  assert(catalog_);
  return *catalog_;
}

std::string StoreState::bundle_ref() const { return decode_commit_section(*bundle_).ref; }

StoreState::Located StoreState::locate_in_catalog(const Rev& rev) const {
  const CatalogReader reader = catalog().read();
  const SnapshotId named = find_named(reader, rev.name);
  require_not_forgotten(reader, named, path().string());
  const bool is_plain = rev.generations == 0 && !rev.selector;
  std::optional<format::SegmentReference> holder;
  std::optional<SnapshotId> lost;
  const auto walk = [&](const VisitSnapshot& visit) {
    lost = walk_history(reader, named, catalog_name(), [&](const SnapshotRow& row, const Record& record) {
      holder = row.holder;
      return visit(record.info);
    });
  };
  if (is_plain) return {named, row_of(reader, named).holder};
  try {
    // A selector may have walked past what it chose, but the last walk ends with it.
    const SnapshotId id = select_from(walk, rev).id;
    return {id, *holder};
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::not_found && lost) throw_lost(*lost);
    throw;
  }
}

SnapshotRow StoreState::row_of(const CatalogReader& reader, const SnapshotId& id) const {
  const auto bytes = reader.snapshot(id);
  if (!bytes)
    throw Error(ErrorKind::corrupt, {.what = "a snapshot that is referred to is not in the catalog",
                                     .file = catalog_name(),
                                     .got = to_hex(id),
                                     .hint = "run `tenon repair`"});
  const SnapshotRow row = decode_snapshot_row(*bytes, catalog_name());
  if (row.record.empty()) throw_lost(id);
  return row;
}

void StoreState::throw_lost(const SnapshotId& id) const {
  throw Error(ErrorKind::not_found,
              {.what = "snapshot " + to_hex(id) + " was lost in a repair", .file = path().string()});
}

StoreState::Located StoreState::locate_in_bundle(const Rev& rev, std::string_view text) const {
  const Record record = decode_record(bundle_->section(format::SectionKind::record), path().string(),
                                      bundle_->section_offset(format::SectionKind::record));
  const std::string hex = to_hex(record.info.id);
  const bool is_it = rev.name == "main" || rev.name == bundle_ref() ||
                     (is_id_prefix(rev.name) && hex.starts_with(lower_case(rev.name)));
  if (!is_it || rev.generations != 0) {
    throw Error(ErrorKind::not_found, {.what = "bundle does not hold '" + std::string(text) + "'",
                                       .file = path().string(),
                                       .wanted = "main, " + bundle_ref() + " or " + hex});
  }
  select_from([&](const VisitSnapshot& visit) { visit(record.info); }, rev);
  return {record.info.id, bundle_->reference()};
}

StoreState::Located StoreState::locate(std::string_view text) const {
  require_same_process();
  const Rev rev = parse_rev(text);
  if (is_bundle()) return locate_in_bundle(rev, text);
  const bool is_plain = rev.generations == 0 && !rev.selector;
  if (is_plain && is_ref_name(rev.name)) {
    if (const auto head = read_head(paths_.heads(), rev.name, store_id_)) return {head->snapshot, head->segment};
  }
  return locate_in_catalog(rev);
}

std::shared_ptr<const SnapshotState> StoreState::open_located(const Located& located, const OpenOptions& options,
                                                              std::string_view rev,
                                                              const std::shared_ptr<const SnapshotState>& previous,
                                                              bool keeps_segments) const {
  const auto file = is_bundle() ? path() : paths_.segment_directory().file_of(located.holder.sequence);
  SegmentDirectory directory = paths_.segment_directory();
  if (options.mode == Mode::shared || previous) directory.cache = &cache_;
  directory.previous = previous.get();
  directory.keeps_segments = keeps_segments && options.mode == Mode::shared;
  auto state = SnapshotState::open(directory, File::open(file), &located.holder, &located.id, options.mode);
  if (options.mode == Mode::copy) return state;
  state->advise(options);
  auto told = rev.empty() ? nullptr : live_.tell(located.id, rev, state->info().nbytes);
  if (!told) return state;
  // Kept as long as the snapshot.
  const auto both = std::make_shared<std::pair<std::shared_ptr<const SnapshotState>, std::shared_ptr<const void>>>(
      std::move(state), std::move(told));
  return {both, both->first.get()};
}

void StoreState::sweep_temporaries_once() {
  std::call_once(swept_, [this] { sweep_temporaries(paths_); });
}

void StoreState::keep_parent(std::shared_ptr<const SnapshotState> parent) noexcept {
  const std::lock_guard lock(parent_mutex_);
  parent_ = std::move(parent);
}

// A segment may be unlinked, or replaced by a sparse copy without the parts that only a forgotten snapshot needed,
// between reading the head and opening it. Once all is open nothing can go away; the head read again afterwards says
// whether that was in time.
std::shared_ptr<const SnapshotState> StoreState::open_snapshot(std::string_view rev, const OpenOptions& options) const {
  for (int attempt = 1;; ++attempt) {
    const Located located = locate(rev);
    try {
      auto state = open_located(located, options, rev);
      if (is_bundle() || locate(rev).id == located.id || attempt == attach_attempts) return state;
    } catch (const Error& error) {
      const bool may_have_moved = error.kind() == ErrorKind::not_found || error.kind() == ErrorKind::corrupt;
      if (!may_have_moved || attempt == attach_attempts || locate(rev).id == located.id) throw;
    }
  }
}

}  // namespace tenon
