#include "store/lmdb_environment.h"

#include <lmdb.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "mmap/file.h"
#include "mmap/mapping.h"
#include "mmap/standard_descriptors.h"
#include "tenon/error.h"

namespace tenon::lmdb {
namespace {

constexpr std::uint64_t largest_map_bytes = std::uint64_t{1} << 40;
constexpr std::uint64_t smallest_map_bytes = std::uint64_t{1} << 24;
constexpr mdb_mode_t creation_mode = 0666;  // less umask
constexpr MDB_dbi table = 1;                // LMDB's number of the unnamed table

unsigned open_flags(Access access);
MDB_env* open_environment(const Environment& environment, std::uint64_t map_bytes, int& code);
int reason_of_short_write(const Environment& environment);
MDB_val as_value(Bytes bytes);
Bytes as_bytes(const MDB_val& value);
void require_readable(Bytes bytes, std::uint64_t file_bytes, const std::filesystem::path& path);
[[noreturn]] void throw_code(int code, const std::string& what, const std::filesystem::path& path);

struct CloseCursor {
  void operator()(MDB_cursor* cursor) const noexcept { ::mdb_cursor_close(cursor); }
};

}  // namespace

Environment::Environment(std::filesystem::path directory, Access access)
    : directory_(std::move(directory)), path_(directory_ / "data.mdb"), access_(access) {
  // The map is address space only. Where that is short (ulimit -v, 39-bit machines) a smaller one does.
  int code = ENOMEM;
  for (std::uint64_t size = largest_map_bytes; code == ENOMEM && size >= smallest_map_bytes; size /= 2) {
    environment_ = open_environment(*this, size, code);
  }
  if (code != MDB_SUCCESS) throw_code(code, "cannot open the catalog", path_);
  MDB_envinfo info{};
  ::mdb_env_info(environment_, &info);  // fails on a null argument only
  map_bytes_ = info.me_mapsize;
}

Environment::~Environment() { ::mdb_env_close(environment_); }

Transaction::Transaction(std::shared_ptr<const Environment> environment) : environment_(std::move(environment)) {
  const unsigned flags = environment_->access() == Access::read ? MDB_RDONLY : 0u;
  int code = ::mdb_txn_begin(environment_->environment_, nullptr, flags, &transaction_);
  if (code != MDB_SUCCESS) throw_code(code, "cannot begin a catalog transaction", environment_->path());
  // Opening the unnamed table costs nothing, and sets its key order in a new environment.
  MDB_dbi unnamed = 0;
  code = ::mdb_dbi_open(transaction_, nullptr, 0, &unnamed);
  struct stat status {};
  int descriptor = -1;
  if (code == MDB_SUCCESS) code = ::mdb_env_get_fd(environment_->environment_, &descriptor);
  if (code == MDB_SUCCESS && ::fstat(descriptor, &status) != 0) code = errno;
  if (code != MDB_SUCCESS) {
    ::mdb_txn_abort(transaction_);
    throw_code(code, "cannot open the catalog's table", environment_->path());
  }
  assert(unnamed == table);
  file_bytes_ = static_cast<std::uint64_t>(status.st_size);
}

Transaction::Transaction(Transaction&& other) noexcept
    : environment_(std::move(other.environment_)),
      transaction_(std::exchange(other.transaction_, nullptr)),
      file_bytes_(other.file_bytes_) {}

Transaction::~Transaction() {
  if (is_open()) ::mdb_txn_abort(transaction_);
}

std::uint64_t Transaction::id() const noexcept { return ::mdb_txn_id(transaction_); }

std::optional<Bytes> Transaction::get(Bytes key) const {
  MDB_val wanted = as_value(key);
  MDB_val found{};
  const int code = ::mdb_get(transaction_, table, &wanted, &found);
  if (code == MDB_NOTFOUND) return std::nullopt;
  if (code != MDB_SUCCESS) throw_code(code, "cannot read the catalog", environment_->path());
  require_readable(as_bytes(found), file_bytes_, environment_->path());
  return as_bytes(found);
}

void Transaction::walk(Bytes from, const Visit& visit) const {
  MDB_cursor* opened = nullptr;
  int code = ::mdb_cursor_open(transaction_, table, &opened);
  if (code != MDB_SUCCESS) throw_code(code, "cannot walk the catalog", environment_->path());
  const std::unique_ptr<MDB_cursor, CloseCursor> cursor(opened);

  std::vector<std::byte> previous(from.begin(), from.end());
  bool is_first = true;
  MDB_val key = as_value(from);
  MDB_val value{};
  code = ::mdb_cursor_get(opened, &key, &value, MDB_SET_RANGE);
  for (; code == MDB_SUCCESS; code = ::mdb_cursor_get(opened, &key, &value, MDB_NEXT)) {
    const Bytes found = as_bytes(key);
    require_readable(found, file_bytes_, environment_->path());
    require_readable(as_bytes(value), file_bytes_, environment_->path());
    // A page in the wrong place shows as keys out of order; it could also send the walk round in circles.
    const bool is_after = std::lexicographical_compare(previous.begin(), previous.end(), found.begin(), found.end());
    if (!is_after && !(is_first && std::ranges::equal(previous, found))) {
      throw Error(ErrorKind::corrupt, {.what = "the catalog's keys are out of order",
                                       .file = environment_->path().string(),
                                       .hint = "run `tenon repair`"});
    }
    if (!visit(found, as_bytes(value))) return;
    previous.assign(found.begin(), found.end());
    is_first = false;
  }
  if (code != MDB_NOTFOUND) throw_code(code, "cannot walk the catalog", environment_->path());
}

void Transaction::put(Bytes key, Bytes value) {
  MDB_val stored_key = as_value(key);
  MDB_val stored_value = as_value(value);
  const int code = ::mdb_put(transaction_, table, &stored_key, &stored_value, 0);
  if (code != MDB_SUCCESS) throw_code(code, "cannot write to the catalog", environment_->path());
}

bool Transaction::erase(Bytes key) {
  MDB_val erased = as_value(key);
  const int code = ::mdb_del(transaction_, table, &erased, nullptr);
  if (code != MDB_SUCCESS && code != MDB_NOTFOUND) {
    throw_code(code, "cannot delete from the catalog", environment_->path());
  }
  return code == MDB_SUCCESS;
}

void Transaction::commit() {
  int code = ::mdb_txn_commit(std::exchange(transaction_, nullptr));
  if (code == MDB_SUCCESS) return;
  if (code == EIO) code = reason_of_short_write(*environment_);
  throw_code(code, "cannot commit to the catalog", environment_->path());
}

namespace {

unsigned open_flags(Access access) {
  switch (access) {
    case Access::read:
      return MDB_NOLOCK | MDB_NOTLS | MDB_RDONLY;
    case Access::write_durable:
      return MDB_NOLOCK | MDB_NOTLS;
    case Access::write_relaxed:
      return MDB_NOLOCK | MDB_NOTLS | MDB_NOSYNC;
  }
  assert(false);
  return 0;
}

// Null, with `code` set, if it failed. LMDB itself makes the map at least as large as the file says it must be.
MDB_env* open_environment(const Environment& environment, std::uint64_t map_bytes, int& code) {
  MDB_env* opened = nullptr;
  code = ::mdb_env_create(&opened);
  if (code != MDB_SUCCESS) return nullptr;
  code = ::mdb_env_set_mapsize(opened, map_bytes);
  if (code == MDB_SUCCESS) {
    const standard_descriptors::Reserved reserved;  // LMDB opens its files itself
    code = ::mdb_env_open(opened, environment.directory().c_str(), open_flags(environment.access()), creation_mode);
  }
  if (code == MDB_SUCCESS) return opened;
  ::mdb_env_close(opened);
  return nullptr;
}

// LMDB calls a short write EIO and does not try on; a full disk or the limit of file sizes causes most of them.
int reason_of_short_write(const Environment& environment) {
  struct statvfs space {};
  if (::statvfs(environment.directory().c_str(), &space) == 0 && space.f_bavail == 0) return ENOSPC;
  struct stat status {};
  struct rlimit limit {};
  if (::stat(environment.path().c_str(), &status) == 0 && ::getrlimit(RLIMIT_FSIZE, &limit) == 0 &&
      static_cast<rlim_t>(status.st_size) >= limit.rlim_cur) {
    return EFBIG;
  }
  return EIO;
}

MDB_val as_value(Bytes bytes) { return {bytes.size(), const_cast<std::byte*>(bytes.data())}; }

Bytes as_bytes(const MDB_val& value) { return {static_cast<const std::byte*>(value.mv_data), value.mv_size}; }

// LMDB returns lengths as it finds them in the file, so a damaged one may reach past the end of the file, where a read
// is SIGBUS. LMDB itself has read the byte before (of the node or the page header): what ends on that page can be read.
void require_readable(Bytes bytes, std::uint64_t file_bytes, const std::filesystem::path& path) {
  if (bytes.empty()) return;
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
  const auto page_begin = (begin - 1) / page_bytes() * page_bytes();
  const std::uint64_t to_end = begin - page_begin + bytes.size();  // no overflow: both are small, see the next line
  bool is_readable = bytes.size() <= file_bytes;
  if (is_readable && to_end > page_bytes()) {
    constexpr int madv_populate_read = 22;  // Linux 5.14; on older ones (EINVAL) there is no such check
    is_readable = ::madvise(reinterpret_cast<void*>(page_begin), to_end, madv_populate_read) == 0 ||
                  (errno != EFAULT && errno != ENOMEM);
  }
  if (is_readable) return;
  throw Error(ErrorKind::corrupt, {.what = "a catalog value reaches past the end of the file",
                                   .file = path.string(),
                                   .got = std::to_string(bytes.size()) + " bytes",
                                   .wanted = "a part of a file of " + std::to_string(file_bytes) + " bytes",
                                   .hint = "run `tenon repair`"});
}

[[noreturn]] void throw_code(int code, const std::string& what, const std::filesystem::path& path) {
  switch (code) {
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_BAD_TXN:
    case MDB_BAD_DBI:
    case MDB_BAD_VALSIZE:
    case MDB_CURSOR_FULL:
    case MDB_INCOMPATIBLE:
    case MDB_NOTFOUND:
    case MDB_KEYEXIST:
      throw Error(ErrorKind::corrupt,
                  {.what = what, .file = path.string(), .got = ::mdb_strerror(code), .hint = "run `tenon repair`"});
    case MDB_MAP_FULL:
    case MDB_MAP_RESIZED:
    case ENOMEM:
      throw Error(ErrorKind::limit, {.what = what,
                                     .file = path.string(),
                                     .got = ::mdb_strerror(code),
                                     .hint = "allow the process more address space (ulimit -v)"});
    case MDB_TXN_FULL:
      throw Error(ErrorKind::limit, {.what = what, .file = path.string(), .got = ::mdb_strerror(code)});
    case MDB_PANIC:  // an earlier failure made LMDB refuse
      throw_errno(EIO, what, path);
    default:
      throw_errno(code > 0 ? code : EIO, what, path);
  }
}

}  // namespace
}  // namespace tenon::lmdb
