// Text from files and users, made safe to print.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tenon {

// Control characters (C0, DEL and C1), characters that turn the direction of text or cannot be seen, and bytes that are
// no UTF-8 become \xNN, byte by byte; everything else stays.
std::string escape_controls(std::string_view text);

// Length of the well-formed UTF-8 sequence that `text` begins with (no overlong form, surrogate or value past
// U+10FFFF), 0 if there is none. REQUIRES: text is not empty.
std::size_t utf8_sequence_bytes(std::string_view text) noexcept;
// What such a sequence stands for.
char32_t decode_utf8(std::string_view sequence) noexcept;

}  // namespace tenon
