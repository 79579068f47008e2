// The snapshot record: what a snapshot's id is the digest of.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "tenon/digest.h"
#include "tenon/snapshot.h"

namespace tenon {

struct Record {
  SnapshotInfo info;  // id is filled in by decode_record
  Digest layout;      // digests of the sections
  Digest keys;
  Digest structure;
  Digest attachments;
};

std::vector<std::byte> encode_record(const Record& record);
// Throws corrupt naming `file` and offset.
Record decode_record(std::span<const std::byte> bytes, const std::string& file, std::uint64_t base_offset);
SnapshotId record_id(std::span<const std::byte> record) noexcept;

}  // namespace tenon
