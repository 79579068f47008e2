// Files: open, read, write, make durable. Nothing here knows what the bytes mean.
//
// Owner: a File owns its descriptor (move-only). Threads: read_at and write_at may be called from several threads.
// Errors: Error(io | full | not_found) naming the path, the offset and errno's text. EINTR is retried; short reads and
// writes are continued; a read past the end throws corrupt ("file ends early"). A failed sync is never retried.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/error.h"

namespace tenon {

class File {
 public:
  enum class Access { read, read_write };

  File() = default;
  // Throws not_found if it is not there. O_CLOEXEC always.
  static File open(const std::filesystem::path& path, Access access = Access::read);
  // As open, but nullopt instead of not_found.
  static std::optional<File> try_open(const std::filesystem::path& path, Access access = Access::read);
  // For reading what begins inside a file: offsets count from `begin`. Throws invalid_argument past the file's end.
  static File open_from(const std::filesystem::path& path, std::uint64_t begin);
  // Creates with O_EXCL, mode 0666 less umask; throws conflict if it exists.
  static File create(const std::filesystem::path& path);
  // A file without a name in `directory`, gone with its last descriptor unless link_file gives it one. nullopt where
  // the file system has no such thing.
  static std::optional<File> create_unnamed(const std::filesystem::path& directory);
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  bool is_open() const noexcept { return descriptor_ >= 0; }
  int descriptor() const noexcept { return descriptor_; }
  const std::filesystem::path& path() const noexcept { return path_; }

  std::uint64_t size_bytes() const;
  std::uint64_t inode() const;
  void read_at(std::uint64_t offset, std::span<std::byte> out) const;
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes);
  // Reserves space so that later writes there do not fail for want of it; where the file system cannot, does nothing.
  // Does not change the size.
  void reserve(std::uint64_t offset, std::uint64_t size_bytes);
  // Gives the space back; the bytes read as zeros. Where the file system cannot, does nothing. Not for finished files.
  void discard(std::uint64_t offset, std::uint64_t size_bytes);
  void truncate(std::uint64_t size_bytes);
  // Lets the disk begin with what was written there, so that a later sync has less to wait for. Advice: errors show at
  // the sync.
  void start_writeback(std::uint64_t offset, std::uint64_t size_bytes) noexcept;
  void sync();            // fsync
  void sync_data();       // fdatasync
  void make_read_only();  // takes everybody's write permission away
  void close() noexcept;

 private:
  File(int descriptor, std::filesystem::path path) noexcept;
  int descriptor_ = -1;
  std::filesystem::path path_;
  std::uint64_t begin_ = 0;  // of what read_at and size_bytes see
};

// The whole file in memory; throws limit if it is larger than `limit_bytes`.
std::vector<std::byte> read_file(const std::filesystem::path& path, std::uint64_t limit_bytes);
// Same, nullopt if the file is not there.
std::optional<std::vector<std::byte>> try_read_file(const std::filesystem::path& path, std::uint64_t limit_bytes);
bool file_exists(const std::filesystem::path& path);

// fsync of a directory.
void sync_directory(const std::filesystem::path& directory);
// Replaces `path` with `bytes` so that after a crash the old or the new content is there, whole: write
// `<path>.<random>.tmp`, fsync, rename, fsync the directory (both syncs only if `durable`). The temporary file is
// removed on failure.
void replace_file(const std::filesystem::path& path, std::span<const std::byte> bytes, bool durable);
// rename(2); with `no_replace`, throws conflict if `to` exists.
void rename_file(const std::filesystem::path& from, const std::filesystem::path& to, bool no_replace = false);
// Gives a file of create_unnamed() the name `path`, whole as it is; false if something is there already.
bool link_file(const File& file, const std::filesystem::path& path);
// unlink(2); false if it was not there.
bool remove_file(const std::filesystem::path& path);
// mkdir(2), mode 0777 less umask; throws conflict if something is there.
void make_directory(const std::filesystem::path& path);
// Names (not paths) of the entries, sorted, without "." and "..".
std::vector<std::string> list_directory(const std::filesystem::path& path);
// True on NFS, CIFS, 9p and FUSE, where file locks and mappings of other hosts cannot be trusted. `name` gets the kind.
bool is_network_file_system(const std::filesystem::path& path, std::string& name);

// 16 random bytes from the kernel.
void random_bytes(std::span<std::byte> out);

// Throws io, or full for ENOSPC, EDQUOT and EFBIG, with errno's text as `got`.
[[noreturn]] void throw_errno(int error, std::string what, const std::filesystem::path& path,
                              std::optional<std::uint64_t> offset = {});

}  // namespace tenon
