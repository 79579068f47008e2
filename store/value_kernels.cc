// Every floating and wide integer type is widened to double before it is added up, so a sum is as good as a plain
// double sum in several lanes. 8- and 16-bit integers are added up as integers, exactly, one block after the other.
//
// NaN and infinity are rare, so no block looks for them: they show in the sum of the block, which is then read again
// (from the cache) by a careful loop. So are values that lie close together and far from zero, whose deviations from
// their mean cancel out of sum and sum of squares: such a block is read again, too. Blocks are then merged by
// deviations.
//
// This file is compiled once per instruction set; what is needed only once stands under HWY_ONCE at its end.
#include "store/value_kernels.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "store/value_elements.h"

// Totals are structs of vectors, which vectors of unknown length cannot be.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "store/value_kernels.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which it depends on.
#include <hwy/highway.h>

#include "store/value_vectors.inl"

HWY_BEFORE_NAMESPACE();
namespace tenon {
namespace HWY_NAMESPACE {
namespace {

template <typename Source>
void add_one_by_one(const std::uint8_t* bytes, std::size_t count, ValueTotals& totals) {
  for (std::size_t i = 0; i < count; ++i) {
    typename Source::Stored stored;
    std::memcpy(&stored, bytes + i * sizeof stored, sizeof stored);
    add_value(Source::value(stored), 1, totals);
  }
}

void add_pair(double older, double newer, DenseDifference& totals) {
  const double change = older == newer ? 0 : newer - older;  // infinities that are equal differ by nothing
  if (!std::isnan(older)) totals.older_sum_squares += older * older;
  if (std::isnan(change)) return;
  totals.max_abs = std::max(totals.max_abs, std::abs(change));
  totals.sum_squares += change * change;
}

template <typename Source>
void compare_one_by_one(const std::uint8_t* older, const std::uint8_t* newer, std::size_t count,
                        DenseDifference& totals) {
  for (std::size_t i = 0; i < count; ++i) {
    typename Source::Stored a, b;
    std::memcpy(&a, older + i * sizeof a, sizeof a);
    std::memcpy(&b, newer + i * sizeof b, sizeof b);
    add_pair(Source::value(a), Source::value(b), totals);
  }
}

#if HWY_TARGET == HWY_SCALAR  // a processor without vectors

template <typename Source>
void compare_elements(const std::uint8_t* older, const std::uint8_t* newer, std::size_t count,
                      DenseDifference& totals) {
  compare_one_by_one<Source>(older, newer, count, totals);
}

using Float64Source = PlainElement<double>;
using Float32Source = PlainElement<float>;
using Float16Source = Float16Element;
using BFloat16Source = BFloat16Element;
using Int64Source = PlainElement<std::int64_t>;
using UInt64Source = PlainElement<std::uint64_t>;
using Int32Source = PlainElement<std::int32_t>;
using UInt32Source = PlainElement<std::uint32_t>;
using Int16Source = PlainElement<std::int16_t>;
using UInt16Source = PlainElement<std::uint16_t>;
using Int8Source = PlainElement<std::int8_t>;
using UInt8Source = PlainElement<std::uint8_t>;
using BoolSource = BoolElement;
using Complex32Source = ComplexElement<Float16Element>;
using Complex64Source = ComplexElement<PlainElement<float>>;
using Complex128Source = ComplexElement<PlainElement<double>>;

template <typename Source>
void add_elements(const std::uint8_t* bytes, std::size_t count, ValueTotals& totals) {
  add_one_by_one<Source>(bytes, count, totals);
}

template <typename Source>
void add_small_integers(const std::uint8_t* bytes, std::size_t count, ValueTotals& totals) {
  add_one_by_one<Source>(bytes, count, totals);
}

#else

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr std::size_t block_bytes = 16 * 1024;  // stays in the first-level cache for a second look
constexpr double cancelled = 0x1p-10;           // share of a sum of squares: less has lost more than three digits

// One more in every lane where `mask` holds.
template <typename D, typename Count, typename Mask>
HWY_INLINE Count count_if(D d, Count count, Mask mask) {
  const hn::RebindToUnsigned<D> d_count;
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  (void)d;
  return hn::IfThenElse(hn::RebindMask(d_count, mask), hn::Add(count, hn::Set(d_count, 1)), count);
#else
  return hn::Sub(count, hn::BitCast(d_count, hn::VecFromMask(d, mask)));
#endif
}

template <typename D, typename V>
std::uint64_t sum_counts(D d, V counts) {
  HWY_ALIGN std::array<hn::TFromD<D>, hn::MaxLanes(D())> lanes;
  hn::Store(counts, d, lanes.data());
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < hn::Lanes(d); ++i) sum += lanes[i];
  return sum;
}

HWY_INLINE double lane_sum(Double v) { return hn::GetLane(hn::SumOfLanes(d64, v)); }

template <typename D, typename V>
void fold_range(D d, V min, V max, ValueTotals& totals) {
  totals.min = std::min(totals.min, static_cast<double>(hn::GetLane(hn::MinOfLanes(d, min))));
  totals.max = std::max(totals.max, static_cast<double>(hn::GetLane(hn::MaxOfLanes(d, max))));
}

// The constructors are written out because GCC compiles implicit ones without the instruction set of their target.

// Totals over doubles, none of which may be NaN or infinite (see is_finite).
struct DoubleTotals {
  Double min = hn::Set(d64, infinity);
  Double max = hn::Set(d64, -infinity);
  Double sum = hn::Zero(d64);
  Double sum_squares = hn::Zero(d64);
  hn::Vec<decltype(d_u64)> zeros = hn::Zero(d_u64);

