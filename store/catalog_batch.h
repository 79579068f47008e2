// Batches over the catalog: the lock, the checks before LMDB is let at the file, the transaction, and what must happen
// when a commit fails. What rows mean is catalog.cc's business.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cassert>
#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mmap/file.h"
#include "mmap/lock.h"
#include "store/catalog.h"
#include "store/catalog_meta.h"
#include "store/catalog_rows.h"
#include "store/lmdb_environment.h"

namespace tenon {

// Which file a path leads to.
struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

// One opened data.mdb. Kept between batches until the path leads to another file, or something failed.
struct OpenCatalog {
  FileIdentity identity;
  File data;  // beside LMDB's own descriptor, for the meta pages
  std::shared_ptr<const lmdb::Environment> environment;
  std::atomic<bool> has_failed = false;
};

// What the batches of one Catalog share.
class CatalogState {
 public:
  CatalogState(std::filesystem::path directory, const Digest& store_id, bool durable)
      : directory_(std::move(directory)), store_id_(store_id), durable_(durable) {}

  const Digest& store_id() const noexcept { return store_id_; }
  bool is_durable() const noexcept { return durable_; }
  std::filesystem::path data_path() const { return directory_ / "data.mdb"; }
  std::filesystem::path lock_path() const { return directory_ / "lock"; }

  // Throws invalid_argument in a forked child.
  void require_own_process() const;
  // The environment to use now, its meta pages checked. REQUIRES: the lock is held.
  std::shared_ptr<OpenCatalog> open(bool for_writing, std::uint64_t watermark, MetaPages& meta_pages);

 private:
  std::filesystem::path directory_;
  Digest store_id_;
  bool durable_;
  std::uint64_t fork_generation_ = tenon::fork_generation();
  std::mutex mutex_;
  std::shared_ptr<OpenCatalog> reading_;
  std::shared_ptr<OpenCatalog> writing_;
};

// Members end in reverse order: the transaction, then the environment, the lock last.
struct CatalogReader::Batch {
  Batch(std::shared_ptr<CatalogState> shared, bool for_writing, std::chrono::milliseconds timeout);

  std::shared_ptr<CatalogState> state;
  FileLock lock;
  std::shared_ptr<OpenCatalog> open;
  MetaPages meta_pages;
  std::optional<lmdb::Transaction> transaction;
  bool is_writing = false;
  bool watermark_is_damaged = false;
  catalog_rows::StoredRoot stored;
  mutable std::deque<std::vector<std::uint64_t>> copies;  // of rows that cannot be lent from the map

  std::string file() const { return open->environment->path().string(); }
  // Every use of the transaction goes through here: whatever fails, the environment is not used again.
  template <typename Use>
  auto use(const Use& action) const {
    state->require_own_process();
    assert(transaction->is_open());  // REQUIRES: not committed yet
    try {
      return action(*transaction);
    } catch (...) {
      open->has_failed = true;
      throw;
    }
  }
  template <typename Use>
  auto use(const Use& action) {
    return std::as_const(*this).use([&](const lmdb::Transaction&) { return action(*transaction); });
  }
  std::span<const std::byte> lend(std::span<const std::byte> row) const;
  bool undo_commit();
  void settle_commit() noexcept;
};

// An environment with an empty root, and the lock file, in `directory`, which is empty.
void write_first_state(const std::filesystem::path& directory, const Digest& store_id, bool durable,
                       const CatalogRoot& root);

}  // namespace tenon
