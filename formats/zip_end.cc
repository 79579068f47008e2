// Finding the central directory from the end of the file.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "formats/zip_directory.h"
#include "formats/zip_fields.h"
#include "formats/zip_layout.h"

namespace tenon::zip {
namespace {

// The end record is looked for in what a longest comment would allow; what precedes it is read along.
constexpr std::uint64_t search_bytes = 65535 + end_bytes;
constexpr std::uint64_t tail_bytes = search_bytes + locator_bytes + end64_bytes;
// An entry takes at least a central and a local header and two names of one byte.
constexpr std::uint64_t min_central_bytes = central_bytes + 1;
constexpr std::uint64_t min_entry_bytes = min_central_bytes + local_bytes + 1;
constexpr std::uint64_t max_entries = 1 << 24;

// The end of the file.
struct Tail {
  std::string file;
  std::uint64_t file_bytes = 0;
  std::uint64_t offset = 0;  // of bytes[0] in the file
  std::vector<std::byte> bytes{};

  [[noreturn]] void refuse(ErrorKind kind, std::size_t position, std::string what, std::string got,
                           std::string wanted) const {
    throw Error(kind, {.what = std::move(what),
                       .file = file,
                       .offset = offset + position,
                       .got = std::move(got),
                       .wanted = std::move(wanted)});
  }
};

Tail read_tail(const File& file) {
  Tail tail{.file = file.path().string(), .file_bytes = file.size_bytes()};
  tail.bytes.resize(std::min(tail.file_bytes, tail_bytes));
  tail.offset = tail.file_bytes - tail.bytes.size();
  file.read_at(tail.offset, tail.bytes);
  return tail;
}

// What an end record says, from whichever of its two forms.
struct EndRecord {
  std::size_t position = 0;  // of the first record, in the tail: there the directory must end
  std::uint64_t directory_offset = 0;
  std::uint64_t directory_bytes = 0;
  std::uint64_t entry_count = 0;
};

bool agrees(std::uint32_t small, std::uint64_t large) noexcept { return small == see_zip64_32 || small == large; }
bool agrees(std::uint16_t small, std::uint64_t large) noexcept { return small == see_zip64_16 || small == large; }

// Only the form that writers write: 56 bytes, directly before its locator.
EndRecord zip64_record(const Tail& tail, std::size_t locator, std::span<const std::byte> end) {
  const auto at = std::span(tail.bytes).subspan(locator);
  if (locator < end64_bytes || field<std::uint64_t>(at, 8) != tail.offset + locator - end64_bytes) {
    tail.refuse(ErrorKind::corrupt, locator, "zip64 locator points elsewhere than before itself",
                fmt::format("offset {}", field<std::uint64_t>(at, 8)),
                fmt::format("offset {}", tail.offset + locator - std::min(locator, end64_bytes)));
  }
  if (field<std::uint32_t>(at, 4) != 0 || field<std::uint32_t>(at, 16) > 1) {
    tail.refuse(ErrorKind::unsupported, locator, "archive of several disks",
                fmt::format("{} disks", field<std::uint32_t>(at, 16)), "1");
  }
  const std::size_t position = locator - end64_bytes;
  const auto record = std::span(tail.bytes).subspan(position, end64_bytes);
  if (field<std::uint32_t>(record, 0) != end64_signature || field<std::uint64_t>(record, 4) != end64_bytes - 12) {
    tail.refuse(
        ErrorKind::corrupt, position, "zip64 end record is malformed",
        fmt::format("signature {:#x}, {} bytes", field<std::uint32_t>(record, 0), field<std::uint64_t>(record, 4)),
        fmt::format("signature {:#x}, {} bytes", end64_signature, end64_bytes - 12));
  }
  const auto count = field<std::uint64_t>(record, 32);
  if (field<std::uint32_t>(record, 16) != 0 || field<std::uint32_t>(record, 20) != 0 ||
      field<std::uint64_t>(record, 24) != count) {
    tail.refuse(ErrorKind::unsupported, position, "archive of several disks",
                fmt::format("{} of {} entries here", field<std::uint64_t>(record, 24), count), "all");
  }
  const EndRecord found{.position = position,
                        .directory_offset = field<std::uint64_t>(record, 48),
                        .directory_bytes = field<std::uint64_t>(record, 40),
                        .entry_count = count};
  if (!agrees(field<std::uint16_t>(end, 10), count) || !agrees(field<std::uint32_t>(end, 12), found.directory_bytes) ||
      !agrees(field<std::uint32_t>(end, 16), found.directory_offset)) {
    tail.refuse(
        ErrorKind::corrupt, position, "the two end records disagree",
        fmt::format("{} entries, directory of {} bytes at {}", count, found.directory_bytes, found.directory_offset),
        fmt::format("{} entries, directory of {} bytes at {}", field<std::uint16_t>(end, 10),
                    field<std::uint32_t>(end, 12), field<std::uint32_t>(end, 16)));
  }
  return found;
}

EndRecord end_record(const Tail& tail, std::size_t position) {
  const auto end = std::span(tail.bytes).subspan(position);
  const auto comment_bytes = field<std::uint16_t>(end, 20);
  if (comment_bytes > end.size() - end_bytes) {
    tail.refuse(ErrorKind::corrupt, position, "archive comment runs past the end of the file",
                fmt::format("{} bytes", comment_bytes), fmt::format("at most {}", end.size() - end_bytes));
  }
  const auto disk = field<std::uint16_t>(end, 4);
  const auto directory_disk = field<std::uint16_t>(end, 6);
  const auto count = field<std::uint16_t>(end, 10);
  const bool has_locator = position >= locator_bytes &&
                           field<std::uint32_t>(std::span(tail.bytes), position - locator_bytes) == locator_signature;
  const auto is_first = [&](std::uint16_t number) { return number == 0 || (has_locator && number == see_zip64_16); };
  if (!is_first(disk) || !is_first(directory_disk) || field<std::uint16_t>(end, 8) != count) {
    tail.refuse(ErrorKind::unsupported, position, "archive of several disks",
                fmt::format("disk {}, {} of {} entries here", disk, field<std::uint16_t>(end, 8), count),
                "disk 0, all entries");
  }
  if (has_locator) return zip64_record(tail, position - locator_bytes, end);
  return EndRecord{.position = position,
                   .directory_offset = field<std::uint32_t>(end, 16),
                   .directory_bytes = field<std::uint32_t>(end, 12),
                   .entry_count = count};
}

// Nothing may lie between directory and end records: then bytes put before the archive cannot shift it.
Directory directory_of(const Tail& tail, const EndRecord& record) {
  const std::uint64_t end = tail.offset + record.position;
  if (record.directory_bytes > end || record.directory_offset != end - record.directory_bytes) {
    tail.refuse(ErrorKind::corrupt, record.position, "central directory does not end at the end record",
                fmt::format("{} bytes at {}", record.directory_bytes, record.directory_offset),
                fmt::format("an end at {}", end));
  }
  if (record.entry_count > record.directory_bytes / min_central_bytes ||
      record.entry_count > tail.file_bytes / min_entry_bytes) {
    tail.refuse(ErrorKind::corrupt, record.position, "more entries than the archive can hold",
                fmt::format("{} entries", record.entry_count),
                fmt::format("at most {}",
                            std::min(record.directory_bytes / min_central_bytes, tail.file_bytes / min_entry_bytes)));
  }
  if (record.entry_count > max_entries) {
    tail.refuse(ErrorKind::limit, record.position, "too many entries", fmt::format("{} entries", record.entry_count),
                fmt::format("at most {}", max_entries));
  }
  return Directory{
      .offset = record.directory_offset, .nbytes = record.directory_bytes, .entry_count = record.entry_count};
}

// The last signature decides, with no second try, as for torch: an archive that ends in something like another one must
// not be one thing to us and the other to somebody else.
std::optional<std::size_t> find_end_record(const Tail& tail) {
  const std::size_t size = tail.bytes.size();
  if (size < end_bytes) return std::nullopt;
  const std::size_t first = size - std::min<std::size_t>(size, search_bytes);
  for (std::size_t position = size - end_bytes + 1; position-- > first;) {
    if (field<std::uint32_t>(tail.bytes, position) == end_signature) return position;
  }
  return std::nullopt;
}

}  // namespace

Directory find_directory(const File& file) {
  const Tail tail = read_tail(file);
  if (const auto position = find_end_record(tail)) return directory_of(tail, end_record(tail, *position));
  throw Error(ErrorKind::corrupt, {.what = "zip archive has no end record",
                                   .file = tail.file,
                                   .offset = tail.file_bytes,
                                   .got = fmt::format("{} bytes", tail.file_bytes),
                                   .wanted = "PK\\5\\6 in the last 64 KiB",
                                   .hint = "the file was probably cut short while it was written or copied"});
}

}  // namespace tenon::zip
