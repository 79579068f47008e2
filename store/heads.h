// Heads: one small file per ref, replaced by rename, from which a worker attaches without the catalog.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/format.h"

namespace tenon {

struct Head {
  std::string ref;
  bool is_tag = false;
  std::uint64_t sequence = 0;  // of the mutation that set the ref
  SnapshotId snapshot;
  format::SegmentReference segment;  // that holds the snapshot's record and binding
  friend bool operator==(const Head& a, const Head& b) {
    return a.ref == b.ref && a.is_tag == b.is_tag && a.sequence == b.sequence && a.snapshot == b.snapshot &&
           a.segment.uuid == b.segment.uuid;
  }
};

// Letters, digits, '.', '_', '-', and '/' between parts that do not begin with '.' or '-'; at most 200 bytes as a file
// name; not of the form of an id or a range. Throws invalid_argument saying which rule is broken.
void check_ref_name(std::string_view name);
bool is_ref_name(std::string_view name);
// '/' becomes "%2F", so that heads/ is flat.
std::string head_file_name(std::string_view ref);
// The ref whose head would have that file name.
std::string ref_of_head_file(std::string_view name);

std::vector<std::byte> encode_head(const Head& head, const Digest& store_id);
// Throws corrupt.
Head decode_head(std::span<const std::byte> bytes, const Digest& store_id, const std::string& file);
// nullopt if there is no such ref. Throws corrupt, also if the file is another ref's.
std::optional<Head> read_head(const std::filesystem::path& heads, std::string_view ref, const Digest& store_id);
void write_head(const std::filesystem::path& heads, const Head& head, const Digest& store_id, bool durable);
void remove_head(const std::filesystem::path& heads, std::string_view ref, bool durable);
// Every head, by file name. Throws corrupt at the first damaged one.
std::vector<Head> read_heads(const std::filesystem::path& heads, const Digest& store_id);

}  // namespace tenon
