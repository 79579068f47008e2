// How quantities, names and shapes are written for people.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/digest.h"
#include "tenon/dtype.h"
#include "tenon/snapshot.h"

namespace tenon::tools {

std::string format_bytes(std::uint64_t bytes);  // "160 B", "1.2 MiB"; the largest: "over 16 EiB"
std::string format_count(std::uint64_t count);  // "10,000"
std::string format_plural(std::uint64_t count, std::string_view noun);  // "1 tensor", "2 tensors"
std::string format_shape(std::span<const std::int64_t> extents);        // "[10, 4]"
std::string format_number(double value);                                // six digits
std::string format_local_time(std::int64_t since_1970_ns);              // "2026-11-20 15:30:12"
std::string format_utc_time(std::int64_t since_1970_ns);                // "2026-11-20T14:30:12.345678Z"
std::string short_id(const SnapshotId& id);                             // first 12 hex digits
std::string_view dtype_name(DType dtype);
std::string_view kind_name(TensorKind kind);

// Columns of a terminal, not bytes: two for a wide character. REQUIRES: `text` is UTF-8.
std::size_t display_width(std::string_view text);
// At most `width` columns, the middle replaced by an ellipsis: both ends of a tensor's name matter.
std::string elide_middle(std::string_view text, std::size_t width);
std::string elide_begin(std::string_view text, std::size_t width);
std::string elide_end(std::string_view text, std::size_t width);
std::string pad_right(std::string_view text, std::size_t width);
std::string pad_left(std::string_view text, std::size_t width);

// Those of `candidates` that somebody who typed `word` may have meant, nearest first, three at most.
std::vector<std::string> close_matches(std::string_view word, std::span<const std::string> candidates);
// "did you mean 'a' or 'b'?"; empty if there are none.
std::string suggestion(std::span<const std::string> matches);

}  // namespace tenon::tools
