#include "tenon/slice.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>

#include "tenon/error.h"

namespace tenon {
namespace {

constexpr std::string_view ellipsis = "...";

std::string shape_text(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (const std::int64_t extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

[[noreturn]] void refuse(std::string what, std::string_view got, std::span<const std::int64_t> shape) {
  throw Error(ErrorKind::invalid_argument, {.what = std::move(what),
                                            .got = std::string(got),
                                            .wanted = "a slice of a tensor of shape " + shape_text(shape),
                                            .hint = "indices and ranges separated by commas, e.g. 0:4,:,-1"});
}

std::string_view trim(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.push_back(trim(text.substr(0, end)));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

// nullopt for nothing at all.
std::optional<std::int64_t> parse_integer(std::string_view text, std::span<const std::int64_t> shape) {
  if (text.empty()) return std::nullopt;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) refuse("not an index or range", text, shape);
  return value;
}

// Negative positions count from the end; what lies beyond an end is that end.
std::int64_t clamp_position(std::int64_t position, std::int64_t extent) {
  return position < 0 ? std::max<std::int64_t>(0, position + extent) : std::min(position, extent);
}

SliceRange parse_index(std::string_view text, std::int64_t extent, std::span<const std::int64_t> shape) {
  const auto index = parse_integer(text, shape);
  if (!index) refuse("an index is missing", text, shape);
  if (*index >= extent || *index < -extent) refuse("index is out of range", text, shape);
  return {.start = *index < 0 ? *index + extent : *index, .count = 1, .is_index = true};
}

SliceRange parse_range(const std::vector<std::string_view>& parts, std::string_view text, std::int64_t extent,
                       std::span<const std::int64_t> shape) {
  if (parts.size() > 3) refuse("not an index or range", text, shape);
  const std::int64_t begin = clamp_position(parse_integer(parts[0], shape).value_or(0), extent);
  const std::int64_t end = clamp_position(parse_integer(parts[1], shape).value_or(extent), extent);
  const std::int64_t step = parts.size() == 3 ? parse_integer(parts[2], shape).value_or(1) : 1;
  if (step < 1) refuse("the step of a range must be positive", text, shape);
  const std::int64_t span = std::max<std::int64_t>(0, end - begin);
  return {.start = begin, .count = span / step + (span % step != 0 ? 1 : 0), .step = step};
}

// Replaces an ellipsis, or the lack of one at the end, by as many whole dimensions as are missing.
void fill_up(std::vector<std::string_view>& items, std::string_view text, std::span<const std::int64_t> shape) {
  const auto place = std::find(items.begin(), items.end(), ellipsis);
  const std::size_t given = items.size() - (place == items.end() ? 0 : 1);
  if (given > shape.size() || std::count(items.begin(), items.end(), ellipsis) > 1) {
    refuse("a slice of more dimensions than the tensor has", text, shape);
  }
  const auto at = place == items.end() ? place : items.erase(place);
  items.insert(at, shape.size() - given, ":");
}

}  // namespace

std::vector<SliceRange> parse_slice(std::string_view text, std::span<const std::int64_t> shape) {
  text = trim(text);
  if (text.starts_with('[') && text.ends_with(']') && text.size() >= 2) text = text.substr(1, text.size() - 2);
  std::vector<std::string_view> items;
  if (!trim(text).empty()) items = split(text, ',');
  fill_up(items, text, shape);
  std::vector<SliceRange> ranges;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    const auto parts = split(items[d], ':');
    ranges.push_back(parts.size() == 1 ? parse_index(items[d], shape[d], shape)
                                       : parse_range(parts, items[d], shape[d], shape));
  }
  return ranges;
}

}  // namespace tenon
