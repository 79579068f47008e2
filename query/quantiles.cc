#include "query/quantiles.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <mutex>

#include "query/interpolation.h"
#include "query/table_pool.h"

namespace tenon {

namespace {

constexpr unsigned level_bits = 16;  // looked at in one reading
constexpr std::size_t level_size = std::size_t{1} << level_bits;
constexpr std::uint64_t collected_max = std::uint64_t{1} << 22;  // values, over all buckets

// Unsigned numbers in the order of the doubles; both zeros are one.
std::uint64_t key_of(double value) noexcept {
  const auto bits = std::bit_cast<std::uint64_t>(value + 0.0);
  return (bits >> 63) != 0 ? ~bits : bits | std::uint64_t{1} << 63;
}

double value_of(std::uint64_t key) noexcept {
  return std::bit_cast<double>((key >> 63) != 0 ? key & ~(std::uint64_t{1} << 63) : ~key);
}

// Where a quantile lies among `count` ordered values.
struct Place {
  std::uint64_t below;
  std::uint64_t above;
  double share;  // of the way from one to the other
};

Place place_of(double quantile, std::uint64_t count) {
  const double at = quantile * static_cast<double>(count - 1);
  const auto below = std::min(static_cast<std::uint64_t>(at), count - 1);
  return {below, std::min(below + 1, count - 1), at - static_cast<double>(below)};
}

std::vector<double> find_places(std::span<const double> wanted, std::uint64_t count,
                                const std::function<double(std::uint64_t rank)>& value_at) {
  std::vector<double> found;
  for (const double quantile : wanted) {
    if (count == 0) {
      found.push_back(std::numeric_limits<double>::quiet_NaN());
      continue;
    }
    const Place place = place_of(quantile, count);
    found.push_back(between(value_at(place.below), value_at(place.above), place.share));
  }
  return found;
}

// The values whose keys begin with `prefix`.
struct Bucket {
  std::uint64_t prefix;
  unsigned bits;  // that are known
  std::uint64_t first_rank;
  std::uint64_t count;
  std::vector<std::uint64_t> ranks{};  // wanted ones, ascending

  bool holds(std::uint64_t key) const noexcept { return key >> (64 - bits) == prefix; }
};

class Search {
 public:
  explicit Search(const ValuePieces& pieces) : pieces_(pieces) {}

  // Counts what is not NaN by the first bits. Returns how many there are.
  std::uint64_t count_all() {
    TablePool tables(level_size);
    visit([&](std::span<const double> values) {
      tables.with_table([&](TablePool::Table& table) {
        for (const double value : values) {
          if (!std::isnan(value)) ++table[key_of(value) >> (64 - level_bits)];
        }
      });
    });
    first_level_ = tables.sum();
    std::uint64_t count = 0;
    for (const std::uint64_t part : first_level_) count += part;
    return count;
  }

  // The values at these ranks, which ascend.
  std::map<std::uint64_t, double> find(const std::vector<std::uint64_t>& ranks) {
    const Bucket all{.prefix = 0, .bits = 0, .first_rank = 0, .count = 0, .ranks = ranks};
    divide(all, first_level_, buckets_);
    while (refine()) {
    }
    collect();
    return std::move(found_);
  }

 private:
  void visit(const std::function<void(std::span<const double>)>& use) const {
    pieces_.for_each([&](std::size_t index) { pieces_.read_doubles(index, use); });
  }

  static void divide(const Bucket& bucket, const TablePool::Table& counts, std::vector<Bucket>& parts) {
    std::uint64_t rank = bucket.first_rank;
    auto next = bucket.ranks.begin();
    for (std::size_t i = 0; i < level_size && next != bucket.ranks.end(); ++i) {
      const auto end = std::lower_bound(next, bucket.ranks.end(), rank + counts[i]);
      if (end != next) {
        parts.push_back({.prefix = bucket.prefix << level_bits | i,
                         .bits = bucket.bits + level_bits,
                         .first_rank = rank,
                         .count = counts[i],
                         .ranks = {next, end}});
      }
      next = end;
      rank += counts[i];
    }
  }

