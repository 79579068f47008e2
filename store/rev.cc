#include "store/rev.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>

#include "store/meta.h"
#include "store/suggest.h"
#include "tenon/error.h"
#include "tenon/name.h"
#include "tenon/rev_path.h"

namespace tenon {

namespace {

// Where the '@' value of a rev ends its own colon, e.g. after "step:"; `at` is just past the '@'.
std::size_t skip_selector(std::string_view argument, std::size_t at) {
  constexpr std::array<std::string_view, 3> selectors = {"step:", "min:", "max:"};
  for (std::string_view selector : selectors) {
    if (argument.substr(at).starts_with(selector)) return at + selector.size();
  }
  return at;
}

constexpr std::size_t id_digits_min = 4;
constexpr std::size_t id_digits_max = 32;
constexpr std::size_t ambiguous_shown = 4;
constexpr std::size_t near_ids_max = 1000;
constexpr std::int64_t ns_per_second = 1'000'000'000;

[[noreturn]] void throw_no_rev(const char* why, std::string_view text, const char* wanted) {
  throw Error(ErrorKind::invalid_argument,
              {.what = std::string("not a rev: ") + why, .got = std::string(text), .wanted = wanted});
}

template <typename T>
std::optional<T> parse_number(std::string_view text) {
  T number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return number;
}

// `text` with every digit as '9' is the pattern.
bool has_form(std::string_view text, std::string_view pattern) {
  return std::equal(text.begin(), text.end(), pattern.begin(), pattern.end(),
                    [](char c, char p) { return p == '9' ? c >= '0' && c <= '9' : c == p; });
}

// The end, in local time, of the day, minute or second that `text` names; nullopt if it is none.
std::optional<std::int64_t> parse_end_of_time(std::string_view text) {
  const bool has_seconds = has_form(text, "9999-99-99T999999");
  const bool has_minutes = has_seconds || has_form(text, "9999-99-99T9999");
  if (!has_minutes && !has_form(text, "9999-99-99")) return std::nullopt;
  const auto field = [&](std::size_t at, std::size_t size) { return *parse_number<int>(text.substr(at, size)); };
  std::tm time{};
  time.tm_year = field(0, 4) - 1900;
  time.tm_mon = field(5, 2) - 1;
  time.tm_mday = field(8, 2) + (has_minutes ? 0 : 1);
  if (has_minutes) {
    time.tm_hour = field(11, 2);
    time.tm_min = field(13, 2) + (has_seconds ? 0 : 1);
  }
  if (has_seconds) time.tm_sec = field(15, 2) + 1;
  const bool is_sane = time.tm_mon >= 0 && time.tm_mon < 12 && field(8, 2) >= 1 && field(8, 2) <= 31 &&
                       time.tm_hour < 24 && time.tm_min <= 60 && time.tm_sec <= 61;
  if (!is_sane) return std::nullopt;
  time.tm_isdst = -1;
  constexpr std::int64_t last_second = INT64_MAX / ns_per_second;
  const auto seconds = static_cast<std::int64_t>(std::mktime(&time));
  return std::clamp(seconds, -last_second, last_second) * ns_per_second;
}

RevSelector parse_selector(std::string_view value, std::string_view text) {
  using Kind = RevSelector::Kind;
  if (value.starts_with("step:")) {
    const auto step = parse_number<std::int64_t>(value.substr(5));
    if (!step) throw_no_rev("'step:' wants a number", text, "NAME@step:N");
    return {.kind = Kind::step, .number = *step};
  }
  if (value.starts_with("min:") || value.starts_with("max:")) {
    if (value.size() == 4) throw_no_rev("no metric is named", text, "NAME@min:KEY or NAME@max:KEY");
    return {.kind = value[1] == 'i' ? Kind::least : Kind::greatest, .key = std::string(value.substr(4))};
  }
  const auto end = parse_end_of_time(value);
  if (!end)
    throw_no_rev("unknown '@' value", text,
                 "NAME@2026-11-20, NAME@2026-11-20T1530, NAME@step:N, NAME@min:KEY or NAME@max:KEY");
  return {.kind = Kind::made_before, .number = *end};
}

// Refs and, for what may be a mistyped id, the ids that begin alike.
[[noreturn]] void throw_unknown(const CatalogReader& catalog, std::string_view name) {
  std::vector<std::string> names;
  for (const RefRow& ref : catalog.root().refs) names.push_back(ref.name);
  if (is_id_prefix(name)) {
    const auto near = catalog.snapshots_with_prefix(lower_case(name.substr(0, 2)), near_ids_max);
    for (const SnapshotId& id : near) names.push_back(to_hex(id).substr(0, name.size()));
  }
  throw Error(ErrorKind::not_found, {.what = "no ref, tag or snapshot '" + printable(name) + "'",
                                     .hint = suggest(name, std::vector<std::string_view>(names.begin(), names.end()))});
}

std::optional<SnapshotInfo> find_best(const Walk& walk, const RevSelector& selector, std::vector<std::string>& keys) {
  std::optional<SnapshotInfo> best;
  double best_value = 0;
  const bool wants_least = selector.kind == RevSelector::Kind::least;
  walk([&](const SnapshotInfo& info) {
    if (const auto value = meta_number(info.meta, selector.key)) {
      if (!best || (wants_least ? *value < best_value : *value > best_value)) {
        best = info;
        best_value = *value;
      }
    } else if (!best && keys.empty()) {
      keys = meta_number_keys(info.meta);
    }
    return true;
  });
  return best;
}

[[noreturn]] void throw_no_metric(const Rev& rev, const std::vector<std::string>& keys) {
  std::string hint = suggest(rev.selector->key, std::vector<std::string_view>(keys.begin(), keys.end()));
  for (std::size_t i = 0; hint.empty() && i < std::min(keys.size(), ambiguous_shown); ++i)
    hint += (i == 0 ? "there is " : ", ") + printable(keys[i]);
  throw Error(ErrorKind::not_found, {.what = "no snapshot of '" + printable(rev.name) + "' has a number '" +
                                             printable(rev.selector->key) + "' in its metadata",
                                     .hint = hint});
}

std::optional<SnapshotInfo> find_step(const Walk& walk, std::int64_t step, std::string& nearest) {
  std::optional<SnapshotInfo> found;
  std::optional<std::int64_t> below, above;
  walk([&](const SnapshotInfo& info) {
    if (!info.step) return true;
    if (*info.step == step) found = info;
    if (*info.step < step) below = std::max(below.value_or(*info.step), *info.step);
    if (*info.step > step) above = std::min(above.value_or(*info.step), *info.step);
    return !found;
  });
  if (below) nearest = "step:" + std::to_string(*below);
  if (above) nearest += (nearest.empty() ? "step:" : " and step:") + std::to_string(*above);
  return found;
}

SnapshotInfo apply_selector(const Walk& walk, const Rev& rev) {
  const RevSelector& selector = *rev.selector;
  std::optional<SnapshotInfo> found;
  if (selector.kind == RevSelector::Kind::made_before) {
    std::optional<SnapshotInfo> oldest;
    walk([&](const SnapshotInfo& info) {
      oldest = info;
      if (info.created_at_ns < selector.number) found = info;
      return !found;
    });
    if (!found) {
      throw Error(ErrorKind::not_found, {.what = "'" + printable(rev.name) + "' has no snapshot as old as that",
                                         .got = oldest ? to_hex(oldest->id) + " is the first" : ""});
    }
  } else if (selector.kind == RevSelector::Kind::step) {
    std::string nearest;
    found = find_step(walk, selector.number, nearest);
    if (!found) {
      throw Error(ErrorKind::not_found,
                  {.what = "no snapshot of '" + printable(rev.name) + "' has step " + std::to_string(selector.number),
                   .hint = nearest.empty() ? "none has a step" : "the nearest: " + nearest});
    }
  } else {
    std::vector<std::string> keys;
    found = find_best(walk, selector, keys);
    if (!found) throw_no_metric(rev, keys);
  }
  return *found;
}

}  // namespace

Rev parse_rev(std::string_view text) {
  const std::size_t at = text.find('@');
  const std::size_t tilde = at == std::string_view::npos ? text.find('~') : text.rfind('~');
  const bool has_generations = tilde != std::string_view::npos && (at == std::string_view::npos || tilde > at);
  const std::string_view body = has_generations ? text.substr(0, tilde) : text;
  Rev rev{.name = std::string(body.substr(0, at))};
  if (has_generations) {
    const auto count = parse_number<std::uint64_t>(text.substr(tilde + 1));
    if (!count) throw_no_rev("'~' wants a number", text, "NAME~N");
    rev.generations = *count;
  }
  if (rev.name.empty()) throw_no_rev("it names nothing", text, "a ref, a tag or an id");
  if (at != std::string_view::npos) rev.selector = parse_selector(body.substr(at + 1), text);
  return rev;
}

bool is_id_prefix(std::string_view text) noexcept {
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); };
  return text.size() >= id_digits_min && text.size() <= id_digits_max && std::all_of(text.begin(), text.end(), is_hex);
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

