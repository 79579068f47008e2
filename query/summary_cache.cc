#include "query/summary_cache.h"

#include <algorithm>
#include <cstring>

#include "mmap/file.h"
#include "mmap/lock.h"
#include "store/digest.h"

namespace tenon {

namespace {

constexpr std::size_t known_max = 1 << 21;                   // entries: some 100 MiB
constexpr std::uint64_t file_bytes_max = 16 << 20;           // half a million entries
constexpr std::uint64_t checksum_seed = 0x53554d4d41525931;  // not that of anything else

struct Header {
  char magic[8] = {'T', 'E', 'N', 'O', 'N', 'S', 'U', 'M'};
  std::uint32_t version = 1;
  std::uint32_t reserved[5] = {};
  friend bool operator==(const Header&, const Header&) = default;
};
static_assert(sizeof(Header) == 32);

struct Record {
  Digest key;
  double value;
  std::uint64_t checksum;
};
static_assert(sizeof(Record) == 32);

std::uint64_t checksum_of(const Record& record) noexcept {
  return checksum_bytes(std::as_bytes(std::span(&record, 1)).first(offsetof(Record, checksum)), checksum_seed);
}

// Where the next record goes: after the last whole one, over what a killed writer left.
std::uint64_t end_of(std::uint64_t size_bytes) noexcept {
  return sizeof(Header) + (size_bytes - sizeof(Header)) / sizeof(Record) * sizeof(Record);
}

bool has_header(const File& file, std::uint64_t size_bytes) {
  if (size_bytes < sizeof(Header)) return false;
  Header header;
  file.read_at(0, std::as_writable_bytes(std::span(&header, 1)));
  return header == Header{};
}

// Whole records from `begin` on, damaged ones left out.
std::vector<Record> read_records(const File& file, std::uint64_t begin, std::uint64_t end) {
  std::vector<Record> records((end - begin) / sizeof(Record));
  file.read_at(begin, std::as_writable_bytes(std::span(records)));
  std::erase_if(records, [](const Record& record) { return record.checksum != checksum_of(record); });
  return records;
}

void append(const std::filesystem::path& path, std::span<const SummaryEntry> entries) {
  if (!file_exists(path)) File::create(path);
  const auto lock = FileLock::try_acquire(path, LockMode::exclusive, 0);
  if (!lock) return;
  File file = File::open(path, File::Access::read_write);
  std::uint64_t size = file.size_bytes();
  if (!has_header(file, size) || size > file_bytes_max) {
    const Header header;
    file.truncate(0);
    file.write_at(0, std::as_bytes(std::span(&header, 1)));
    size = sizeof(Header);
  }
  std::vector<Record> records;
  for (const SummaryEntry& entry : entries) {
    records.push_back({entry.key, entry.value, 0});
    records.back().checksum = checksum_of(records.back());
  }
  file.write_at(end_of(size), std::as_bytes(std::span(records)));
}

// A file that cannot be read or written costs time, and nothing else: so what goes wrong with it is nobody's error.
template <typename Attempt>
void attempt(const Attempt& work) noexcept {
  try {
    work();
  } catch (const Error&) {
  }
}

}  // namespace

std::optional<std::vector<double>> SummaryCache::find(std::span<const Digest> keys) {
  const std::lock_guard lock(mutex_);
  std::vector<double> values;
  values.reserve(keys.size());
  if (find_known(keys, values)) return values;
  if (path_.empty()) return std::nullopt;
  attempt([&] { read_new_entries(); });
  if (find_known(keys, values)) return values;
  return std::nullopt;
}

void SummaryCache::add(std::span<const SummaryEntry> entries, bool in_file) {
  const std::lock_guard lock(mutex_);
  if (known_.size() + entries.size() > known_max) known_.clear();
  for (const SummaryEntry& entry : entries) known_.insert_or_assign(entry.key, entry.value);
  if (in_file && !path_.empty()) attempt([&] { append(path_, entries); });
}

bool SummaryCache::find_known(std::span<const Digest> keys, std::vector<double>& values) const {
  values.clear();
  for (const Digest& key : keys) {
    const auto found = known_.find(key);
    if (found == known_.end()) return false;
    values.push_back(found->second);
  }
  return true;
}

void SummaryCache::read_new_entries() {
  const auto file = File::try_open(path_);
  if (!file) return;
  const std::uint64_t size = file->size_bytes();
  if (size < read_bytes_) read_bytes_ = 0;  // it was begun anew
  if (size == read_bytes_ || !has_header(*file, size)) return;
  const std::uint64_t end = end_of(std::min(size, 2 * file_bytes_max));
  const std::uint64_t begin = std::max<std::uint64_t>(read_bytes_, sizeof(Header));
  if (begin >= end) return;
  if (known_.size() > known_max) known_.clear();
  for (const Record& record : read_records(*file, begin, end)) known_.insert_or_assign(record.key, record.value);
  read_bytes_ = end;
}

}  // namespace tenon
