#include "store/segment.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstring>

#include "mmap/lock.h"
#include "mmap/seeded_bug.h"
#include "mmap/writable_mapping.h"
#include "tenon/error.h"

namespace tenon {

namespace {

using format::Section;
using format::SectionKind;
using format::SegmentFooter;
using format::SegmentHeader;
using format::StorageEntry;

constexpr std::uint32_t segment_version = 1;
constexpr std::string_view segment_suffix = ".seg";
constexpr std::size_t sequence_digits = 16;
// Of a segment in flight: held while a part of it is taken.
constexpr std::uint64_t part_lock_byte = 2;
constexpr auto part_lock_timeout = std::chrono::seconds(60);

Digest random_digest() {
  Digest digest;
  random_bytes(std::as_writable_bytes(std::span(&digest, 1)));
  return digest;
}

std::uint64_t section_checksum(SectionKind kind, std::span<const std::byte> bytes) {
  return checksum_bytes(bytes, static_cast<std::uint64_t>(kind));
}

}  // namespace

std::string segment_file_name(std::uint64_t sequence) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string name(sequence_digits, '0');
  for (std::size_t i = sequence_digits; i-- > 0; sequence >>= 4) name[i] = digits[sequence & 15];
  return name.append(segment_suffix);
}

std::optional<std::uint64_t> parse_segment_file_name(std::string_view name) {
  if (name.size() != sequence_digits + segment_suffix.size() || !name.ends_with(segment_suffix)) return std::nullopt;
  std::uint64_t sequence = 0;
  for (const char c : name.substr(0, sequence_digits)) {
    const bool is_digit = c >= '0' && c <= '9';
    if (!is_digit && !(c >= 'a' && c <= 'f')) return std::nullopt;
    sequence = sequence << 4 | static_cast<std::uint64_t>(is_digit ? c - '0' : c - 'a' + 10);
  }
  return sequence;
}

std::shared_ptr<const Segment> Segment::open(const std::filesystem::path& path,
                                             const format::SegmentReference* wanted) {
  return open(File::open(path), wanted);
}

std::shared_ptr<Segment> Segment::with_memory(const File& file, Mapping (*memory)(const File&, std::uint64_t)) {
  auto segment = std::make_shared<Segment>();
  segment->path_ = file.path();
  const std::uint64_t size = file.size_bytes();
  if (size < sizeof(SegmentHeader) + sizeof(SegmentFooter)) {
    segment->fail("segment is too short for its header and footer", size, std::to_string(size) + " bytes",
                  "at least " + std::to_string(sizeof(SegmentHeader) + sizeof(SegmentFooter)));
  }
  segment->mapping_ = memory(file, size);
  segment->footer_ = reinterpret_cast<const SegmentFooter*>(segment->data() + size - sizeof(SegmentFooter));
  return segment;
}

std::shared_ptr<const Segment> Segment::open(const File& file, const format::SegmentReference* wanted) {
  const auto segment = with_memory(
      file, [](const File& of, std::uint64_t size) { return Mapping::map(of, 0, size, MapMode::read_only); });
  segment->check_header();
  segment->check_footer(wanted);
  return segment;
}

std::shared_ptr<const Segment> Segment::read(const File& file, const format::SegmentReference* wanted) {
  const auto segment = with_memory(file, [](const File&, std::uint64_t size) { return Mapping::reserve(size); });
  const std::uint64_t footer_offset = segment->mapping_.size_bytes() - sizeof(SegmentFooter);
  segment->read_part(file, 0, sizeof(SegmentHeader));
  segment->check_header();
  segment->read_part(file, footer_offset, sizeof(SegmentFooter));
  segment->check_footer(wanted);
  const std::uint64_t data_bytes = segment->data_bytes();
  segment->read_part(file, data_bytes, footer_offset - data_bytes);
  return segment;
}

void Segment::read_part(const File& file, std::uint64_t offset, std::uint64_t size) {
  try {
    file.read_at(offset, {mapping_.data() + offset, size});
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::io) throw;
    fail("segment cannot be read", error.facts().offset.value_or(offset), error.facts().got);
  }
}

void Segment::fail(std::string what, std::uint64_t offset, std::string got, std::string wanted) const {
  throw Error(ErrorKind::corrupt, {.what = std::move(what),
                                   .file = path_.string(),
                                   .offset = offset,
                                   .got = std::move(got),
                                   .wanted = std::move(wanted),
                                   .hint = "run `tenon verify` to see what it hurts"});
}

