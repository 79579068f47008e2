// What is known of the catalog's files without LMDB: the two meta pages at the start of data.mdb, and the watermark in
// the lock file.
//
// LMDB's meta pages carry no checksum, and LMDB believes them: it opens an emptied file as an empty database, dies by
// SIGBUS on a cut one, and falls back to the older page, one commit ago, if the newer one's number is damaged. So they
// are checked before LMDB opens the file and before each batch.
//
// The watermark is the number of the newest transaction known to be committed, written after the commit and not synced:
// it may lag (and is then no evidence), yet never leads. A catalog whose root is older than it is stale: damaged meta
// pages, or a data.mdb from the past.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>

#include "mmap/file.h"
#include "tenon/digest.h"

namespace tenon {

struct MetaPages {
  static constexpr std::size_t meta_bytes = 152;  // page header and meta, on 64-bit machines
  using Raw = std::array<std::byte, meta_bytes>;

  std::array<Raw, 2> raw;           // as they stand in the file
  std::uint64_t page_bytes = 0;     // of LMDB's pages
  std::uint64_t transaction = 0;    // of the newer one
  std::uint64_t content_bytes = 0;  // what the file must hold
  friend bool operator==(const MetaPages&, const MetaPages&) = default;
};

// Throws corrupt, with a hint to run repair, unless both are what LMDB writes and the file is as long as they say. It
// may be shorter only if the newer commit is not covered by the watermark: LMDB leaves out pages at the end that a
// transaction took and gave back, and settle_length(), which cures that, comes after the commit. REQUIRES: the
// catalog's lock is held.
MetaPages check_meta_pages(const File& data, std::uint64_t watermark);
// True if the file's meta pages are, byte for byte, still these.
bool has_meta_pages(const File& data, const MetaPages& pages);
// Puts them back and syncs, after a commit that failed half-way. REQUIRES: the exclusive lock is held.
void restore_meta_pages(File& data, const MetaPages& pages);
// Makes the file as long as its meta pages say.
void settle_length(File& data, bool durable);

// 0 if there is none, or it is damaged (then `is_damaged` is true).
std::uint64_t read_watermark(const std::filesystem::path& lock, const Digest& store_id, bool& is_damaged);
void write_watermark(const std::filesystem::path& lock, const Digest& store_id, std::uint64_t transaction);

}  // namespace tenon