  // Divides the buckets that hold too much to be collected; false if there was none.
  bool refine() {
    const std::uint64_t share = std::max<std::uint64_t>(1, collected_max / std::max<std::size_t>(1, buckets_.size()));
    std::vector<Bucket> parts;
    for (const Bucket& bucket : buckets_) {
      if (bucket.bits == 64 || bucket.count <= share) {
        parts.push_back(bucket);
        continue;
      }
      divide(bucket, count_within(bucket), parts);
    }
    const bool is_finer = std::ranges::any_of(parts, [&](const Bucket& b) { return b.bits < 64 && b.count > share; });
    buckets_ = std::move(parts);
    return is_finer;
  }

  TablePool::Table count_within(const Bucket& bucket) const {
    TablePool tables(level_size);
    visit([&](std::span<const double> values) {
      tables.with_table([&](TablePool::Table& table) {
        for (const double value : values) {
          const std::uint64_t key = key_of(value);
          if (!std::isnan(value) && bucket.holds(key)) ++table[(key >> (64 - bucket.bits - level_bits)) % level_size];
        }
      });
    });
    return tables.sum();
  }

  void collect() {
    std::vector<Bucket*> open;
    std::vector<bool> begins(level_size, false);
    for (Bucket& bucket : buckets_) {
      if (bucket.bits == 64) {
        for (const std::uint64_t rank : bucket.ranks) found_[rank] = value_of(bucket.prefix);
      } else {
        open.push_back(&bucket);
        begins[bucket.prefix >> (bucket.bits - level_bits)] = true;
      }
    }
    if (open.empty()) return;
    std::vector<std::vector<double>> collected(open.size());
    std::mutex mutex;
    pieces_.for_each([&](std::size_t index) {
      std::vector<std::vector<double>> mine(open.size());
      pieces_.read_doubles(index, [&](std::span<const double> values) {
        for (const double value : values) {
          const std::uint64_t key = key_of(value);
          if (std::isnan(value) || !begins[key >> (64 - level_bits)]) continue;
          const auto bucket = std::ranges::find_if(open, [&](const Bucket* b) { return b->holds(key); });
          if (bucket != open.end()) mine[static_cast<std::size_t>(bucket - open.begin())].push_back(value);
        }
      });
      const std::lock_guard lock(mutex);
      for (std::size_t i = 0; i < open.size(); ++i)
        collected[i].insert(collected[i].end(), mine[i].begin(), mine[i].end());
    });
    for (std::size_t i = 0; i < open.size(); ++i) pick(*open[i], collected[i]);
  }

  void pick(const Bucket& bucket, std::vector<double>& values) {
    auto begin = values.begin();
    for (const std::uint64_t rank : bucket.ranks) {
      const auto at = values.begin() + static_cast<std::ptrdiff_t>(rank - bucket.first_rank);
      std::nth_element(begin, at, values.end());
      found_[rank] = *at;
      begin = at;
    }
  }

  const ValuePieces& pieces_;
  TablePool::Table first_level_;
  std::vector<Bucket> buckets_;
  std::map<std::uint64_t, double> found_;
};

}  // namespace

std::vector<double> find_quantiles(std::span<const double> wanted, const ValuePieces& pieces) {
  Search search(pieces);
  const std::uint64_t distinct = search.count_all();
  const std::uint64_t count = distinct * pieces.weight();
  std::vector<std::uint64_t> ranks;
  find_places(wanted, count, [&](std::uint64_t rank) {
    ranks.push_back(rank / pieces.weight());
    return 0;
  });
  std::ranges::sort(ranks);
  ranks.erase(std::ranges::unique(ranks).begin(), ranks.end());
  const auto found = search.find(ranks);
  return find_places(wanted, count, [&](std::uint64_t rank) { return found.at(rank / pieces.weight()); });
}

std::vector<double> find_quantiles(std::span<const double> wanted, std::span<const ValueCount> values,
                                   std::uint64_t weight) {
  std::vector<std::uint64_t> ends;  // ranks at which a value is past
  std::uint64_t count = 0;
  for (const ValueCount& value : values) ends.push_back(count += value.count * weight);
  return find_places(wanted, count, [&](std::uint64_t rank) {
    return values[static_cast<std::size_t>(std::ranges::upper_bound(ends, rank) - ends.begin())].value;
  });
}

}  // namespace tenon