void Segment::check_header() const {
  const auto& header = *reinterpret_cast<const SegmentHeader*>(data());
  if (std::memcmp(header.magic, format::segment_magic, sizeof header.magic) != 0) fail("not a segment: wrong magic", 0);
  if (header.checksum != format::seal_of(header)) fail("segment header is damaged", 0);
  if (header.version != segment_version) {
    throw Error(ErrorKind::too_new, {.what = "segment was written by a later format",
                                     .file = path_.string(),
                                     .got = std::to_string(header.version)});
  }
}

void Segment::check_footer(const format::SegmentReference* wanted) const {
  const SegmentFooter& f = *footer_;
  const std::uint64_t at = mapping_.size_bytes() - sizeof(SegmentFooter);
  if (mapping_.size_bytes() % alignof(SegmentFooter) != 0) fail("segment is cut or has grown", mapping_.size_bytes());
  if (std::memcmp(f.magic, format::footer_magic, sizeof f.magic) != 0)
    fail("segment has no footer: it is cut or was never finished", at);
  if (f.checksum != format::seal_of(f)) fail("segment footer is damaged", at);
  const auto& header = *reinterpret_cast<const SegmentHeader*>(data());
  if (f.file_bytes != mapping_.size_bytes())
    fail("segment is not as long as its footer says", at, std::to_string(mapping_.size_bytes()),
         std::to_string(f.file_bytes));
  if (f.uuid != header.uuid || f.store_id != header.store_id)
    fail("segment's header and footer belong to different segments", at);
  if (f.version != segment_version) fail("segment footer has an unknown version", at, std::to_string(f.version));
  if (f.data_bytes < sizeof(SegmentHeader) || f.data_bytes > at || f.section_count > format::sections_max)
    fail("segment footer counts more than there is", at);
  for (std::uint32_t i = 0; i < f.section_count; ++i) {
    const Section& s = f.sections[i];
    if (s.offset < f.data_bytes || s.offset > at || s.size > at - s.offset || s.offset % format::alignment_small != 0) {
      fail("section lies outside the segment", at, std::to_string(s.offset) + "+" + std::to_string(s.size));
    }
    if (find_section(static_cast<SectionKind>(s.kind)) != &s)
      fail("section is there twice", at, std::to_string(s.kind));
  }
  if (wanted != nullptr && (wanted->uuid != f.uuid || wanted->file_bytes != f.file_bytes)) {
    fail("another segment is in this one's place", 0, to_hex(f.uuid), to_hex(wanted->uuid));
  }
}

const Section* Segment::find_section(SectionKind kind) const noexcept {
  for (std::uint32_t i = 0; i < footer_->section_count; ++i) {
    if (footer_->sections[i].kind == static_cast<std::uint32_t>(kind)) return &footer_->sections[i];
  }
  return nullptr;
}

std::span<const std::byte> Segment::section(SectionKind kind) const {
  const Section* s = find_section(kind);
  if (s == nullptr)
    fail("segment lacks section " + std::to_string(static_cast<std::uint32_t>(kind)),
         file_bytes() - sizeof(SegmentFooter));
  const std::span<const std::byte> bytes(data() + s->offset, s->size);
  if (section_checksum(kind, bytes) != s->checksum) {
    fail("section " + std::to_string(static_cast<std::uint32_t>(kind)) + " is damaged: its checksum differs",
         s->offset);
  }
  return bytes;
}

std::uint64_t Segment::section_offset(SectionKind kind) const noexcept {
  const Section* s = find_section(kind);
  return s == nullptr ? 0 : s->offset;
}

std::span<const StorageEntry> Segment::storages() const {
  std::call_once(tables_once_, [this] { check_tables(); });
  return storages_;
}

std::span<const Digest> Segment::leaves() const {
  std::call_once(tables_once_, [this] { check_tables(); });
  return leaves_;
}

const StorageEntry* Segment::storage_at(std::uint64_t offset) const {
  const auto entries = storages();
  const auto after = std::upper_bound(entries.begin(), entries.end(), offset,
                                      [](std::uint64_t at, const StorageEntry& e) { return at < e.offset; });
  if (after == entries.begin()) return nullptr;
  const StorageEntry& entry = *std::prev(after);
  return offset - entry.offset < entry.nbytes ? &entry : nullptr;
}

