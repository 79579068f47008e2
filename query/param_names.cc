#include "query/param_names.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "tenon/name.h"

namespace tenon {

namespace {

// What a module holds beside its parameters: batch normalization's figures.
constexpr std::array<std::string_view, 3> buffer_endings = {"running_mean", "running_var", "num_batches_tracked"};

struct StateName {
  std::string_view owner;  // "optim", what stands before "/state/"
  std::uint64_t number = 0;
};

std::optional<StateName> state_name(std::string_view name) {
  constexpr std::string_view infix = "state/";
  const std::size_t at = name.starts_with(infix) ? 0 : name.find("/state/");
  if (at == std::string_view::npos) return std::nullopt;
  const std::size_t digits = at == 0 ? infix.size() : at + 1 + infix.size();
  StateName state{name.substr(0, at), 0};
  const auto [end, error] = std::from_chars(name.data() + digits, name.data() + name.size(), state.number);
  const bool is_number = error == std::errc() && end != name.data() + name.size() && *end == '/';
  return is_number ? std::optional(state) : std::nullopt;
}

class Matcher {
 public:
  explicit Matcher(const TensorSet& set) : set_(set) {}

  std::vector<std::string> run() {
    for (std::uint32_t row = 0; row < set_.size(); ++row) {
      names_.push_back(plain_name(set_.name(row)));
      if (!set_.row(row).param.empty()) {
        recorded_.push_back(row);
      } else if (const auto state = state_name(set_.name(row))) {
        states_[state->owner][state->number].push_back(row);
      }
    }
    for (const std::uint32_t row : recorded_) names_[row] = recorded_name(set_.name(row), set_.row(row).param);
    for (const auto& [owner, numbers] : states_) match(owner, numbers);
    return std::move(names_);
  }

 private:
  using Numbers = std::map<std::uint64_t, std::vector<std::uint32_t>>;

  static std::string plain_name(std::string_view name) {
    try {
      return param_name(name);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::invalid_argument) throw;
      return std::string(name);  // of a file, that renders no path
    }
  }

  // Who saved the state said what it belongs to, by its name within the model: that stands in a sibling.
  std::string recorded_name(std::string_view name, std::string_view param) {
    const std::string_view owner = name.substr(0, std::min(name.size(), name.find("/state/")));
    auto [siblings, is_new] = siblings_.try_emplace(owner);
    for (std::uint32_t row = 0; is_new && row < set_.size(); ++row) {
      const std::string_view top = top_of(set_.name(row), owner);
      if (!top.empty() && top != owner) siblings->second.insert(top);
    }
    for (const std::string_view top : siblings->second) {
      if (const auto row = set_.find(std::string(top).append("/").append(param))) return names_[*row];
    }
    return plain_name(param);
  }

  // The first sibling that fits: a subtree without optimizer state.
  void match(std::string_view owner, const Numbers& numbers) {
    std::vector<std::string_view> tried;
    for (std::uint32_t row = 0; row < set_.size(); ++row) {
      const std::string_view top = top_of(set_.name(row), owner);
      if (states_.contains(top) || std::find(tried.begin(), tried.end(), top) != tried.end()) continue;
      tried.push_back(top);
      const auto parameters = parameters_under(top);
      if (!fits(parameters, numbers)) continue;
      for (const auto& [number, rows] : numbers) {
        for (const std::uint32_t state : rows) names_[state] = names_[parameters[number]];
      }
      return;
    }
  }

  // "model" of "model/fc.weight", beside "optim"; below a common parent, with that: "run/model" beside "run/optim".
  static std::string_view top_of(std::string_view name, std::string_view owner) {
    const std::size_t parent = owner.find_last_of('/');
    const std::size_t from = parent == std::string_view::npos ? 0 : parent + 1;
    if (name.substr(0, from) != owner.substr(0, from)) return {};
    const std::size_t slash = name.find('/', from);
    return slash == std::string_view::npos ? std::string_view() : name.substr(0, slash);
  }

  std::vector<std::uint32_t> parameters_under(std::string_view top) const {
    std::vector<std::uint32_t> rows;
    if (top.empty()) return rows;
    std::set<std::uint32_t> objects;  // tied parameters count once
    std::set<std::tuple<std::uint32_t, std::uint64_t>> places;
    for (std::uint32_t row = 0; row < set_.size(); ++row) {
      const TensorRow tensor = set_.row(row);
      const std::string_view name = tensor.name;
      if (!name.starts_with(top) || name.size() <= top.size() || name[top.size()] != '/') continue;
      const bool is_buffer = tensor.kind == TensorKind::buffer ||
                             std::any_of(buffer_endings.begin(), buffer_endings.end(),
                                         [&](std::string_view ending) { return name.ends_with(ending); });
      if (is_buffer || !objects.insert(tensor.object).second) continue;
      if (tensor.slot != no_slot && !places.insert({tensor.slot, tensor.storage_offset_bytes}).second) continue;
      rows.push_back(row);
    }
    return rows;
  }

  bool fits(const std::vector<std::uint32_t>& parameters, const Numbers& numbers) const {
    if (parameters.empty() || numbers.rbegin()->first + 1 != parameters.size()) return false;
    return std::all_of(numbers.begin(), numbers.end(), [&](const auto& entry) {
      const auto shape = set_.row(parameters[entry.first]).shape;
      return std::all_of(entry.second.begin(), entry.second.end(), [&](std::uint32_t row) {
        const auto own = set_.row(row).shape;
        return own.empty() || std::ranges::equal(own, shape);
      });
    });
  }

  const TensorSet& set_;
  std::vector<std::string> names_;
  std::map<std::string_view, Numbers> states_;                       // by owner
  std::vector<std::uint32_t> recorded_;                              // rows that say what they belong to
  std::map<std::string_view, std::set<std::string_view>> siblings_;  // subtrees beside an owner
};

}  // namespace

std::optional<std::int64_t> layer_of(std::string_view name) noexcept {
  while (!name.empty()) {
    const std::size_t end = std::min(name.size(), name.find_first_of("./"));
    std::int64_t number = 0;
    const char* last = name.data() + end;
    const auto [stop, error] = std::from_chars(name.data(), last, number);
    if (end != 0 && error == std::errc() && stop == last && number >= 0) return number;
    name.remove_prefix(std::min(name.size(), end + 1));
  }
  return std::nullopt;
}

std::vector<std::string> param_names(const TensorSet& set) { return Matcher(set).run(); }

}  // namespace tenon
