// Zip archives in the layout that torch's own writer makes: every entry stored, its payload on a multiple of 64 bytes
// by an 'FB' extra field, zip64 where needed, data descriptors, and always a zip64 end record. An archive written here
// from the records of one of torch's differs from it in the digits of `.data/serialization_id` alone.
//
// Example: ZipWriter zip(file, "model");
//          zip.add("data.pkl", pickle);
//          zip.add("data/0", nbytes, [&](const ZipWriter::Sink& sink) { for (auto part : parts) sink(part); });
//          zip.finish();
//
// Owner: borrows the file, which must be empty. Threads: one call at a time. Errors: as File; invalid_argument for a
// name that ZipReader would refuse, a name used twice, and pieces that do not sum up; limit for a name beyond 65,535
// bytes. A writer that is not finished leaves a file that is no archive.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "mmap/file.h"
#include "store/codec.h"

namespace tenon {

class ZipWriter {
 public:
  // Entries are named `<top>/<name>`; with an empty top just `<name>`, and the archive gets no serialization id.
  ZipWriter(File& file, std::string top);
  void add(std::string_view name, std::span<const std::byte> bytes);
  // For large entries: pieces are written as they come and must sum up to `nbytes`.
  using Sink = std::function<void(std::span<const std::byte>)>;
  void add(std::string_view name, std::uint64_t nbytes, const std::function<void(const Sink&)>& produce);
  // For large entries whose bytes can be had in any order: `fill` is called for ranges that begin at multiples of 64
  // KiB and end at one or with the entry, by several threads at once where the entry is large.
  using Fill = std::function<void(std::uint64_t offset, std::span<std::byte> out)>;
  void add_filled(std::string_view name, std::uint64_t nbytes, const Fill& fill);
  // Writes `.data/serialization_id` (from the names and CRCs, as torch does) and the directory. Does not sync. Last
  // call.
  void finish();
  std::uint64_t bytes_written() const noexcept { return written_ + buffer_.size(); }

 private:
  struct Entry {
    std::string name;
    std::uint64_t header_offset = 0;
    std::uint64_t nbytes = 0;
    std::uint32_t crc32 = 0;
  };
  static ByteWriter local_header(const Entry& entry);
  static ByteWriter descriptor(const Entry& entry);
  static ByteWriter central_header(const Entry& entry);
  static ByteWriter end_records(std::uint64_t entry_count, std::uint64_t directory_offset,
                                std::uint64_t directory_bytes);
  Entry& begin_entry(std::string_view name, std::uint64_t nbytes);
  std::uint32_t write_filled(std::uint64_t nbytes, const Fill& fill);
  std::string serialization_id() const;
  void write(std::span<const std::byte> bytes);
  void flush();

  File& file_;
  std::string top_;
  std::deque<Entry> entries_;  // a deque, so that names_ can point into it
  std::unordered_set<std::string_view> names_;
  std::vector<std::byte> buffer_;  // what comes after the first written_ bytes
  std::uint64_t written_ = 0;
  bool finished_ = false;
};

}  // namespace tenon