std::vector<Digest> Segment::leaves_of(std::uint64_t offset, std::uint64_t size) const {
  const StorageEntry* entry = storage_at(offset);
  if (entry == nullptr || size == 0) return {};
  const std::uint64_t begin = offset - entry->offset;
  const bool is_inside = size <= entry->nbytes - begin;
  if (!is_inside || begin % leaf_bytes != 0 || (size % leaf_bytes != 0 && begin + size != entry->nbytes)) return {};
  if (leaf_count(entry->nbytes) == 1) return {entry->key};
  const auto some = leaves_.subspan(entry->first_leaf + begin / leaf_bytes, leaf_count(size));
  return {some.begin(), some.end()};
}

void Segment::check_tables() const {
  const auto entries = section(SectionKind::storages);
  if (entries.size() % sizeof(StorageEntry) != 0)
    fail("storages table has a torn entry", section_offset(SectionKind::storages));
  storages_ = {reinterpret_cast<const StorageEntry*>(entries.data()), entries.size() / sizeof(StorageEntry)};
  if (has_section(SectionKind::leaves)) {
    const auto digests = section(SectionKind::leaves);
    leaves_ = {reinterpret_cast<const Digest*>(digests.data()), digests.size() / sizeof(Digest)};
  }
  for (const StorageEntry& e : storages_) {
    const std::uint64_t needed = leaf_count(e.nbytes);
    const bool has_leaves = needed == 1 || (e.first_leaf <= leaves_.size() && needed <= leaves_.size() - e.first_leaf);
    const bool is_inside = e.offset <= data_bytes() && e.nbytes <= data_bytes() - e.offset;
    if (is_inside && has_leaves && e.offset % format::alignment_small == 0) continue;
    fail("storage lies outside the segment's data", section_offset(SectionKind::storages),
         std::to_string(e.offset) + "+" + std::to_string(e.nbytes));
  }
}

std::uint64_t aligned_storage_offset(std::uint64_t cursor, std::uint64_t nbytes) noexcept {
  if (nbytes >= format::granule_aligned_from) return format::align_up(cursor, std::uint64_t{format::granule_bytes});
  if (nbytes >= format::page_aligned_from) return format::align_up(cursor, format::alignment_page);
  return format::align_up(cursor, format::alignment_small);
}

SegmentWriter::SegmentWriter(const std::filesystem::path& directory, const Digest& store_id, const std::string& prefix)
    : store_id_(store_id), uuid_(random_digest()) {
  file_ = File::create(directory / (prefix + to_hex(uuid_) + ".tmp"));
  try {
    FileLock::hold(file_);
    SegmentHeader header{};
    std::memcpy(header.magic, format::segment_magic, sizeof header.magic);
    header.version = segment_version;
    header.store_id = store_id_;
    header.uuid = uuid_;
    header.checksum = format::seal_of(header);
    file_.write_at(0, std::as_bytes(std::span(&header, 1)));
  } catch (...) {
    remove_file(file_.path());
    throw;
  }
}

SegmentWriter::SegmentWriter(File file, const Digest& uuid) noexcept
    : file_(std::move(file)), uuid_(uuid), cursor_(0), is_joined_(true) {}

SegmentWriter SegmentWriter::join(const std::filesystem::path& temporary, const Digest& uuid) {
  File file = File::open(temporary, File::Access::read_write);
  SegmentHeader header{};
  file.read_at(0, std::as_writable_bytes(std::span(&header, 1)));
  if (header.checksum != format::seal_of(header) || header.uuid != uuid) {
    throw Error(ErrorKind::corrupt, {.what = "not the segment that was to be joined", .file = temporary.string()});
  }
  return {std::move(file), uuid};
}

SegmentWriter::~SegmentWriter() {
  const bool is_mine = !is_joined_ && file_.is_open() && fork_generation_ == tenon::fork_generation();
  if (is_published_ || !is_mine) return;
  try {
    remove_file(file_.path());
  } catch (const Error&) {
    // A destructor must not throw; an unlocked .tmp is swept by the next cleaning.
  }
}

std::uint64_t SegmentWriter::place_storage(std::uint64_t nbytes) {
  assert(!data_bytes_);
  const std::uint64_t offset = aligned_storage_offset(cursor_, nbytes);
  cursor_ = offset + nbytes;
  return offset;
}

