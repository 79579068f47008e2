// Checksums of a store's small files, put right after a change.
#pragma once

#include <cstring>

#include "fuzzing.h"
#include "store/digest.h"

namespace tenon::fuzz {

// Makes the last eight bytes the checksum of those before.
inline void seal(std::span<std::byte> bytes) {
  if (bytes.size() < sizeof(std::uint64_t)) return;
  const auto body = bytes.first(bytes.size() - sizeof(std::uint64_t));
  const std::uint64_t checksum = checksum_bytes(body);
  std::memcpy(bytes.data() + body.size(), &checksum, sizeof checksum);
}

}  // namespace tenon::fuzz
