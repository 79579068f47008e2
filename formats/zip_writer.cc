#include "formats/zip_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <limits>
#include <utility>

#include "formats/deflate.h"
#include "formats/record_source.h"
#include "formats/zip_layout.h"
#include "store/digest.h"
#include "store/parallel.h"

namespace tenon {
namespace {

constexpr std::uint64_t payload_alignment = 64;
constexpr std::size_t buffer_bytes = 1 << 20;
// From here on a piece is written from where it lies, and space for an entry is asked for in one go.
constexpr std::size_t direct_bytes = 256 << 10;
constexpr std::uint64_t reserve_bytes = 1 << 20;
// What a thread takes at a time of an entry that several fill, and what of it is in the cache at once.
constexpr std::uint64_t run_bytes = 4 << 20;
constexpr std::uint64_t piece_bytes = 1 << 20;
// What torch's writer puts into "version made by" and "version needed" of the zip64 end record: Unix, 4.5.
constexpr std::uint16_t end64_made_by = 0x031E;
constexpr std::uint16_t end64_needed = 45;

bool is_big(std::uint64_t value) noexcept { return value >= zip::see_zip64_32; }

std::uint32_t capped32(std::uint64_t value) noexcept {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(value, zip::see_zip64_32));
}

std::uint16_t capped16(std::uint64_t value) noexcept {
  return static_cast<std::uint16_t>(std::min<std::uint64_t>(value, zip::see_zip64_16));
}

// torch gives empty entries no descriptor, and says so in their flags.
std::uint16_t flags_of(std::uint64_t nbytes) noexcept {
  return nbytes == 0 ? zip::flag_utf8 : zip::flag_utf8 | zip::flag_descriptor;
}

bool needs_zip64(std::uint64_t nbytes, std::uint64_t header_offset) noexcept {
  return is_big(nbytes) || is_big(header_offset);
}

// `compressed_bytes` apart, because torch's local headers are written before it is known and hold 0.
void put_zip64_extra(ByteWriter& out, std::uint64_t nbytes, std::uint64_t compressed_bytes,
                     std::uint64_t header_offset) {
  if (!needs_zip64(nbytes, header_offset)) return;
  out.put(zip::zip64_extra_id);
  out.put(static_cast<std::uint16_t>((is_big(nbytes) ? 16 : 0) + (is_big(header_offset) ? 8 : 0)));
  if (is_big(nbytes)) {
    out.put(nbytes);
    out.put(compressed_bytes);
  }
  if (is_big(header_offset)) out.put(header_offset);
}

// The 'FB' field comes last and ends where the payload begins.
void put_padding(ByteWriter& out, std::uint64_t payload_offset_unpadded) {
  const auto padding = static_cast<std::uint16_t>(-payload_offset_unpadded % payload_alignment);
  out.put('F');
  out.put('B');
  out.put(padding);
  for (std::uint16_t i = 0; i < padding; ++i) out.put('Z');
}

}  // namespace

ZipWriter::ZipWriter(File& file, std::string top) : file_(file), top_(std::move(top)) {
  buffer_.reserve(buffer_bytes + direct_bytes);
}

void ZipWriter::add(std::string_view name, std::span<const std::byte> bytes) {
  add(name, bytes.size(), [bytes](const Sink& sink) { sink(bytes); });
}

void ZipWriter::add(std::string_view name, std::uint64_t nbytes, const std::function<void(const Sink&)>& produce) {
  Entry& entry = begin_entry(name, nbytes);
  write(local_header(entry).bytes());
  if (nbytes >= reserve_bytes) file_.reserve(bytes_written(), nbytes);
  std::uint64_t left = nbytes;
  const auto wrong_sum = [&](std::uint64_t got) {
    return Error(ErrorKind::invalid_argument,
                 {.what = fmt::format("pieces of {} do not sum up to its size", entry.name),
                  .file = file_.path().string(),
                  .got = fmt::format("{} bytes", got),
                  .wanted = fmt::format("{} bytes", nbytes)});
  };
  produce([&](std::span<const std::byte> piece) {
    if (piece.size() > left) throw wrong_sum(nbytes - left + piece.size());
    left -= piece.size();
    entry.crc32 = zip_crc32(entry.crc32, piece);
    write(piece);
  });
  if (left != 0) throw wrong_sum(nbytes - left);
  if (nbytes != 0) write(descriptor(entry).bytes());
}