  DoubleTotals() {}
  HWY_INLINE void add(Double v) {
    min = hn::Min(min, v);
    max = hn::Max(max, v);
    zeros = count_if(d64, zeros, hn::Eq(v, hn::Zero(d64)));
    sum = hn::Add(sum, v);
    sum_squares = hn::MulAdd(v, v, sum_squares);
  }
  // False if a NaN or an infinity was added (or finite values overflowed the sum).
  HWY_INLINE bool is_finite() const { return hn::AllTrue(d64, hn::IsFinite(sum)); }
  HWY_INLINE void begin_block() { sum = sum_squares = hn::Zero(d64); }
  HWY_INLINE Double block_sum() const { return sum; }
  HWY_INLINE Double block_sum_squares() const { return sum_squares; }
  // All but the sums, which are those of one block.
  void fold_into(ValueTotals& totals) const {
    fold_range(d64, min, max, totals);
    totals.zero_count += sum_counts(d_u64, zeros);
  }
};

// The same over floats; the sums are double all the same.
struct SingleTotals {
  Single min = hn::Set(d32, std::numeric_limits<float>::infinity());
  Single max = hn::Set(d32, -std::numeric_limits<float>::infinity());
  hn::Vec<decltype(d_u32)> zeros = hn::Zero(d_u32);
  Double sum_lower = hn::Zero(d64);
  Double sum_upper = hn::Zero(d64);
  Double sum_squares_lower = hn::Zero(d64);
  Double sum_squares_upper = hn::Zero(d64);

