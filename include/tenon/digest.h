// A 128-bit content digest (XXH3-128; two-level over leaves for storages larger than one leaf). It tells
// accidental damage, not forgery: whoever dedupes on it compares bytes. See docs/format.md, "Digests".
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "tenon/export.h"

namespace tenon {

struct Digest {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  friend constexpr auto operator<=>(const Digest&, const Digest&) = default;
};
static_assert(sizeof(Digest) == 16);

using SnapshotId = Digest;

// 32 lower-case hex digits.
TENON_API std::string to_hex(const Digest& digest);
// False if `text` is not exactly 32 hex digits.
TENON_API bool from_hex(std::string_view text, Digest& digest) noexcept;

}  // namespace tenon
