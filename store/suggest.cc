#include "store/suggest.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "tenon/name.h"

namespace tenon {

namespace {

constexpr std::size_t candidates_max = 100000;
constexpr std::size_t length_max = 256;
constexpr std::size_t suggestions_max = 3;

bool is_separator(char c) { return c == '/' || c == '.'; }

// Letters replaced, left out, put in, or two neighbours in the wrong order.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before, last, row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    before = std::exchange(last, row);
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      row[j + 1] = std::min({last[j] + (a[i] == b[j] ? 0 : 1), row[j] + 1, last[j + 1] + 1});
      const bool is_swapped = i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j];
      if (is_swapped) row[j + 1] = std::min(row[j + 1], before[j - 1] + 1);
    }
  }
  return row.back();
}

}  // namespace

std::string suggest(std::string_view wanted, const std::vector<std::string_view>& candidates) {
  if (wanted.empty() || wanted.size() > length_max) return {};
  const bool is_letter = wanted.size() == 1;  // any other is as near
  const std::size_t allowed = is_letter ? 0 : wanted.size() / 3 + 1;
  std::vector<std::pair<std::size_t, std::string_view>> near;
  for (std::size_t i = 0; i < std::min(candidates.size(), candidates_max); ++i) {
    const std::string_view candidate = candidates[i];
    const std::size_t difference =
        candidate.size() > wanted.size() ? candidate.size() - wanted.size() : wanted.size() - candidate.size();
    const bool is_longer = candidate.size() > wanted.size() && candidate.ends_with(wanted);
    const bool is_suffix = is_longer && (!is_letter || is_separator(candidate[candidate.size() - 2]));
    if (difference > allowed && !is_suffix) continue;
    const std::size_t distance = is_suffix ? 1 : edit_distance(wanted, candidate);
    if (is_suffix || distance <= allowed) near.emplace_back(distance, candidate);
  }
  std::sort(near.begin(), near.end());
  std::string text;
  for (std::size_t i = 0; i < std::min(near.size(), suggestions_max); ++i) {
    text += (i == 0 ? "did you mean '" : "', '") + printable(near[i].second);
  }
  return text.empty() ? text : text + "'?";
}

}  // namespace tenon
