#include "store/catalog_batch.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "mmap/seeded_bug.h"
#include "tenon/error.h"

namespace tenon {
namespace {

using catalog_rows::Key;
using catalog_rows::StoredRoot;
using catalog_rows::Table;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using Bytes = std::span<const std::byte>;

constexpr std::uint64_t lock_byte = 0;
constexpr std::uint64_t gate_byte = 1;
constexpr std::size_t row_alignment = 8;

FileIdentity identify(const std::filesystem::path& path);
lmdb::Access access_for(bool for_writing, bool durable);
FileLock lock_catalog(const std::filesystem::path& lock_path, LockMode mode, milliseconds timeout);
void let_writers_pass(const std::filesystem::path& lock_path, milliseconds timeout);
StoredRoot load_root(const lmdb::Transaction& transaction, const Digest& store_id, std::uint64_t watermark);

}  // namespace

CatalogReader::Batch::Batch(std::shared_ptr<CatalogState> shared, bool for_writing, milliseconds timeout)
    : state(std::move(shared)), is_writing(for_writing) {
  state->require_own_process();
  lock = lock_catalog(state->lock_path(), for_writing ? LockMode::exclusive : LockMode::shared, timeout);
  const std::uint64_t watermark = read_watermark(state->lock_path(), state->store_id(), watermark_is_damaged);
  open = state->open(for_writing, watermark, meta_pages);
  try {
    transaction.emplace(open->environment);
    stored = load_root(*transaction, state->store_id(), watermark);
  } catch (...) {
    open->has_failed = true;
    throw;
  }
}

// Spans stay valid until the batch ends, but LMDB's only until the next write, and those of small rows are aligned
// to 2.
Bytes CatalogReader::Batch::lend(Bytes row) const {
  if (!is_writing && reinterpret_cast<std::uintptr_t>(row.data()) % row_alignment == 0) return row;
  std::vector<std::uint64_t>& copy = copies.emplace_back((row.size() + row_alignment - 1) / row_alignment);
  const auto bytes = std::as_writable_bytes(std::span(copy)).first(row.size());
  std::copy(row.begin(), row.end(), bytes.begin());
  return bytes;
}

// LMDB has undone a failed write of a meta page, if at all, in part. True if the old state stands for certain: the meta
// pages are written last, so while they are as they were, so is everything. Otherwise they are put back whole, yet
// nobody knows what the disk keeps after a failed sync.
bool CatalogReader::Batch::undo_commit() {
  if (has_meta_pages(open->data, meta_pages)) return true;
  restore_meta_pages(open->data, meta_pages);
  return false;
}

// The commit has succeeded, so a failure here must not look like its own: it leaves the watermark behind, which is
// allowed, and the next commit tries again.
void CatalogReader::Batch::settle_commit() noexcept try {
  settle_length(open->data, state->is_durable());
  write_watermark(state->lock_path(), state->store_id(), stored.transaction);
} catch (...) {  // memory may be short, too
}

void CatalogState::require_own_process() const {
  if (fork_generation_ == fork_generation() || seeded_bug("fork_unchecked")) return;
  throw Error(ErrorKind::invalid_argument, {.what = "the store was opened by the parent process",
                                            .file = directory_.string(),
                                            .hint = "open it again after fork"});
}

std::shared_ptr<OpenCatalog> CatalogState::open(bool for_writing, std::uint64_t watermark, MetaPages& meta_pages) {
  const std::lock_guard guard(mutex_);
  std::shared_ptr<OpenCatalog>& kept = for_writing ? writing_ : reading_;
  const FileIdentity identity = identify(data_path());
  if (kept && !kept->has_failed && kept->identity == identity) {
    meta_pages = check_meta_pages(kept->data, watermark);
    if (meta_pages.content_bytes <= kept->environment->map_bytes()) return kept;
  }
  kept.reset();
  auto opened = std::make_shared<OpenCatalog>();
  opened->identity = identity;
  opened->data = File::open(data_path(), for_writing ? File::Access::read_write : File::Access::read);
  meta_pages = check_meta_pages(opened->data, watermark);
  opened->environment = std::make_shared<lmdb::Environment>(directory_, access_for(for_writing, durable_));
  kept = opened;
  return opened;
}

void write_first_state(const std::filesystem::path& directory, const Digest& store_id, bool durable,
                       const CatalogRoot& root) {
  StoredRoot first;
  first.root = root;
  first.store_id = store_id;
  {
    const auto environment = std::make_shared<lmdb::Environment>(directory, access_for(true, durable));
    lmdb::Transaction transaction(environment);
    first.transaction = transaction.id();
    const Key key(Table::root);
    transaction.put(key.bytes(), catalog_rows::seal(key.bytes(), catalog_rows::encode_root(first)));
    transaction.commit();
  }
  File data = File::open(directory / "data.mdb", File::Access::read_write);
  settle_length(data, durable);
  File lock = File::create(directory / "lock");
  write_watermark(directory / "lock", store_id, first.transaction);
  if (!durable) return;
  data.sync();
  lock.sync();
  sync_directory(directory);
}

namespace {

FileIdentity identify(const std::filesystem::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) return {status.st_dev, status.st_ino};
  if (errno == ENOENT || errno == ENOTDIR)
    catalog_rows::throw_corrupt("a file of the catalog is missing", path.string());
  throw_errno(errno, "cannot look at the catalog", path);
}

lmdb::Access access_for(bool for_writing, bool durable) {
  if (!for_writing) return lmdb::Access::read;
  return durable ? lmdb::Access::write_durable : lmdb::Access::write_relaxed;
}

// The directory may be replaced while we wait: what counts is the lock of the one that is there afterwards.
FileLock lock_catalog(const std::filesystem::path& lock_path, LockMode mode, milliseconds timeout) {
  const auto deadline = steady_clock::now() + timeout;
  const auto remaining = [&] {
    return std::max(milliseconds::zero(), std::chrono::ceil<milliseconds>(deadline - steady_clock::now()));
  };
  while (true) {
    const FileIdentity awaited = identify(lock_path);
    FileLock gate;
    if (mode == LockMode::exclusive)
      gate = FileLock::acquire(lock_path, mode, gate_byte, remaining());
    else
      let_writers_pass(lock_path, remaining());
    FileLock lock = FileLock::acquire(lock_path, mode, lock_byte, remaining());
    if (identify(lock_path) == awaited) return lock;
  }
}

// Readers whose batches overlap without end would keep writers out. So who wants to write closes the gate, and readers
// wait there first; not for long, since whoever reads already and begins a second batch would wait for itself.
void let_writers_pass(const std::filesystem::path& lock_path, milliseconds timeout) {
  constexpr milliseconds at_most{50};
  constexpr milliseconds pause{1};
  const auto deadline = steady_clock::now() + std::min(timeout, at_most);
  while (!FileLock::try_acquire(lock_path, LockMode::shared, gate_byte) && steady_clock::now() < deadline) {
    std::this_thread::sleep_for(pause);
  }
}

StoredRoot load_root(const lmdb::Transaction& transaction, const Digest& store_id, std::uint64_t watermark) {
  const std::filesystem::path& path = transaction.environment().path();
  const Key key(Table::root);
  const auto sealed = transaction.get(key.bytes());
  if (!sealed) catalog_rows::throw_corrupt("the catalog's root is missing", path);
  StoredRoot stored =
      catalog_rows::decode_root(catalog_rows::unsealed(key.bytes(), *sealed, path.string()), path.string());
  if (stored.store_id != store_id) {
    catalog_rows::throw_corrupt("the catalog belongs to another store", path, to_hex(stored.store_id),
                                to_hex(store_id));
  }
  const bool is_reading = transaction.environment().access() == lmdb::Access::read;
  const std::uint64_t newest = is_reading ? transaction.id() : transaction.id() - 1;
  if (stored.transaction != newest || newest < watermark) {
    catalog_rows::throw_corrupt("the catalog is stale", path, "transaction " + std::to_string(stored.transaction),
                                "transaction " + std::to_string(std::max(newest, watermark)));
  }
  return stored;
}

}  // namespace
}  // namespace tenon