  SingleTotals() {}
  HWY_INLINE void add(Single v) {
    min = hn::Min(min, v);
    max = hn::Max(max, v);
    zeros = count_if(d32, zeros, hn::Eq(v, hn::Zero(d32)));
    const Double lower = lower_doubles(v);
    const Double upper = upper_doubles(v);
    sum_lower = hn::Add(sum_lower, lower);
    sum_upper = hn::Add(sum_upper, upper);
    sum_squares_lower = hn::MulAdd(lower, lower, sum_squares_lower);
    sum_squares_upper = hn::MulAdd(upper, upper, sum_squares_upper);
  }
  HWY_INLINE bool is_finite() const { return hn::AllTrue(d64, hn::IsFinite(hn::Add(sum_lower, sum_upper))); }
  HWY_INLINE void begin_block() { sum_lower = sum_upper = sum_squares_lower = sum_squares_upper = hn::Zero(d64); }
  HWY_INLINE Double block_sum() const { return hn::Add(sum_lower, sum_upper); }
  HWY_INLINE Double block_sum_squares() const { return hn::Add(sum_squares_lower, sum_squares_upper); }
  void fold_into(ValueTotals& totals) const {
    fold_range(d32, min, max, totals);
    totals.zero_count += sum_counts(d_u32, zeros);
  }
};

// Totals over doubles of all kinds.
struct CarefulTotals {
  DoubleTotals totals;
  hn::Vec<decltype(d_u64)> nans = hn::Zero(d_u64);
  hn::Vec<decltype(d_u64)> infinities = hn::Zero(d_u64);

  CarefulTotals() {}
  HWY_INLINE void add(Double v) {
    const auto is_nan = hn::IsNaN(v);
    const Double value = hn::IfThenZeroElse(is_nan, v);
    nans = count_if(d64, nans, is_nan);
    infinities = count_if(d64, infinities, hn::Eq(hn::Abs(v), hn::Set(d64, infinity)));
    totals.zeros = count_if(d64, totals.zeros, hn::Eq(v, hn::Zero(d64)));
    totals.min = hn::Min(totals.min, hn::IfThenElse(is_nan, hn::Set(d64, infinity), v));
    totals.max = hn::Max(totals.max, hn::IfThenElse(is_nan, hn::Set(d64, -infinity), v));
    totals.sum = hn::Add(totals.sum, value);
    totals.sum_squares = hn::MulAdd(value, value, totals.sum_squares);
  }
  HWY_INLINE void add(Single v) {
    add(lower_doubles(v));
    add(upper_doubles(v));
  }
  std::uint64_t nan_count() const { return sum_counts(d_u64, nans); }
  std::uint64_t inf_count() const { return sum_counts(d_u64, infinities); }
};

// Distances from a value near the mean, of all that is not NaN.
struct DeviationTotals {
  Double shift;
  Double sum = hn::Zero(d64);
  Double sum_squares = hn::Zero(d64);