void ZipWriter::add_filled(std::string_view name, std::uint64_t nbytes, const Fill& fill) {
  if (nbytes < direct_bytes) {
    std::vector<std::byte> bytes(nbytes);
    if (nbytes != 0) fill(0, bytes);
    return add(name, bytes);
  }
  Entry& entry = begin_entry(name, nbytes);
  write(local_header(entry).bytes());
  flush();
  file_.reserve(written_, nbytes);
  entry.crc32 = write_filled(nbytes, fill);
  written_ += nbytes;
  write(descriptor(entry).bytes());
}

// Each thread takes runs, and of those pieces that stay in its cache from being filled to being written.
std::uint32_t ZipWriter::write_filled(std::uint64_t nbytes, const Fill& fill) {
  struct Run {
    std::uint64_t nbytes = 0;
    std::uint32_t crc32 = 0;
  };
  std::vector<Run> runs((nbytes + run_bytes - 1) / run_bytes);
  parallel_for(runs.size(), threads_for_bytes(nbytes), [&](std::size_t i) {
    const std::uint64_t begin = i * run_bytes;
    runs[i].nbytes = std::min(run_bytes, nbytes - begin);
    std::vector<std::byte> buffer(std::min(piece_bytes, runs[i].nbytes));
    for (std::uint64_t at = 0; at < runs[i].nbytes; at += piece_bytes) {
      const auto piece = std::span(buffer).first(std::min(piece_bytes, runs[i].nbytes - at));
      fill(begin + at, piece);
      runs[i].crc32 = zip_crc32(runs[i].crc32, piece);
      file_.write_at(written_ + begin + at, piece);
    }
  });
  std::uint32_t crc32 = 0;
  for (const Run& run : runs) crc32 = combine_crc32(crc32, run.crc32, run.nbytes);
  return crc32;
}

void ZipWriter::finish() {
  if (!top_.empty()) {
    const std::string id = serialization_id();
    add(".data/serialization_id", std::as_bytes(std::span(id)));
  }
  const std::uint64_t directory_offset = bytes_written();
  for (const Entry& entry : entries_) write(central_header(entry).bytes());
  write(end_records(entries_.size(), directory_offset, bytes_written() - directory_offset).bytes());
  flush();
  finished_ = true;
}

ZipWriter::Entry& ZipWriter::begin_entry(std::string_view name, std::uint64_t nbytes) {
  assert(!finished_);
  std::string full_name = top_.empty() ? std::string(name) : fmt::format("{}/{}", top_, name);
  Entry entry{.name = std::move(full_name), .header_offset = bytes_written(), .nbytes = nbytes};
  const auto refuse = [&](ErrorKind kind, std::string what) {
    throw Error(kind, {.what = std::move(what), .file = file_.path().string(), .got = entry.name.substr(0, 200)});
  };
  if (entry.name.size() > std::numeric_limits<std::uint16_t>::max()) refuse(ErrorKind::limit, "record name too long");
  if (const char* flaw = zip::name_flaw(entry.name)) {
    refuse(ErrorKind::invalid_argument, fmt::format("record name {}", flaw));
  }
  if (names_.contains(entry.name)) refuse(ErrorKind::invalid_argument, "two records of one name");
  names_.insert(entries_.emplace_back(std::move(entry)).name);
  return entries_.back();
}

// The fields that a descriptor repeats are 0 here, and so are times: two saves of one object give the same bytes.
ByteWriter ZipWriter::local_header(const Entry& entry) {
  ByteWriter extra;
  put_zip64_extra(extra, entry.nbytes, 0, entry.header_offset);
  put_padding(extra,
              entry.header_offset + zip::local_bytes + entry.name.size() + extra.size() + zip::extra_header_bytes);
  ByteWriter out;
  out.put(zip::local_signature);
  out.put(std::uint16_t{0});  // version needed
  out.put(flags_of(entry.nbytes));
  out.put(zip::method_stored);
  out.put(std::uint32_t{0});  // time, date
  out.put(std::uint32_t{0});  // CRC
  out.put(std::uint32_t{0});  // compressed size
  out.put(std::uint32_t{0});  // size
  out.put(static_cast<std::uint16_t>(entry.name.size()));
  out.put(static_cast<std::uint16_t>(extra.size()));
  out.put_bytes(std::as_bytes(std::span(entry.name)));
  out.put_bytes(extra.bytes());
  return out;
}

