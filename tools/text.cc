#include "tools/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "tenon/name.h"

namespace tenon::tools {
namespace {

constexpr std::int64_t second_ns = 1'000'000'000;

// Seconds and nanoseconds, rounded down also before 1970.
std::pair<std::time_t, std::int64_t> split_time(std::int64_t since_1970_ns) {
  std::int64_t seconds = since_1970_ns / second_ns;
  std::int64_t rest = since_1970_ns % second_ns;
  if (rest < 0) {
    rest += second_ns;
    --seconds;
  }
  return {static_cast<std::time_t>(seconds), rest};
}

std::string format_tm(const std::tm& tm, char separator) {
  return fmt::format("{:04}-{:02}-{:02}{}{:02}:{:02}:{:02}", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, separator,
                     tm.tm_hour, tm.tm_min, tm.tm_sec);
}

struct Range {
  char32_t first;
  char32_t last;
};

bool is_in(std::span<const Range> ranges, char32_t character) {
  return std::ranges::any_of(ranges, [&](const Range& r) { return character >= r.first && character <= r.last; });
}

// Columns of a terminal: two for what East Asian scripts and emoji take, none for marks that stand on another
// character.
std::size_t columns_of(char32_t character) {
  static constexpr std::array marks{Range{0x300, 0x36f},   Range{0x483, 0x489},   Range{0x591, 0x5bd},
                                    Range{0x610, 0x61a},   Range{0x64b, 0x65f},   Range{0x1ab0, 0x1aff},
                                    Range{0x1dc0, 0x1dff}, Range{0x20d0, 0x20ff}, Range{0xfe00, 0xfe0f},
                                    Range{0xfe20, 0xfe2f}};
  static constexpr std::array wide{Range{0x1100, 0x115f},   Range{0x2e80, 0x303e},   Range{0x3041, 0x4dbf},
                                   Range{0x4e00, 0xa4cf},   Range{0xa960, 0xa97f},   Range{0xac00, 0xd7a3},
                                   Range{0xf900, 0xfaff},   Range{0xfe30, 0xfe6f},   Range{0xff00, 0xff60},
                                   Range{0xffe0, 0xffe6},   Range{0x1f300, 0x1f64f}, Range{0x1f680, 0x1f6ff},
                                   Range{0x1f900, 0x1f9ff}, Range{0x20000, 0x3fffd}};
  if (character < 0x300) return 1;
  return is_in(marks, character) ? 0 : is_in(wide, character) ? 2 : 1;
}

struct Character {
  std::size_t bytes;
  std::size_t columns;
};

// The one that `text`, which is not empty and UTF-8, begins with.
Character first_character(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const std::size_t bytes = std::min<std::size_t>(text.size(), lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4);
  char32_t character = bytes == 1 ? lead : lead & (0x7fu >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) character = character << 6 | (static_cast<unsigned char>(text[i]) & 0x3fu);
  return {bytes, columns_of(character)};
}

// Bytes of the most characters that take at most `columns`.
std::size_t prefix_bytes(std::string_view text, std::size_t columns) {
  std::size_t at = 0;
  while (at < text.size()) {
    const Character next = first_character(text.substr(at));
    if (next.columns > columns) break;
    columns -= next.columns;
    at += next.bytes;
  }
  return at;
}

// Where the last characters begin that take at most `columns`.
std::size_t suffix_begin(std::string_view text, std::size_t columns) {
  std::size_t left = display_width(text);
  std::size_t at = 0;
  while (left > columns) {
    const Character next = first_character(text.substr(at));
    left -= next.columns;
    at += next.bytes;
  }
  return at;
}

// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), previous(b.size() + 1), current(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) previous[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      current[j] = std::min({replaced, previous[j] + 1, current[j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        current[j] = std::min(current[j], before[j - 2] + 1);
      }
    }
    std::swap(before, previous);
    std::swap(previous, current);
  }
  return previous[b.size()];
}

}  // namespace

std::string format_bytes(std::uint64_t bytes) {
  constexpr std::array units = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  if (bytes == UINT64_MAX) return "over 16 EiB";  // as sizes are that cannot be counted
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 1023.95 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, units[unit]);
}

std::string format_count(std::uint64_t count) {
  std::string digits = fmt::format("{}", count);
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, 1, ',');
  return digits;
}