  explicit DeviationTotals(double from) : shift(hn::Set(d64, from)) {}
  HWY_INLINE void add(Double v) {
    const Double deviation = hn::IfThenZeroElse(hn::IsNaN(v), hn::Sub(v, shift));
    sum = hn::Add(sum, deviation);
    sum_squares = hn::MulAdd(deviation, deviation, sum_squares);
  }
  HWY_INLINE void add(Single v) {
    add(lower_doubles(v));
    add(upper_doubles(v));
  }
};

template <typename Vector>
using TotalsOf = std::conditional_t<std::is_same_v<Vector, Single>, SingleTotals, DoubleTotals>;

// Whole steps of what `load` reads.
struct Block {
  const std::uint8_t* begin;
  const std::uint8_t* end;
  std::size_t step_bytes;
};

template <typename Source, typename Totals>
HWY_INLINE void add_block(const std::uint8_t* begin, const std::uint8_t* end, std::size_t step_bytes, Totals& totals_a,
                          Totals& totals_b) {
  for (const std::uint8_t* at = begin; at != end; at += step_bytes) {
    typename Source::Vector a, b;
    Source::load(at, a, b);
    totals_a.add(a);
    totals_b.add(b);
  }
}

// Deviations out of plain sums, unless those have cancelled: then the block is read again.
template <typename Source>
Moments moments_of(const Block& block, double count, double sum, double sum_squares) {
  const double mean = sum / count;
  const double squared_deviations = sum_squares - sum * mean;
  const bool overflowed = !std::isfinite(sum_squares);
  if (!overflowed && squared_deviations >= sum_squares * cancelled) return {count, sum, mean, 0, squared_deviations};
  DeviationTotals from_mean(mean);
  add_block<Source>(block.begin, block.end, block.step_bytes, from_mean, from_mean);
  const double rest = lane_sum(from_mean.sum);
  const double rest_squares = lane_sum(from_mean.sum_squares) - rest * (rest / count);
  return {count, sum, mean, rest / count, std::max(rest_squares, 0.0)};
}

// A block with NaNs, infinities, or values so large that their sum is none.
template <typename Source>
void add_careful_block(const Block& block, ValueTotals& totals) {
  CarefulTotals careful;
  add_block<Source>(block.begin, block.end, block.step_bytes, careful, careful);
  const std::size_t count = static_cast<std::size_t>(block.end - block.begin) / sizeof(typename Source::Stored);
  const double sum = lane_sum(careful.totals.sum);
  if (careful.inf_count() == 0 && !std::isfinite(sum)) return add_one_by_one<Source>(block.begin, count, totals);
  const auto value_count = static_cast<double>(count - careful.nan_count());
  careful.totals.fold_into(totals);
  totals.nan_count += careful.nan_count();
  totals.inf_count += careful.inf_count();
  if (careful.inf_count() != 0) {
    add_moments({value_count, sum, sum, 0, std::numeric_limits<double>::quiet_NaN()}, totals);
  } else if (value_count != 0) {
    add_moments(moments_of<Source>(block, value_count, sum, lane_sum(careful.totals.sum_squares)), totals);
  }
}

template <typename Source>
void add_elements(const std::uint8_t* bytes, std::size_t count, ValueTotals& totals) {
  using Totals = TotalsOf<typename Source::Vector>;
  constexpr std::size_t item = sizeof(typename Source::Stored);
  const std::size_t step_bytes = 2 * lanes<typename Source::Vector>() * item;
  const std::size_t whole_bytes = count * item / step_bytes * step_bytes;
  Totals fast_a, fast_b;  // two, so that one addition need not wait for the other
  for (std::size_t begin = 0; begin < whole_bytes; begin += block_bytes) {
    const Block block{bytes + begin, bytes + std::min(whole_bytes, begin + block_bytes), step_bytes};
    const Totals before_a = fast_a;
    const Totals before_b = fast_b;
    fast_a.begin_block();
    fast_b.begin_block();
    add_block<Source>(block.begin, block.end, step_bytes, fast_a, fast_b);
    if (fast_a.is_finite() && fast_b.is_finite()) {
      const auto block_count = static_cast<double>(block.end - block.begin) / item;
      const double sum = lane_sum(hn::Add(fast_a.block_sum(), fast_b.block_sum()));
      const double sum_squares = lane_sum(hn::Add(fast_a.block_sum_squares(), fast_b.block_sum_squares()));
      add_moments(moments_of<Source>(block, block_count, sum, sum_squares), totals);
    } else {
      fast_a = before_a;
      fast_b = before_b;
      add_careful_block<Source>(block, totals);
    }
  }
  if (whole_bytes != 0) {
    fast_a.fold_into(totals);
    fast_b.fold_into(totals);
  }
  add_one_by_one<Source>(bytes + whole_bytes, count - whole_bytes / sizeof(typename Source::Stored), totals);
}

// What pairs of values differ by, in double.
struct DifferenceTotals {
  Double max_abs = hn::Zero(d64);
  Double sum_squares = hn::Zero(d64);
  Double older_sum_squares = hn::Zero(d64);

