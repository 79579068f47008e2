#include "store/suggest.h"

#include <algorithm>
#include <numeric>

#include "tenon/name.h"

namespace tenon {

namespace {

constexpr std::size_t candidates_max = 100000;
constexpr std::size_t length_max = 256;
constexpr std::size_t suggestions_max = 3;

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string suggest(std::string_view wanted, const std::vector<std::string_view>& candidates) {
  if (wanted.empty() || wanted.size() > length_max) return {};
  const std::size_t allowed = wanted.size() / 3 + 1;
  std::vector<std::pair<std::size_t, std::string_view>> near;
  for (std::size_t i = 0; i < std::min(candidates.size(), candidates_max); ++i) {
    const std::string_view candidate = candidates[i];
    const std::size_t difference =
        candidate.size() > wanted.size() ? candidate.size() - wanted.size() : wanted.size() - candidate.size();
    const bool is_suffix = candidate.size() > wanted.size() && candidate.ends_with(wanted);
    if (difference > allowed && !is_suffix) continue;
    const std::size_t distance = is_suffix ? 1 : edit_distance(wanted, candidate);
    if (distance <= allowed) near.emplace_back(distance, candidate);
  }
  std::sort(near.begin(), near.end());
  std::string text;
  for (std::size_t i = 0; i < std::min(near.size(), suggestions_max); ++i) {
    text += (i == 0 ? "did you mean '" : "', '") + printable(near[i].second);
  }
  return text.empty() ? text : text + "'?";
}

}  // namespace tenon