SnapshotId find_named(const CatalogReader& catalog, std::string_view name) {
  for (const RefRow& ref : catalog.root().refs) {
    if (ref.name == name) return ref.id;
  }
  if (!is_id_prefix(name)) throw_unknown(catalog, name);
  auto ids = catalog.snapshots_with_prefix(lower_case(name), near_ids_max);
  if (ids.size() > 1) std::erase_if(ids, [&](const SnapshotId& id) { return catalog.forgotten(id).has_value(); });
  if (ids.empty()) throw_unknown(catalog, name);
  if (ids.size() == 1) return ids[0];
  std::string shown;
  for (std::size_t i = 0; i < std::min(ids.size(), ambiguous_shown); ++i) shown += (i ? ", " : "") + to_hex(ids[i]);
  throw Error(ErrorKind::invalid_argument, {.what = "id prefix '" + std::string(name) + "' is ambiguous",
                                            .got = shown + (ids.size() > ambiguous_shown ? ", ..." : ""),
                                            .wanted = "more digits"});
}

SnapshotInfo select_from(const Walk& walk, const Rev& rev) {
  std::optional<SnapshotId> begin;
  if (rev.selector) begin = apply_selector(walk, rev).id;
  std::uint64_t left = rev.generations;
  std::optional<SnapshotInfo> found, last;
  walk([&](const SnapshotInfo& info) {
    if (begin && info.id != *begin) return true;
    begin.reset();
    last = info;
    if (left == 0) found = info;
    return left-- != 0;
  });
  if (found) return *found;
  throw Error(ErrorKind::not_found, {.what = "'" + printable(rev.name) + "' has no ancestor that far back",
                                     .got = (last ? to_hex(last->id) : std::string("it")) + " is the first",
                                     .wanted = std::to_string(left + 1) + " more"});
}

RevPath split_rev(std::string_view argument) {
  std::size_t colon = argument.find(':');
  const std::size_t at = argument.find('@');
  if (at < colon) colon = argument.find(':', skip_selector(argument, at + 1));
  RevPath split{.rev = std::string(argument.substr(0, colon))};
  split.has_path = colon != std::string_view::npos;
  if (split.has_path) split.path = argument.substr(colon + 1);
  if (split.rev.empty()) split.rev = "main";
  return split;
}

}  // namespace tenon