  DifferenceTotals() {}
  HWY_INLINE void add(Double older, Double newer) {
    const Double change = hn::Sub(newer, older);
    max_abs = hn::Max(max_abs, hn::Abs(change));
    sum_squares = hn::MulAdd(change, change, sum_squares);
    older_sum_squares = hn::MulAdd(older, older, older_sum_squares);
  }
  HWY_INLINE void add(Single older, Single newer) {
    add(lower_doubles(older), lower_doubles(newer));
    add(upper_doubles(older), upper_doubles(newer));
  }
  HWY_INLINE bool is_finite() const { return hn::AllTrue(d64, hn::IsFinite(hn::Add(sum_squares, older_sum_squares))); }
  void fold_into(DenseDifference& totals) const {
    totals.max_abs = std::max(totals.max_abs, hn::GetLane(hn::MaxOfLanes(d64, max_abs)));
    totals.sum_squares += lane_sum(sum_squares);
    totals.older_sum_squares += lane_sum(older_sum_squares);
  }
};

template <typename Source>
void compare_elements(const std::uint8_t* older, const std::uint8_t* newer, std::size_t count,
                      DenseDifference& totals) {
  constexpr std::size_t item = sizeof(typename Source::Stored);
  const std::size_t step = 2 * lanes<typename Source::Vector>();
  const std::size_t whole = count / step * step;
  for (std::size_t begin = 0; begin < whole;) {
    const std::size_t end = std::min(whole, begin + block_bytes / item);
    DifferenceTotals block;
    for (std::size_t i = begin; i < end; i += step) {
      typename Source::Vector older_a, older_b, newer_a, newer_b;
      Source::load(older + i * item, older_a, older_b);
      Source::load(newer + i * item, newer_a, newer_b);
      block.add(older_a, newer_a);
      block.add(older_b, newer_b);
    }
    if (block.is_finite())
      block.fold_into(totals);
    else
      compare_one_by_one<Source>(older + begin * item, newer + begin * item, end - begin, totals);
    begin = end;
  }
  compare_one_by_one<Source>(older + whole * item, newer + whole * item, count - whole, totals);
}

// Small integers: one vector of 16-bit lanes out of bytes, less a bias.

struct Int16Source : PlainElement<std::int16_t> {
  static constexpr std::int32_t bias = 0;
  static HWY_INLINE Short load(const std::uint8_t* bytes) { return HWY_NAMESPACE::load(d16, bytes); }
};

struct UInt16Source : PlainElement<std::uint16_t> {
  static constexpr std::int32_t bias = 32768;
  static HWY_INLINE Short load(const std::uint8_t* bytes) {
    return hn::BitCast(d16, hn::Xor(HWY_NAMESPACE::load(d_u16, bytes), hn::Set(d_u16, 0x8000)));
  }
};

struct Int8Source : PlainElement<std::int8_t> {
  static constexpr std::int32_t bias = 0;
  static HWY_INLINE Short load(const std::uint8_t* bytes) {
    return hn::PromoteTo(d16, HWY_NAMESPACE::load(hn::Rebind<Stored, decltype(d16)>(), bytes));
  }
};

struct UInt8Source : PlainElement<std::uint8_t> {
  static constexpr std::int32_t bias = 0;
  static HWY_INLINE Short load(const std::uint8_t* bytes) {
    return hn::PromoteTo(d16, HWY_NAMESPACE::load(hn::Rebind<Stored, decltype(d16)>(), bytes));
  }
};

struct BoolSource : BoolElement {
  static constexpr std::int32_t bias = 0;
  static HWY_INLINE Short load(const std::uint8_t* bytes) { return hn::Min(UInt8Source::load(bytes), hn::Set(d16, 1)); }
};

// Exact totals over one block of 16-bit lanes: at most block_bytes elements, so that no lane and no sum overflows.
struct ShortTotals {
  Short min = hn::Set(d16, std::numeric_limits<std::int16_t>::max());
  Short max = hn::Set(d16, std::numeric_limits<std::int16_t>::min());
  hn::Vec<decltype(d_u16)> zeros = hn::Zero(d_u16);
  hn::Vec<decltype(d_i32)> sum_a = hn::Zero(d_i32);
  hn::Vec<decltype(d_i32)> sum_b = hn::Zero(d_i32);
  hn::Vec<decltype(d_u64)> sum_squares = hn::Zero(d_u64);

