#include "store/catalog_meta.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <type_traits>

#include "store/digest.h"
#include "tenon/error.h"

namespace tenon {
namespace {

// LMDB 0.9 on 64-bit little-endian machines.
struct Table {
  std::uint32_t pad;  // of the first table: the page size
  std::uint16_t flags;
  std::uint16_t depth;
  std::uint64_t branch_pages;
  std::uint64_t leaf_pages;
  std::uint64_t overflow_pages;
  std::uint64_t entries;
  std::uint64_t root;
};

struct MetaPage {
  std::uint64_t page_number;
  std::uint16_t pad;
  std::uint16_t page_flags;
  std::uint32_t bounds;
  std::uint32_t magic;
  std::uint32_t version;
  std::uint64_t address;
  std::uint64_t map_bytes;
  Table free_pages;
  Table main;
  std::uint64_t last_page;
  std::uint64_t transaction;
};
static_assert(sizeof(MetaPage) == MetaPages::meta_bytes && std::has_unique_object_representations_v<MetaPage>);

constexpr std::uint16_t page_is_meta = 0x08;
constexpr std::uint32_t lmdb_magic = 0xBEEFC0DE;
constexpr std::uint32_t lmdb_version = 1;
constexpr std::uint16_t integer_keys = 0x08;  // the only flag of an environment like ours
constexpr std::uint64_t no_page = ~std::uint64_t{0};
constexpr std::uint32_t smallest_page = 512;
constexpr std::uint32_t largest_page = 64 * 1024;
constexpr std::uint64_t largest_page_count = std::uint64_t{1} << 46;
constexpr std::uint16_t largest_depth = 32;  // of LMDB's cursors

struct Watermark {
  std::uint64_t transaction;
  std::uint64_t checksum;  // seeded with the transaction, over the store id
};

MetaPage read_meta(const File& data, std::uint64_t offset, std::uint64_t file_bytes);
void check_kind(const File& data, const MetaPage& meta, std::uint64_t number, std::uint32_t page_size);
std::uint64_t check_extent(const File& data, const MetaPage& newest, std::uint64_t file_bytes, bool is_settled);
void check_root(const File& data, const MetaPage& meta, const Table& table, std::uint64_t pages);
std::uint64_t watermark_checksum(std::uint64_t transaction, const Digest& store_id);
[[noreturn]] void throw_damaged(const File& data, std::string what, std::uint64_t offset, std::uint64_t got,
                                std::string wanted);

}  // namespace

MetaPages check_meta_pages(const File& data, std::uint64_t watermark) {
  const std::uint64_t file_bytes = data.size_bytes();
  const MetaPage first = read_meta(data, 0, file_bytes);
  const std::uint32_t page_size = first.free_pages.pad;
  if (!std::has_single_bit(page_size) || page_size < smallest_page || page_size > largest_page) {
    throw_damaged(data, "the catalog's page size is wrong", 0, page_size, "a power of two from 512 to 65536");
  }
  const MetaPage second = read_meta(data, page_size, file_bytes);
  check_kind(data, first, 0, page_size);
  check_kind(data, second, 1, page_size);

  // Each commit writes one page, by turns, so the numbers are neighbours; even ones stand on the first page.
  const bool is_second_newer = second.transaction > first.transaction;
  const MetaPage& newer = is_second_newer ? second : first;
  const MetaPage& older = is_second_newer ? first : second;
  if (newer.transaction - older.transaction != 1 || (newer.transaction % 2 == 1) != is_second_newer) {
    throw_damaged(data, "the catalog's meta pages do not belong together", is_second_newer ? page_size : 0,
                  newer.transaction, "the number after " + std::to_string(older.transaction));
  }
  MetaPages pages;
  std::memcpy(pages.raw[0].data(), &first, sizeof(first));
  std::memcpy(pages.raw[1].data(), &second, sizeof(second));
  pages.page_bytes = page_size;
  pages.transaction = newer.transaction;
  pages.content_bytes = check_extent(data, newer, file_bytes, watermark >= newer.transaction);
  return pages;
}

bool has_meta_pages(const File& data, const MetaPages& pages) {
  for (std::size_t i = 0; i < pages.raw.size(); ++i) {
    MetaPages::Raw now;
    data.read_at(i * pages.page_bytes, now);
    if (now != pages.raw[i]) return false;
  }
  return true;
}

void restore_meta_pages(File& data, const MetaPages& pages) {
  for (std::size_t i = 0; i < pages.raw.size(); ++i) data.write_at(i * pages.page_bytes, pages.raw[i]);
  data.sync();
}

void settle_length(File& data, bool durable) {
  const std::uint64_t content_bytes = check_meta_pages(data, 0).content_bytes;
  if (data.size_bytes() >= content_bytes) return;
  data.truncate(content_bytes);
  if (durable) data.sync();
}

std::uint64_t read_watermark(const std::filesystem::path& lock, const Digest& store_id, bool& is_damaged) {
  const File file = File::open(lock);
  Watermark mark{};
  is_damaged = true;
  if (file.size_bytes() != sizeof(mark)) return 0;
  file.read_at(0, std::as_writable_bytes(std::span(&mark, 1)));
  if (mark.checksum != watermark_checksum(mark.transaction, store_id)) return 0;
  is_damaged = false;
  return mark.transaction;
}

void write_watermark(const std::filesystem::path& lock, const Digest& store_id, std::uint64_t transaction) {
  File file = File::open(lock, File::Access::read_write);
  const Watermark mark{transaction, watermark_checksum(transaction, store_id)};
  if (file.size_bytes() > sizeof(mark)) file.truncate(sizeof(mark));
  file.write_at(0, std::as_bytes(std::span(&mark, 1)));
}

namespace {

MetaPage read_meta(const File& data, std::uint64_t offset, std::uint64_t file_bytes) {
  MetaPage meta{};
  if (file_bytes < offset + sizeof(meta)) {
    throw_damaged(data, "the catalog is cut off", file_bytes, file_bytes, "at least the two meta pages");
  }
  data.read_at(offset, std::as_writable_bytes(std::span(&meta, 1)));
  return meta;
}

void check_kind(const File& data, const MetaPage& meta, std::uint64_t number, std::uint32_t page_size) {
  const std::uint64_t offset = number * page_size;
  if (meta.page_number != number || meta.page_flags != page_is_meta || meta.magic != lmdb_magic) {
    throw_damaged(data, "a meta page of the catalog is damaged", offset, meta.magic, "the marks of LMDB");
  }
  if (meta.version != lmdb_version) {
    throw_damaged(data, "the catalog has another LMDB format", offset, meta.version, std::to_string(lmdb_version));
  }
  if (meta.free_pages.pad != page_size || meta.free_pages.flags != integer_keys || meta.main.flags != 0) {
    throw_damaged(data, "a meta page of the catalog is damaged", offset, meta.free_pages.flags,
                  "the flags of a plain environment");
  }
}

std::uint64_t check_extent(const File& data, const MetaPage& newest, std::uint64_t file_bytes, bool is_settled) {
  const std::uint64_t page_size = newest.free_pages.pad;
  const std::uint64_t pages = file_bytes / page_size;
  const bool is_sane = newest.last_page >= 1 && newest.last_page < largest_page_count;
  if (!is_sane || (is_settled && newest.last_page >= pages)) {
    throw_damaged(data, "the catalog is cut off, or its meta page is damaged", file_bytes, pages,
                  "the pages up to " + std::to_string(newest.last_page));
  }
  check_root(data, newest, newest.free_pages, pages);
  check_root(data, newest, newest.main, pages);
  return (newest.last_page + 1) * page_size;
}

void check_root(const File& data, const MetaPage& meta, const Table& table, std::uint64_t pages) {
  const bool is_empty = table.root == no_page && table.depth == 0;
  const bool is_inside = table.root > 1 && table.root <= meta.last_page && table.root < pages && table.depth >= 1;
  if (is_empty || (is_inside && table.depth <= largest_depth)) return;
  throw_damaged(data, "a meta page of the catalog is damaged", meta.page_number * meta.free_pages.pad, table.root,
                "a root page up to " + std::to_string(std::min(meta.last_page, pages)));
}

std::uint64_t watermark_checksum(std::uint64_t transaction, const Digest& store_id) {
  return checksum_bytes(std::as_bytes(std::span(&store_id, 1)), transaction);
}

[[noreturn]] void throw_damaged(const File& data, std::string what, std::uint64_t offset, std::uint64_t got,
                                std::string wanted) {
  throw Error(ErrorKind::corrupt, {.what = std::move(what),
                                   .file = data.path().string(),
                                   .offset = offset,
                                   .got = std::to_string(got),
                                   .wanted = std::move(wanted),
                                   .hint = "run `tenon repair`"});
}

}  // namespace
}  // namespace tenon
