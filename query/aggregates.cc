#include "query/aggregates.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "query/interpolation.h"
#include "query/session_state.h"
#include "query/value.h"

namespace tenon {

namespace {

constexpr std::size_t sparkline_width_max = 60;  // more values are drawn by the mean of neighbours

// Numbers of one group; NULLs left out.
class Numbers {
 public:
  explicit Numbers(SessionState& session) : session_(session) {}
  ~Numbers() { session_.release(numbers_.capacity() * sizeof(double)); }
  Numbers(const Numbers&) = delete;
  Numbers& operator=(const Numbers&) = delete;

  void add(double number) {
    const std::size_t before = numbers_.capacity();
    numbers_.push_back(number);
    session_.charge((numbers_.capacity() - before) * sizeof(double));
  }
  std::vector<double>& get() noexcept { return numbers_; }

 private:
  SessionState& session_;
  std::vector<double> numbers_;
};

// Between neighbours by straight line, as in numpy. `q` from 0 to 1.
Cell quantile_of(std::vector<double>& numbers, double q) {
  if (numbers.empty()) return {};
  const double place = q * static_cast<double>(numbers.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const auto middle = numbers.begin() + static_cast<std::ptrdiff_t>(below);
  std::nth_element(numbers.begin(), middle, numbers.end());
  const double low = *middle;
  const double share = place - std::floor(place);
  if (share == 0 || below + 1 == numbers.size()) return low;
  const double high = *std::min_element(middle + 1, numbers.end());
  return between(low, high, share);
}

class Median : public Aggregate {
 public:
  explicit Median(SessionState& session) : numbers_(session) {}
  void add(std::span<const SqlValue> arguments) override {
    if (!is_null(arguments[0])) numbers_.add(require_real(arguments[0], "median"));
  }
  Cell result() override { return quantile_of(numbers_.get(), 0.5); }

 private:
  Numbers numbers_;
};

class Percentile : public Aggregate {
 public:
  explicit Percentile(SessionState& session) : numbers_(session) {}
  void add(std::span<const SqlValue> arguments) override {
    const double percent = require_real(arguments[1], "percentile: p");
    if (!(percent >= 0 && percent <= 100) || (percent_ && *percent_ != percent)) {
      throw Error(ErrorKind::invalid_argument, {.what = "percentile() has a wrong second argument",
                                                .got = *text_of(arguments[1]),
                                                .wanted = "one number from 0 to 100 for all rows"});
    }
    percent_ = percent;
    if (!is_null(arguments[0])) numbers_.add(require_real(arguments[0], "percentile"));
  }
  Cell result() override { return quantile_of(numbers_.get(), percent_.value_or(0) / 100); }

 private:
  Numbers numbers_;
  std::optional<double> percent_;
};

// What is NULL, or no finite number, is a blank.
class Sparkline : public Aggregate {
 public:
  explicit Sparkline(SessionState& session) : numbers_(session) {}
  void add(std::span<const SqlValue> arguments) override {
    constexpr double none = std::numeric_limits<double>::quiet_NaN();
    numbers_.add(is_null(arguments[0]) ? none : require_real(arguments[0], "sparkline"));
  }
  Cell result() override {
    if (numbers_.get().empty()) return {};
    const std::vector<double> points = drawn_points();
    double low = std::numeric_limits<double>::infinity(), high = -low;
    for (const double point : points) {
      if (!std::isfinite(point)) continue;
      low = std::min(low, point);
      high = std::max(high, point);
    }
    std::string text;
    for (const double point : points) text += glyph(point, low, high);
    return text;
  }

 private:
  static std::string_view glyph(double point, double low, double high) {
    static constexpr std::array<std::string_view, 8> glyphs = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    if (!std::isfinite(point)) return " ";
    const double share = high > low ? (point / 2 - low / 2) / (high / 2 - low / 2) : 0.5;
    return glyphs[std::min<std::size_t>(7, static_cast<std::size_t>(share * 8))];
  }

  std::vector<double> drawn_points() {
    const std::vector<double>& all = numbers_.get();
    const std::size_t width = std::min(all.size(), sparkline_width_max);
    std::vector<double> points(width);
    for (std::size_t column = 0; column < width; ++column) {
      const std::size_t begin = column * all.size() / width, end = (column + 1) * all.size() / width;
      double sum = 0;
      std::size_t count = 0;
      for (std::size_t i = begin; i < end; ++i) {
        if (!std::isfinite(all[i])) continue;
        sum += all[i];
        ++count;
      }
      points[column] = sum / static_cast<double>(count);  // NaN of none
    }
    return points;
  }

  Numbers numbers_;
};

template <typename T>
std::unique_ptr<Aggregate> make(SessionState& session) {
  return std::make_unique<T>(session);
}

constexpr std::array<AggregateFunction, 3> all_aggregates = {{
    {"median", "median(x)", "aggregate: the middle value, NULLs left out", 1, make<Median>},
    {"percentile", "percentile(x, p)", "aggregate: the p-th percentile, 0 to 100, NULLs left out, by straight line", 2,
     make<Percentile>},
    {"sparkline", "sparkline(x)",
     "aggregate: the values as a line of up to 60 blocks, in the order of the rows; NULLs as blanks", 1,
     make<Sparkline>},
}};

}  // namespace

std::span<const AggregateFunction> aggregates() { return all_aggregates; }

}  // namespace tenon
