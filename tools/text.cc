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

bool begins_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0u) != 0x80u; }

// Bytes of the first `count` characters.
std::size_t prefix_bytes(std::string_view text, std::size_t count) {
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    if (begins_character(text[at]) && count-- == 0) break;
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
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), begins_character));
}

std::string elide_middle(std::string_view text, std::size_t width) {
  const std::size_t characters = display_width(text);
  if (characters <= width) return std::string(text);
  if (width < 2) return width == 1 ? "…" : "";
  const std::size_t tail = (width - 1) / 2;
  const std::size_t head = width - 1 - tail;
  return fmt::format("{}…{}", text.substr(0, prefix_bytes(text, head)),
                     text.substr(prefix_bytes(text, characters - tail)));
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