std::uint64_t SegmentWriter::place_piece(std::uint64_t nbytes) {
  assert(!data_bytes_);
  const std::uint64_t offset = format::align_up(cursor_, std::uint64_t{format::granule_bytes});
  cursor_ = offset + nbytes;
  return offset;
}

void SegmentWriter::reserve_placed() {
  if (is_joined_) {
    if (cursor_ > 0) take_part();
  } else if (cursor_ > sizeof(SegmentHeader)) {
    file_.reserve(0, cursor_);
  }
}

// The file's size says what is taken.
void SegmentWriter::take_part() {
  const FileLock lock = FileLock::acquire(file_.path(), LockMode::exclusive, part_lock_byte, part_lock_timeout);
  const std::uint64_t taken = std::max<std::uint64_t>(file_.size_bytes(), sizeof(SegmentHeader));
  part_begin_ = format::align_up(taken, std::uint64_t{format::granule_bytes});
  file_.truncate(part_begin_ + cursor_);
  file_.reserve(part_begin_, cursor_);
}

void SegmentWriter::adopt(std::span<const Range> parts) {
  assert(!is_joined_ && !data_bytes_);
  cursor_ = sizeof(SegmentHeader);
  for (const Range& part : parts) {
    assert(part.begin >= cursor_ && part.begin <= part.end);
    if (part.begin - cursor_ >= format::alignment_page) file_.discard(cursor_, part.begin - cursor_);
    cursor_ = part.end;
  }
  file_.truncate(cursor_);
}

WritableMapping SegmentWriter::map_writable(std::uint64_t offset, std::uint64_t size_bytes) {
  return {file_, offset, size_bytes};
}

Mapping SegmentWriter::map_written() const {
  return Mapping::map(file_, part_begin_, data_bytes_.value_or(cursor_), MapMode::read_only);
}

void SegmentWriter::add_section(SectionKind kind, std::span<const std::byte> bytes) {
  assert(sections_.size() < format::sections_max);
  if (!data_bytes_) {
    data_bytes_ = cursor_;
    pending_offset_ = cursor_;
  }
  const std::uint64_t offset = format::align_up(pending_offset_ + pending_.size(), format::alignment_small);
  pending_.resize(offset - pending_offset_);
  pending_.insert(pending_.end(), bytes.begin(), bytes.end());
  sections_.push_back({static_cast<std::uint32_t>(kind), 0, offset, bytes.size(), section_checksum(kind, bytes)});
}

void SegmentWriter::flush_sections() {
  if (pending_.empty()) return;
  file_.write_at(pending_offset_, pending_);
  pending_offset_ += pending_.size();
  pending_.clear();
}

void SegmentWriter::sync() {
  flush_sections();
  file_.sync_data();
}

std::uint64_t SegmentWriter::seal(std::uint64_t sequence) {
  assert(data_bytes_ && !is_sealed_);
  const std::uint64_t footer_offset = format::align_up(pending_offset_ + pending_.size(), format::alignment_small);
  pending_.resize(footer_offset - pending_offset_);
  SegmentFooter footer{};
  std::memcpy(footer.magic, format::footer_magic, sizeof footer.magic);
  footer.version = segment_version;
  footer.section_count = static_cast<std::uint32_t>(sections_.size());
  footer.store_id = store_id_;
  footer.uuid = uuid_;
  footer.sequence = sequence;
  footer.file_bytes = footer_offset + sizeof footer;
  footer.data_bytes = *data_bytes_;
  std::copy(sections_.begin(), sections_.end(), footer.sections);
  footer.checksum = format::seal_of(footer);
  const auto bytes = std::as_bytes(std::span(&footer, 1));
  pending_.insert(pending_.end(), bytes.begin(), bytes.end());
  flush_sections();
  file_.make_read_only();
  is_sealed_ = true;
  return footer.file_bytes;
}

void SegmentWriter::publish(const std::filesystem::path& path, bool durable) {
  assert(is_sealed_);
  if (durable && !seeded_bug("no_file_fsync") && !seeded_bug("rename_before_fsync")) file_.sync();
  rename_file(file_.path(), path, true);
  is_published_ = true;
  if (durable && seeded_bug("rename_before_fsync")) file_.sync();
  if (durable && !seeded_bug("no_directory_fsync")) sync_directory(path.parent_path());
  file_.close();
}

}  // namespace tenon
