// The fixed parts of a zip archive (APPNOTE 6.3), shared by reader and writer. All fields are little-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tenon::zip {

inline constexpr std::uint32_t local_signature = 0x04034b50;       // PK\3\4
inline constexpr std::uint32_t descriptor_signature = 0x08074b50;  // PK\7\8
inline constexpr std::uint32_t central_signature = 0x02014b50;     // PK\1\2
inline constexpr std::uint32_t end_signature = 0x06054b50;         // PK\5\6
inline constexpr std::uint32_t end64_signature = 0x06064b50;       // PK\6\6
inline constexpr std::uint32_t locator_signature = 0x07064b50;     // PK\6\7

// Sizes without the variable parts that follow.
inline constexpr std::size_t local_bytes = 30;
inline constexpr std::size_t central_bytes = 46;
inline constexpr std::size_t end_bytes = 22;
inline constexpr std::size_t end64_bytes = 56;
inline constexpr std::size_t locator_bytes = 20;
inline constexpr std::size_t extra_header_bytes = 4;  // id and length of one extra field

// A field of all ones says "see the zip64 extra field" or "see the zip64 end record".
inline constexpr std::uint16_t see_zip64_16 = 0xFFFF;
inline constexpr std::uint32_t see_zip64_32 = 0xFFFFFFFF;
inline constexpr std::uint16_t zip64_extra_id = 0x0001;

inline constexpr std::uint16_t flag_encrypted = 0x0001;
inline constexpr std::uint16_t flag_deflate_options = 0x0006;
inline constexpr std::uint16_t flag_descriptor = 0x0008;  // sizes and CRC follow the payload
inline constexpr std::uint16_t flag_utf8 = 0x0800;

inline constexpr std::uint16_t method_stored = 0;
inline constexpr std::uint16_t method_deflated = 8;

// What is wrong with `name` as the name of an entry; nullptr if nothing is. Nothing is ever extracted here, but whoever
// lists an archive must not be led to believe otherwise than who unpacks it.
const char* name_flaw(std::string_view name) noexcept;

}  // namespace tenon::zip
