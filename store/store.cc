#include "tenon/store.h"

#include "mmap/file.h"
#include "store/clone.h"
#include "store/commit.h"
#include "store/du.h"
#include "store/events.h"
#include "store/gc.h"
#include "store/history.h"
#include "store/loaded_memory.h"
#include "store/mutation.h"
#include "store/processes.h"
#include "store/repair.h"
#include "store/retention.h"
#include "store/store_state.h"
#include "store/verify.h"

namespace tenon {

namespace {

Digest new_store_id() {
  Digest id;
  random_bytes(std::as_writable_bytes(std::span(&id, 1)));
  return id;
}

void write_new_file(const std::filesystem::path& path, std::span<const std::byte> bytes, bool durable) {
  File file = File::create(path);
  file.write_at(0, bytes);
  if (durable) file.sync();
}

// The holder segment of a snapshot that is in the catalog; throws not_found.
format::SegmentReference holder_of(Mutation& mutation, const SnapshotId& id, const StoreState& store) {
  require_not_forgotten(mutation.catalog(), id, store.path().string());
  const auto row = mutation.catalog().snapshot(id);
  const SnapshotRow snapshot = row ? decode_snapshot_row(*row, store.catalog_name()) : SnapshotRow{};
  if (snapshot.record.empty())
    throw Error(ErrorKind::not_found, {.what = "no snapshot " + to_hex(id), .file = store.path().string()});
  return snapshot.holder;
}

[[noreturn]] void throw_tag_exists(const std::string& name, const StoreState& store) {
  throw Error(ErrorKind::conflict, {.what = "'" + name + "' exists and does not move",
                                    .file = store.path().string(),
                                    .hint = "delete it first, or choose another name"});
}

}  // namespace

// Everything is made in a directory beside the final one, which is then renamed into place: a killed init leaves
// nothing under the store's name.
Store Store::init(const std::filesystem::path& path, const InitOptions& options) {
  const auto target = std::filesystem::absolute(path).lexically_normal();
  const auto final_path = target.has_filename() ? target : target.parent_path();
  if (std::filesystem::exists(std::filesystem::symlink_status(final_path))) {
    throw Error(ErrorKind::conflict,
                {.what = "something is there already", .file = path.string(), .hint = "choose another path"});
  }
  const bool durable = options.durability == Durability::full;
  const Digest id = new_store_id();
  const StorePaths paths{final_path.parent_path() /
                         (final_path.filename().string() + "." + to_hex(id).substr(0, 16) + ".tmp")};
  make_directory(paths.root);
  try {
    if (std::string kind; is_network_file_system(paths.root, kind)) {
      throw Error(ErrorKind::unsupported, {.what = "a store cannot be written on a network file system",
                                           .file = path.string(),
                                           .got = kind,
                                           .hint = "use a local disk"});
    }
    make_directory(paths.segments());
    make_directory(paths.heads());
    const auto journal = encode_journal_header(id);
    write_new_file(paths.journal(), journal, durable);
    CatalogRoot root;
    root.journal_bytes = journal.size();
    Catalog::create(paths.catalog(), id, durable, root);
    const format::Superblock superblock = make_superblock(id, options.durability);
    write_new_file(paths.root / superblock_name, std::as_bytes(std::span(&superblock, 1)), durable);
    make_ballast(paths);
    if (durable) sync_directory(paths.root);
    rename_file(paths.root, final_path, true);
  } catch (...) {
    std::error_code ignored;  // the first error is the one to tell
    std::filesystem::remove_all(paths.root, ignored);
    throw;
  }
  if (durable) sync_directory(final_path.parent_path());
  return open(final_path);
}

Store Store::open(const std::filesystem::path& path) { return Store(StoreState::open(path)); }

const std::filesystem::path& Store::path() const noexcept { return state_->path(); }
bool Store::is_bundle() const noexcept { return state_->is_bundle(); }

Snapshot Store::snapshot(std::string_view rev, const OpenOptions& options) const {
  auto snapshot = state_->open_snapshot(rev, options);
  if (options.mode != Mode::copy) remember_loaded(snapshot);
  return SnapshotState::handle(std::move(snapshot));
}

SnapshotId Store::resolve(std::string_view rev) const { return state_->locate(rev).id; }

std::vector<StoreProcess> Store::processes() const {
  state_->require_same_process();
  return find_processes(*state_);
}

CommitResult Store::commit(const Draft& draft, const CommitOptions& options) {
  return commit_draft(*state_, draft, options);
}

std::vector<RefInfo> Store::refs() const {
  state_->require_same_process();
  if (state_->is_bundle()) {
    const SnapshotId id = state_->locate("main").id;
    std::vector<RefInfo> refs{{"main", id, false, 0}};
    if (state_->bundle_ref() != "main") refs.push_back({state_->bundle_ref(), id, false, 0});
    return refs;
  }
  std::vector<RefInfo> refs;
  const CatalogReader reader = state_->catalog().read();
  for (const RefRow& row : reader.root().refs) refs.push_back({row.name, row.id, row.is_tag, row.sequence});
  return refs;
}

void Store::set_ref(const std::string& name, const SnapshotId& target,
                    std::optional<std::optional<SnapshotId>> expected_tip) {
  state_->require_writable();
  check_ref_name(name);
  Mutation mutation(*state_);
  if (expected_tip) mutation.require_tip(name, *expected_tip);
  if (const RefRow* ref = mutation.find_ref(name); ref != nullptr && ref->is_tag) throw_tag_exists(name, *state_);
  const auto holder = holder_of(mutation, target, *state_);
  mutation.append_journal(
      {.kind = JournalKind::set_ref, .ref = name, .target = target, .previous = mutation.previous_of(name)});
  mutation.set_ref(name, target, false, holder);
  mutation.commit();
}

void Store::create_tag(const std::string& name, const SnapshotId& target) {
  state_->require_writable();
  check_ref_name(name);
  Mutation mutation(*state_);
  if (mutation.find_ref(name) != nullptr) throw_tag_exists(name, *state_);
  const auto holder = holder_of(mutation, target, *state_);
  mutation.append_journal({JournalKind::create_tag, 0, name, target, 0});
  mutation.set_ref(name, target, true, holder);
  mutation.commit();
}

void Store::delete_ref(const std::string& name) {
  state_->require_writable();
  Mutation mutation(*state_);
  if (mutation.find_ref(name) == nullptr)
    throw Error(ErrorKind::not_found, {.what = "no ref '" + name + "'", .file = path().string()});
  mutation.append_journal({.kind = JournalKind::delete_ref, .ref = name, .previous = mutation.previous_of(name)});
  mutation.delete_ref(name);
  mutation.commit();
}

std::vector<SnapshotInfo> Store::log(std::string_view rev, std::size_t limit) const {
  std::vector<SnapshotInfo> chain;
  const SnapshotId id = resolve(rev);
  if (state_->is_bundle()) return limit == 0 ? chain : std::vector{snapshot(rev).info()};
  if (limit == 0) return chain;
  const CatalogReader reader = state_->catalog().read();
  walk_history(reader, id, state_->catalog_name(), [&](const SnapshotRow&, const Record& record) {
    chain.push_back(record.info);
    return chain.size() < limit;
  });
  return chain;
}

std::vector<ReflogEntry> Store::reflog(std::string_view ref, std::size_t limit) const {
  require_directory("reflog");
  return read_reflog(*state_, ref, limit);
}

ReflogEntry Store::undo(bool dry_run) { return undo_newest(*state_, dry_run); }

ForgetReport Store::forget(const ForgetOptions& options) { return forget_by_rules(*state_, options); }

GcReport Store::gc(const GcOptions& options) { return collect_garbage(*state_, options); }

DiskUsage Store::du() const {
  require_directory("usage by snapshot");
  return disk_usage(*state_);
}

void Store::require_directory(const char* what) const {
  state_->require_same_process();
  if (!is_bundle()) return;
  throw Error(ErrorKind::unsupported, {.what = std::string("a bundle has no ") + what, .file = path().string()});
}

void Store::bundle(std::string_view rev, const std::filesystem::path& out, const BundleOptions& options) const {
  const auto snapshot = state_->open_snapshot(rev, {});
  const bool is_ref = state_->is_bundle()
                          ? rev == state_->bundle_ref()
                          : is_ref_name(rev) && file_exists(state_->paths().heads() / head_file_name(rev));
  write_bundle(*snapshot, is_ref ? std::string(rev) : "main", state_->store_id(), out, options);
}

CloneReport Store::clone(const std::filesystem::path& out) const { return clone_store(*state_, out); }

VerifyReport Store::verify(const std::filesystem::path& path, const VerifyOptions& options) {
  return verify_store(path, options);
}
RepairReport Store::repair(const std::filesystem::path& path, const RepairOptions& options) {
  return repair_store(path, options);
}

}  // namespace tenon
