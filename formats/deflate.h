// The two algorithms of zip: raw DEFLATE and CRC-32. libdeflate is included by deflate.cc alone.
//
// Threads: any. Errors: none but std::bad_alloc; what wrong input means is the caller's to say.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace tenon {

// No DEFLATE stream yields more bytes than this per byte: 258 bytes for each two bits.
inline constexpr std::uint64_t max_inflate_ratio = 1032;

// True if `deflated` is exactly one stream that yields exactly `out.size()` bytes. On false `out` holds rubbish.
bool inflate(std::span<const std::byte> deflated, std::span<std::byte> out);

// CRC-32 as zip means it, continued from `crc` (0 to begin).
std::uint32_t zip_crc32(std::uint32_t crc, std::span<const std::byte> bytes) noexcept;

}  // namespace tenon