  ShortTotals() {}
  HWY_INLINE void add(Short v, Short zero) {
    min = hn::Min(min, v);
    max = hn::Max(max, v);
    zeros = count_if(d16, zeros, hn::Eq(v, zero));
    sum_a = hn::ReorderWidenMulAccumulate(d_i32, v, hn::Set(d16, 1), sum_a, sum_b);
    // A lane gets one or two squares: at most 2^31, which fits as unsigned.
    auto odd = hn::Zero(d_i32);
    add_squares(hn::ReorderWidenMulAccumulate(d_i32, v, v, hn::Zero(d_i32), odd));
    add_squares(odd);
  }
  HWY_INLINE void add_squares(hn::Vec<decltype(d_i32)> squares) {
    const auto pairs = hn::BitCast(d_u64, squares);
    const auto lower = hn::And(pairs, hn::Set(d_u64, 0xFFFFFFFFu));
    sum_squares = hn::Add(sum_squares, hn::Add(lower, hn::ShiftRight<32>(pairs)));
  }
  void fold_into(std::int32_t bias, std::size_t count, ValueTotals& totals) const {
    const std::int64_t plain_sum = hn::GetLane(hn::SumOfLanes(d_i32, hn::Add(sum_a, sum_b)));
    const auto plain_squares = static_cast<std::int64_t>(sum_counts(d_u64, sum_squares));
    const auto size = static_cast<std::int64_t>(count);
    totals.zero_count += sum_counts(d_u16, zeros);
    const auto sum = static_cast<double>(plain_sum + bias * size);
    const auto scaled_deviations = static_cast<double>(size * plain_squares - plain_sum * plain_sum);
    add_moments({static_cast<double>(size), sum, sum / static_cast<double>(size), 0,
                 scaled_deviations / static_cast<double>(size)},
                totals);
    HWY_ALIGN std::array<std::int16_t, hn::MaxLanes(decltype(d16)())> lanes;
    hn::Store(min, d16, lanes.data());
    totals.min = std::min(totals.min, static_cast<double>(*std::min_element(lanes.begin(), lanes.end())) + bias);
    hn::Store(max, d16, lanes.data());
    totals.max = std::max(totals.max, static_cast<double>(*std::max_element(lanes.begin(), lanes.end())) + bias);
  }
};

template <typename Source>
void add_small_integers(const std::uint8_t* bytes, std::size_t count, ValueTotals& totals) {
  constexpr std::size_t item = sizeof(typename Source::Stored);
  const std::size_t lanes = hn::Lanes(d16);
  const std::size_t whole = count / lanes * lanes;
  const Short zero = hn::Set(d16, static_cast<std::int16_t>(-Source::bias));
  for (std::size_t begin = 0; begin < whole;) {
    const std::size_t end = std::min(whole, begin + block_bytes / item);
    ShortTotals block;
    for (std::size_t i = begin; i < end; i += lanes) block.add(Source::load(bytes + i * item), zero);
    block.fold_into(Source::bias, end - begin, totals);
    begin = end;
  }
  add_one_by_one<Source>(bytes + whole * item, count - whole, totals);
}

#endif  // HWY_TARGET

}  // namespace

void add_dense_elements(DType dtype, const std::uint8_t* bytes, std::size_t count, ValueTotals& totals) {
  switch (dtype) {
    case DType::float64:
      return add_elements<Float64Source>(bytes, count, totals);
    case DType::float32:
      return add_elements<Float32Source>(bytes, count, totals);
    case DType::float16:
      return add_elements<Float16Source>(bytes, count, totals);
    case DType::bfloat16:
      return add_elements<BFloat16Source>(bytes, count, totals);
    case DType::int64:
      return add_elements<Int64Source>(bytes, count, totals);
    case DType::uint64:
      return add_elements<UInt64Source>(bytes, count, totals);
    case DType::int32:
      return add_elements<Int32Source>(bytes, count, totals);
    case DType::uint32:
      return add_elements<UInt32Source>(bytes, count, totals);
    case DType::int16:
      return add_small_integers<Int16Source>(bytes, count, totals);
    case DType::uint16:
      return add_small_integers<UInt16Source>(bytes, count, totals);
    case DType::int8:
      return add_small_integers<Int8Source>(bytes, count, totals);
    case DType::uint8:
      return add_small_integers<UInt8Source>(bytes, count, totals);
    case DType::bool8:
      return add_small_integers<BoolSource>(bytes, count, totals);
    case DType::complex32:
      return add_elements<Complex32Source>(bytes, count, totals);
    case DType::complex64:
      return add_elements<Complex64Source>(bytes, count, totals);
    case DType::complex128:
      return add_elements<Complex128Source>(bytes, count, totals);
    default:
      assert(false && "a dtype without vector code");
  }
}

void compare_dense_elements(DType dtype, const std::uint8_t* older, const std::uint8_t* newer, std::size_t count,
                            DenseDifference& totals) {
  switch (dtype) {
    case DType::float64:
      return compare_elements<Float64Source>(older, newer, count, totals);
    case DType::float32:
      return compare_elements<Float32Source>(older, newer, count, totals);
    case DType::float16:
      return compare_elements<Float16Source>(older, newer, count, totals);
    case DType::bfloat16:
      return compare_elements<BFloat16Source>(older, newer, count, totals);
    case DType::int64:
      return compare_elements<Int64Source>(older, newer, count, totals);
    case DType::uint64:
      return compare_elements<UInt64Source>(older, newer, count, totals);
    case DType::int32:
      return compare_elements<Int32Source>(older, newer, count, totals);
    case DType::uint32:
      return compare_elements<UInt32Source>(older, newer, count, totals);
    default:
      assert(false && "a dtype without vector code");
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tenon
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tenon {

HWY_EXPORT(add_dense_elements);
HWY_EXPORT(compare_dense_elements);

void add_dense_difference(DType dtype, const std::byte* older, const std::byte* newer, std::size_t count,
                          DenseDifference& totals) noexcept {
  assert(has_difference_kernel(dtype));
  HWY_DYNAMIC_DISPATCH(compare_dense_elements)
  (dtype, reinterpret_cast<const std::uint8_t*>(older), reinterpret_cast<const std::uint8_t*>(newer), count, totals);
}

bool has_difference_kernel(DType dtype) noexcept {
  switch (dtype) {
    case DType::float64:
    case DType::float32:
    case DType::float16:
    case DType::bfloat16:
    case DType::int64:
    case DType::uint64:
    case DType::int32:
    case DType::uint32:
      return true;
    default:
      return false;
  }
}

void add_dense(DType dtype, const std::byte* bytes, std::size_t count, ValueTotals& totals) noexcept {
  assert(has_vector_kernel(dtype));
  assert(count <= std::size_t{1} << 30);  // lanes that count have 32 bits
  HWY_DYNAMIC_DISPATCH(add_dense_elements)(dtype, reinterpret_cast<const std::uint8_t*>(bytes), count, totals);
}

bool has_vector_kernel(DType dtype) noexcept {
  switch (dtype) {
    case DType::uint8:
    case DType::int8:
    case DType::int16:
    case DType::int32:
    case DType::int64:
    case DType::float16:
    case DType::float32:
    case DType::float64:
    case DType::complex32:
    case DType::complex64:
    case DType::complex128:
    case DType::bool8:
    case DType::bfloat16:
    case DType::uint16:
    case DType::uint32:
    case DType::uint64:
      return true;
    default:
      return false;
  }
}

}  // namespace tenon
#endif  // HWY_ONCE
