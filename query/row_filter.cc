#include "query/row_filter.h"

#include <algorithm>
#include <numeric>

#include "query/engine.h"
#include "query/value.h"

namespace tenon {

namespace {

// What every match of a GLOB begins with.
std::string_view literal_prefix(std::string_view glob) { return glob.substr(0, glob.find_first_of("*?[")); }

}  // namespace

bool is_glob(std::string_view text) noexcept { return text.find_first_of("*?[") != std::string_view::npos; }

bool is_under(std::string_view name, std::string_view prefix) noexcept {
  if (prefix.empty()) return true;
  if (!name.starts_with(prefix)) return false;
  return name.size() == prefix.size() || name[prefix.size()] == '/' || name[prefix.size()] == '.';
}

void RowFilter::add_name(const Bound& bound) {
  const auto text = text_of(bound.value);
  if (!text) {
    is_impossible_ = true;  // NULL matches nothing; nor does a blob
    return;
  }
  if (bound.op == Op::glob) {
    globs_.push_back(*text);
  } else if (bound.op == Op::like) {
    likes_.push_back(*text);
  } else if (bound.op == Op::equal) {
    is_impossible_ = is_impossible_ || (name_ && *name_ != *text);
    name_ = *text;
  }
}

std::span<const std::uint32_t> RowFilter::rows_of(const TensorSet& set, RowOrder order) {
  auto layout = set.layout_identity();
  if (!layout_ || layout != layout_) {
    rows_ = select(set, order);
    layout_ = std::move(layout);
  }
  return rows_;
}

std::optional<std::string> RowFilter::exact_name(const TensorSet& set) const {
  if (name_) return name_;
  if (!path_.empty() && (!is_glob(path_) || set.find(path_))) return path_;
  return std::nullopt;
}

bool RowFilter::matches(std::string_view name) const {
  const std::string text(name);
  return is_under(name, prefix_) && (path_.empty() || name == path_ || Engine::matches_glob(path_, text)) &&
         std::all_of(globs_.begin(), globs_.end(),
                     [&](const std::string& p) { return Engine::matches_glob(p, text); }) &&
         std::all_of(likes_.begin(), likes_.end(), [&](const std::string& p) { return Engine::matches_like(p, text); });
}

std::vector<std::uint32_t> RowFilter::select(const TensorSet& set, RowOrder order) const {
  std::vector<std::uint32_t> rows;
  if (is_impossible_) return rows;
  if (const auto name = exact_name(set)) {
    const auto row = set.find(*name);
    if (row && matches(*name)) rows.push_back(*row);
    return rows;
  }
  // What all patterns begin with is one range by name.
  std::string_view prefix = prefix_;
  if (is_glob(path_) && literal_prefix(path_).size() > prefix.size()) prefix = literal_prefix(path_);
  for (const std::string& glob : globs_) {
    if (literal_prefix(glob).size() > prefix.size()) prefix = literal_prefix(glob);
  }
  const auto sorted = set.order();
  auto at = std::lower_bound(sorted.begin(), sorted.end(), prefix,
                             [&](std::uint32_t row, std::string_view wanted) { return set.name(row) < wanted; });
  for (; at != sorted.end() && set.name(*at).starts_with(prefix); ++at) {
    if (matches(set.name(*at))) rows.push_back(*at);
  }
  if (order == RowOrder::any) std::sort(rows.begin(), rows.end());
  if (order == RowOrder::descending) std::reverse(rows.begin(), rows.end());
  return rows;
}

}  // namespace tenon
