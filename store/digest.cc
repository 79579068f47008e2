#include "store/digest.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstddef>

// The state is kept on the stack, so that hashing cannot fail for want of memory.
#define XXH_STATIC_LINKING_ONLY
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>  // picks AVX2 or AVX-512 at run time; 3 times the baseline's speed
#else
#include <xxhash.h>
#endif

namespace tenon {
namespace {

// A leaf's digest is hashed as it lies in memory: high, low, little-endian.
static_assert(std::endian::native == std::endian::little);
static_assert(offsetof(Digest, high) == 0 && offsetof(Digest, low) == 8);

constexpr std::uint64_t sketch_leaves_max = 8;

Digest from_library(const XXH128_hash_t& hash) noexcept { return {.high = hash.high64, .low = hash.low64}; }

// -1 if `digit` is not a hex digit.
int hex_value(char digit) noexcept {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

// REQUIRES: text.size() == 16.
bool parse_word(std::string_view text, std::uint64_t& word) noexcept {
  std::uint64_t value = 0;
  for (const char digit : text) {
    const int nibble = hex_value(digit);
    if (nibble < 0) return false;
    value = value << 4 | static_cast<std::uint64_t>(nibble);
  }
  word = value;
  return true;
}

}  // namespace

Digest digest_bytes(std::span<const std::byte> bytes) noexcept {
  return from_library(XXH3_128bits(bytes.data(), bytes.size()));
}

std::uint64_t checksum_bytes(std::span<const std::byte> bytes, std::uint64_t seed) noexcept {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

Digest combine_leaves(std::span<const Digest> leaves, std::uint64_t nbytes) noexcept {
  assert(leaves.size() == leaf_count(nbytes));
  if (leaves.size() == 1) return leaves.front();
  XXH3_state_t state;
  XXH3_INITSTATE(&state);
  XXH3_128bits_reset(&state);
  XXH3_128bits_update(&state, leaves.data(), leaves.size_bytes());
  XXH3_128bits_update(&state, &nbytes, sizeof nbytes);
  return from_library(XXH3_128bits_digest(&state));
}

Digest digest_storage(std::span<const std::byte> bytes) {
  if (bytes.size() <= leaf_bytes) return digest_bytes(bytes);
  std::vector<Digest> leaves;
  leaves.reserve(leaf_count(bytes.size()));
  for (auto rest = bytes; !rest.empty();) {
    const std::size_t size = std::min<std::size_t>(rest.size(), leaf_bytes);
    leaves.push_back(digest_bytes(rest.first(size)));
    rest = rest.subspan(size);
  }
  return combine_leaves(leaves, bytes.size());
}

std::vector<std::uint64_t> sketch_leaves(std::uint64_t nbytes) {
  const std::uint64_t leaves = leaf_count(nbytes);
  const std::uint64_t picked = std::min(leaves, sketch_leaves_max);
  std::vector<std::uint64_t> indices(picked);
  for (std::uint64_t i = 0; i < picked; ++i) {
    indices[i] = leaves == picked ? i : i * (leaves - 1) / (sketch_leaves_max - 1);
  }
  return indices;
}

std::uint64_t sketch_digest(std::span<const Digest> leaves, std::uint64_t nbytes) noexcept {
  assert(leaves.size() == std::min(leaf_count(nbytes), sketch_leaves_max));
  return checksum_bytes(std::as_bytes(leaves), nbytes);
}

std::string to_hex(const Digest& digest) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text(32, '0');
  for (unsigned i = 0; i < 16; ++i) {
    const unsigned shift = 60 - 4 * i;
    text[i] = digits[digest.high >> shift & 15];
    text[16 + i] = digits[digest.low >> shift & 15];
  }
  return text;
}

bool from_hex(std::string_view text, Digest& digest) noexcept {
  Digest parsed;
  if (text.size() != 32 || !parse_word(text.substr(0, 16), parsed.high) || !parse_word(text.substr(16), parsed.low)) {
    return false;
  }
  digest = parsed;
  return true;
}

}  // namespace tenon