ByteWriter ZipWriter::descriptor(const Entry& entry) {
  ByteWriter out;
  out.put(zip::descriptor_signature);
  out.put(entry.crc32);
  if (needs_zip64(entry.nbytes, entry.header_offset)) {
    out.put(entry.nbytes);
    out.put(entry.nbytes);
  } else {
    out.put(static_cast<std::uint32_t>(entry.nbytes));
    out.put(static_cast<std::uint32_t>(entry.nbytes));
  }
  return out;
}

ByteWriter ZipWriter::central_header(const Entry& entry) {
  ByteWriter extra;
  put_zip64_extra(extra, entry.nbytes, entry.nbytes, entry.header_offset);
  ByteWriter out;
  out.put(zip::central_signature);
  out.put(std::uint32_t{0});  // version made by, version needed
  out.put(flags_of(entry.nbytes));
  out.put(zip::method_stored);
  out.put(std::uint32_t{0});  // time, date
  out.put(entry.crc32);
  out.put(capped32(entry.nbytes));
  out.put(capped32(entry.nbytes));
  out.put(static_cast<std::uint16_t>(entry.name.size()));
  out.put(static_cast<std::uint16_t>(extra.size()));
  out.put(std::uint32_t{0});  // comment length, disk
  out.put(std::uint16_t{0});  // internal attributes
  out.put(std::uint32_t{0});  // external attributes
  out.put(capped32(entry.header_offset));
  out.put_bytes(std::as_bytes(std::span(entry.name)));
  out.put_bytes(extra.bytes());
  return out;
}

ByteWriter ZipWriter::end_records(std::uint64_t entry_count, std::uint64_t directory_offset,
                                  std::uint64_t directory_bytes) {
  ByteWriter out;
  out.put(zip::end64_signature);
  out.put(std::uint64_t{zip::end64_bytes - 12});  // of what follows this field
  out.put(end64_made_by);
  out.put(end64_needed);
  out.put(std::uint64_t{0});  // this disk, directory's disk
  out.put(entry_count);
  out.put(entry_count);
  out.put(directory_bytes);
  out.put(directory_offset);

  out.put(zip::locator_signature);
  out.put(std::uint32_t{0});  // disk of the record above
  out.put(directory_offset + directory_bytes);
  out.put(std::uint32_t{1});  // disks

  out.put(zip::end_signature);
  out.put(std::uint32_t{0});  // this disk, directory's disk
  out.put(capped16(entry_count));
  out.put(capped16(entry_count));
  out.put(capped32(directory_bytes));
  out.put(capped32(directory_offset));
  out.put(std::uint16_t{0});  // comment length
  return out;
}

// 20 digits for the names and 20 for the CRCs. torch's own digits depend on the order of a hash table; ours only on
// what was added.
std::string ZipWriter::serialization_id() const {
  ByteWriter names;
  ByteWriter crcs;
  for (const Entry& entry : entries_) {
    names.put_string(entry.name);
    crcs.put(entry.crc32);
  }
  return fmt::format("{:020}{:020}", digest_bytes(names.bytes()).low, digest_bytes(crcs.bytes()).low);
}

void ZipWriter::write(std::span<const std::byte> bytes) {
  if (bytes.size() < direct_bytes) {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
    if (buffer_.size() >= buffer_bytes) flush();
    return;
  }
  flush();
  file_.write_at(written_, bytes);
  written_ += bytes.size();
}

void ZipWriter::flush() {
  if (buffer_.empty()) return;
  file_.write_at(written_, buffer_);
  written_ += buffer_.size();
  buffer_.clear();
}

}  // namespace tenon