std::string format_plural(std::uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", format_count(count), noun, count == 1 ? "" : "s");
}

std::string format_shape(std::span<const std::int64_t> extents) {
  return fmt::format("[{}]", fmt::join(extents, ", "));
}

std::string format_number(double value) { return fmt::format("{:.6g}", value); }

std::string format_local_time(std::int64_t since_1970_ns) {
  const auto [seconds, rest] = split_time(since_1970_ns);
  std::tm tm{};
  localtime_r(&seconds, &tm);
  return format_tm(tm, ' ');
}

std::string format_utc_time(std::int64_t since_1970_ns) {
  const auto [seconds, rest] = split_time(since_1970_ns);
  std::tm tm{};
  gmtime_r(&seconds, &tm);
  return fmt::format("{}.{:06}Z", format_tm(tm, 'T'), rest / 1000);
}

std::string short_id(const SnapshotId& id) { return to_hex(id).substr(0, 12); }

std::string_view dtype_name(DType dtype) { return is_valid(dtype) ? dtype_info(dtype).name : "invalid"; }

std::string_view kind_name(TensorKind kind) {
  switch (kind) {
    case TensorKind::plain:
      return "plain";
    case TensorKind::parameter:
      return "parameter";
    case TensorKind::buffer:
      return "buffer";
  }
  return "unknown";
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  while (!text.empty()) {
    const Character next = first_character(text);
    width += next.columns;
    text.remove_prefix(next.bytes);
  }
  return width;
}

std::string elide_middle(std::string_view text, std::size_t width) {
  const std::size_t characters = display_width(text);
  if (characters <= width) return std::string(text);
  if (width < 2) return width == 1 ? "…" : "";
  const std::size_t tail = (width - 1) / 2;
  const std::size_t head = width - 1 - tail;
  return fmt::format("{}…{}", text.substr(0, prefix_bytes(text, head)), text.substr(suffix_begin(text, tail)));
}

std::string elide_begin(std::string_view text, std::size_t width) {
  if (width == 0 || display_width(text) <= width) return width == 0 ? "" : std::string(text);
  return fmt::format("…{}", text.substr(suffix_begin(text, width - 1)));
}

std::string elide_end(std::string_view text, std::size_t width) {
  if (width == 0 || display_width(text) <= width) return width == 0 ? "" : std::string(text);
  return fmt::format("{}…", text.substr(0, prefix_bytes(text, width - 1)));
}

std::string pad_right(std::string_view text, std::size_t width) {
  const std::size_t characters = display_width(text);
  return std::string(text) + std::string(width > characters ? width - characters : 0, ' ');
}

std::string pad_left(std::string_view text, std::size_t width) {
  const std::size_t characters = display_width(text);
  return std::string(width > characters ? width - characters : 0, ' ') + std::string(text);
}

std::vector<std::string> close_matches(std::string_view word, std::span<const std::string> candidates) {
  constexpr std::size_t word_bytes_max = 256;  // the table grows with the product of both lengths
  constexpr std::size_t matches_max = 3;
  std::vector<std::pair<std::size_t, std::string>> ranked;
  if (word.empty() || word.size() > word_bytes_max) return {};
  for (const std::string& candidate : candidates) {
    if (candidate.empty() || candidate.size() > word_bytes_max) continue;
    const bool extends = candidate.starts_with(word) || candidate.ends_with(word);
    const std::size_t distance = extends ? 1 : edit_distance(word, candidate);
    const std::size_t tolerated = std::max<std::size_t>(1, std::min(word.size(), candidate.size()) / 3);
    if (distance <= tolerated) ranked.emplace_back(distance, candidate);
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<std::string> matches;
  for (const auto& [distance, candidate] : ranked) {
    if (matches.size() < matches_max) matches.push_back(candidate);
  }
  return matches;
}

std::string suggestion(std::span<const std::string> matches) {
  std::string text;
  for (std::size_t i = 0; i < matches.size(); ++i) {
    if (i > 0) text += i + 1 == matches.size() ? " or " : ", ";
    text += fmt::format("'{}'", printable(matches[i]));
  }
  return text.empty() ? text : fmt::format("did you mean {}?", text);
}

}  // namespace tenon::tools
