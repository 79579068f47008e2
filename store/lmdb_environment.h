// LMDB, wrapped: one environment in a directory (`data.mdb`), its unnamed table, transactions. LMDB is included by
// lmdb_environment.cc alone. Locking is the caller's business (the environment is opened with MDB_NOLOCK): any number
// of read transactions, or one write transaction, over all processes.
//
// LMDB trusts its pages. What protects us here: keys of a walk must ascend, and a key or value is returned only if
// every page of it can be read. What cannot be: an assertion or a wild pointer inside LMDB itself. Errors: corrupt for
// what LMDB finds wrong with the file, limit for what the map or a transaction cannot hold, full and io as throw_errno
// tells them apart. After a failure close the environment. Threads: transactions on one Environment are independent of
// each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>

struct MDB_env;
struct MDB_txn;

namespace tenon::lmdb {

using Bytes = std::span<const std::byte>;

enum class Access : std::uint8_t {
  read,
  write_durable,  // a commit is on the disk when it returns
  write_relaxed   // never synced
};

class Environment {
 public:
  // Opens `directory`/data.mdb; creates it if it is not there and `access` is not read.
  Environment(std::filesystem::path directory, Access access);
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment();

  // The file must not be larger than this when a transaction begins: open anew then.
  std::uint64_t map_bytes() const noexcept { return map_bytes_; }
  Access access() const noexcept { return access_; }
  const std::filesystem::path& directory() const noexcept { return directory_; }
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  friend class Transaction;
  std::filesystem::path directory_;
  std::filesystem::path path_;
  Access access_;
  std::uint64_t map_bytes_ = 0;
  MDB_env* environment_ = nullptr;
};

// Ends without effect on destruction, unless commit() was called. Spans returned are valid until the transaction ends
// or writes.
class Transaction {
 public:
  explicit Transaction(std::shared_ptr<const Environment> environment);
  Transaction(Transaction&& other) noexcept;
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();

  bool is_open() const noexcept { return transaction_ != nullptr; }
  const Environment& environment() const noexcept { return *environment_; }
  // LMDB's number: of the state that is read, or of the one that is being written.
  std::uint64_t id() const noexcept;
  std::optional<Bytes> get(Bytes key) const;
  // In key order from the first key that is not before `from`, until `visit` returns false. `visit` must not write.
  using Visit = std::function<bool(Bytes key, Bytes value)>;
  void walk(Bytes from, const Visit& visit) const;

  void put(Bytes key, Bytes value);
  bool erase(Bytes key);  // false if it was not there
  // The transaction has ended, whether this returns or throws.
  void commit();

 private:
  std::shared_ptr<const Environment> environment_;
  MDB_txn* transaction_ = nullptr;
  std::uint64_t file_bytes_ = 0;
};

}  // namespace tenon::lmdb
