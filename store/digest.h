// Content digests over storages: XXH3-128, Merkle over leaves of one granule. xxHash is included by digest.cc alone.
//
//   storage of at most one leaf: digest = XXH3-128(bytes)
//   larger:                      digest = XXH3-128(leaf digests, 16 bytes each (high, low; little-endian), then u64
//   length)
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "tenon/digest.h"

namespace tenon {

inline constexpr std::uint64_t leaf_bytes = 64 * 1024;

Digest digest_bytes(std::span<const std::byte> bytes) noexcept;                                   // plain XXH3-128
std::uint64_t checksum_bytes(std::span<const std::byte> bytes, std::uint64_t seed = 0) noexcept;  // XXH3-64

inline std::uint64_t leaf_count(std::uint64_t nbytes) noexcept {
  return nbytes == 0 ? 1 : (nbytes - 1) / leaf_bytes + 1;
}
// The storage's digest from those of its leaves. REQUIRES: leaves.size() == leaf_count(nbytes).
Digest combine_leaves(std::span<const Digest> leaves, std::uint64_t nbytes) noexcept;
// All in one call, for bytes in memory.
Digest digest_storage(std::span<const std::byte> bytes);

// Which leaves a sketch looks at: the first, the last and up to six evenly between; all if there are at most eight.
std::vector<std::uint64_t> sketch_leaves(std::uint64_t nbytes);
// Tells most different storages apart from a few leaves. `leaves` are the digests of sketch_leaves(nbytes), in that
// order.
std::uint64_t sketch_digest(std::span<const Digest> leaves, std::uint64_t nbytes) noexcept;

}  // namespace tenon
