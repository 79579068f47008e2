// Every block of 16 KiB is summed in lanes of doubles (small integers: exactly, as integers), and the blocks' sums are
// added with compensation. A block looks for no NaN: it shows in the sum, and the block is read again with care.
//
// This file is compiled once per instruction set; what is needed only once stands under HWY_ONCE at its end.
#include "query/summary_kernels.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>

#include "store/value_elements.h"
#include "store/value_statistics.h"

// Totals are structs of vectors, which vectors of unknown length cannot be.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "query/summary_kernels.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which it depends on.
#include <hwy/highway.h>

#include "store/value_vectors.inl"

#ifndef TENON_QUERY_SUMMARY_BLOCKS
#define TENON_QUERY_SUMMARY_BLOCKS
namespace tenon::summary_kernels {

inline constexpr std::size_t block_bytes = 16 * 1024;  // stays in the first-level cache for a second look

template <typename Source>
double value_at(const std::uint8_t* bytes, std::size_t index) {
  typename Source::Stored stored;
  std::memcpy(&stored, bytes + index * sizeof stored, sizeof stored);
  return Source::value(stored);
}

template <typename Source>
void add_magnitudes_with_care(const std::uint8_t* bytes, std::size_t count, CompensatedSum& sum) {
  for (std::size_t i = 0; i < count; ++i) {
    const double value = value_at<Source>(bytes, i);
    if (!std::isnan(value)) sum.add(std::abs(value));
  }
}

// `parts` reals make an element: 2 of a complex one. `count` counts the reals.
template <typename Source, std::size_t parts>
void multiply_with_care(const std::uint8_t* a, const std::uint8_t* b, std::size_t count, ProductTotals& totals) {
  for (std::size_t i = 0; i < count; i += parts) {
    std::array<double, parts> values_a, values_b;
    bool is_nan = false;
    for (std::size_t part = 0; part < parts; ++part) {
      values_a[part] = value_at<Source>(a, i + part);
      values_b[part] = value_at<Source>(b, i + part);
      is_nan = is_nan || std::isnan(values_a[part]) || std::isnan(values_b[part]);
    }
    for (std::size_t part = 0; part < parts && !is_nan; ++part) {
      totals.dot.add(values_a[part] * values_b[part]);
      totals.squares_a.add(values_a[part] * values_a[part]);
      totals.squares_b.add(values_b[part] * values_b[part]);
    }
  }
}

}  // namespace tenon::summary_kernels
#endif  // TENON_QUERY_SUMMARY_BLOCKS

HWY_BEFORE_NAMESPACE();
namespace tenon {
namespace HWY_NAMESPACE {
namespace {

using namespace summary_kernels;

#if HWY_TARGET == HWY_SCALAR  // a processor without vectors

using Float64Source = PlainElement<double>;
using Float32Source = PlainElement<float>;
using Float16Source = Float16Element;
using BFloat16Source = BFloat16Element;
using Int64Source = PlainElement<std::int64_t>;
using UInt64Source = PlainElement<std::uint64_t>;
using Int32Source = PlainElement<std::int32_t>;
using UInt32Source = PlainElement<std::uint32_t>;
using Complex32Source = ComplexElement<Float16Element>;
using Complex64Source = ComplexElement<PlainElement<float>>;
using Complex128Source = ComplexElement<PlainElement<double>>;

template <typename Source>
void add_magnitudes(const std::uint8_t* bytes, std::size_t count, CompensatedSum& sum) {
  add_magnitudes_with_care<Source>(bytes, count, sum);
}

template <typename Source, std::size_t parts = 1>
void multiply(const std::uint8_t* a, const std::uint8_t* b, std::size_t count, ProductTotals& totals) {
  multiply_with_care<Source, parts>(a, b, count, totals);
}

template <typename Stored>
struct SmallSource : PlainElement<Stored> {};
using SmallBoolSource = BoolElement;

template <typename Source>
void add_small_magnitudes(const std::uint8_t* bytes, std::size_t count, CompensatedSum& sum) {
  add_magnitudes_with_care<Source>(bytes, count, sum);
}

#else

HWY_INLINE double lane_sum(Double v) { return hn::GetLane(hn::SumOfLanes(d64, v)); }

// The constructors are written out because GCC compiles implicit ones without the instruction set of their target.

struct MagnitudeLanes {
  Double lower = hn::Zero(d64);
  Double upper = hn::Zero(d64);

  MagnitudeLanes() {}
  HWY_INLINE void add(Double v) { lower = hn::Add(lower, hn::Abs(v)); }
  HWY_INLINE void add(Single v) {
    const Single magnitude = hn::Abs(v);
    lower = hn::Add(lower, lower_doubles(magnitude));
    upper = hn::Add(upper, upper_doubles(magnitude));
  }
  HWY_INLINE Double sum() const { return hn::Add(lower, upper); }
};

// Calls block(begin, end) over whole steps of two vectors, in elements; returns where these end.
template <typename Source, typename Block>
HWY_INLINE std::size_t for_each_block(std::size_t count, const Block& block) {
  constexpr std::size_t block_items = block_bytes / sizeof(typename Source::Stored);
  const std::size_t step = 2 * lanes<typename Source::Vector>();
  const std::size_t whole = count / step * step;
  for (std::size_t begin = 0; begin < whole; begin += block_items) block(begin, std::min(whole, begin + block_items));
  return whole;
}

template <typename Source>
void add_magnitudes(const std::uint8_t* bytes, std::size_t count, CompensatedSum& sum) {
  constexpr std::size_t item = sizeof(typename Source::Stored);
  const std::size_t step = 2 * lanes<typename Source::Vector>();
  const std::size_t whole = for_each_block<Source>(count, [&](std::size_t begin, std::size_t end) {
    MagnitudeLanes lanes_a, lanes_b;  // two, so that one addition need not wait for the other
    for (std::size_t i = begin; i < end; i += step) {
      typename Source::Vector a, b;
      Source::load(bytes + i * item, a, b);
      lanes_a.add(a);
      lanes_b.add(b);
    }
    const double block = lane_sum(hn::Add(lanes_a.sum(), lanes_b.sum()));
    if (std::isfinite(block)) return sum.add(block);
    add_magnitudes_with_care<Source>(bytes + begin * item, end - begin, sum);
  });
  add_magnitudes_with_care<Source>(bytes + whole * item, count - whole, sum);
}

struct ProductLanes {
  Double dot = hn::Zero(d64);
  Double squares_a = hn::Zero(d64);
  Double squares_b = hn::Zero(d64);

  ProductLanes() {}
  HWY_INLINE void add(Double a, Double b) {
    dot = hn::MulAdd(a, b, dot);
    squares_a = hn::MulAdd(a, a, squares_a);
    squares_b = hn::MulAdd(b, b, squares_b);
  }
  HWY_INLINE void add(Single a, Single b) {
    add(lower_doubles(a), lower_doubles(b));
    add(upper_doubles(a), upper_doubles(b));
  }
};

template <typename Source, std::size_t parts = 1>
void multiply(const std::uint8_t* a, const std::uint8_t* b, std::size_t count, ProductTotals& totals) {
  constexpr std::size_t item = sizeof(typename Source::Stored);
  const std::size_t step = 2 * lanes<typename Source::Vector>();
  const std::size_t whole = for_each_block<Source>(count, [&](std::size_t begin, std::size_t end) {
    ProductLanes lanes_a, lanes_b;
    for (std::size_t i = begin; i < end; i += step) {
      typename Source::Vector first_a, second_a, first_b, second_b;
      Source::load(a + i * item, first_a, second_a);
      Source::load(b + i * item, first_b, second_b);
      lanes_a.add(first_a, first_b);
      lanes_b.add(second_a, second_b);
    }
    const double dot = lane_sum(hn::Add(lanes_a.dot, lanes_b.dot));
    const double squares_a = lane_sum(hn::Add(lanes_a.squares_a, lanes_b.squares_a));
    const double squares_b = lane_sum(hn::Add(lanes_a.squares_b, lanes_b.squares_b));
    if (!std::isfinite(squares_a + squares_b)) {
      return multiply_with_care<Source, parts>(a + begin * item, b + begin * item, end - begin, totals);
    }
    totals.dot.add(dot);
    totals.squares_a.add(squares_a);
    totals.squares_b.add(squares_b);
  });
  multiply_with_care<Source, parts>(a + whole * item, b + whole * item, count - whole, totals);
}

// Small integers: a vector of bytes, and the sums of their magnitudes in lanes of 64 bits.

const hn::ScalableTag<std::uint8_t> d_u8;
const hn::RebindToSigned<decltype(d_u8)> d_i8;

template <typename Stored>
struct SmallSource : PlainElement<Stored> {};

template <>
struct SmallSource<std::uint8_t> : PlainElement<std::uint8_t> {
  static HWY_INLINE auto sums(const std::uint8_t* bytes) { return hn::SumsOf8(load(d_u8, bytes)); }
};

template <>
struct SmallSource<std::int8_t> : PlainElement<std::int8_t> {
  // The magnitude of -128 is right as an unsigned byte.
  static HWY_INLINE auto sums(const std::uint8_t* bytes) {
    return hn::SumsOf8(hn::BitCast(d_u8, hn::Abs(load(d_i8, bytes))));
  }
};

struct SmallBoolSource : BoolElement {
  static HWY_INLINE auto sums(const std::uint8_t* bytes) {
    return hn::SumsOf8(hn::Min(load(d_u8, bytes), hn::Set(d_u8, 1)));
  }
};

template <typename Lanes>
HWY_INLINE auto sums_of_shorts(Lanes shorts) {
  const auto words = hn::BitCast(d_u64, shorts);
  const auto mask = hn::Set(d_u64, 0x0000FFFF0000FFFFu);
  const auto pairs = hn::Add(hn::And(words, mask), hn::And(hn::ShiftRight<16>(words), mask));
  return hn::Add(hn::And(pairs, hn::Set(d_u64, 0xFFFFFFFFu)), hn::ShiftRight<32>(pairs));
}

template <>
struct SmallSource<std::uint16_t> : PlainElement<std::uint16_t> {
  static HWY_INLINE auto sums(const std::uint8_t* bytes) { return sums_of_shorts(load(d_u16, bytes)); }
};

template <>
struct SmallSource<std::int16_t> : PlainElement<std::int16_t> {
  static HWY_INLINE auto sums(const std::uint8_t* bytes) { return sums_of_shorts(hn::Abs(load(d16, bytes))); }
};

template <typename Source>
void add_small_magnitudes(const std::uint8_t* bytes, std::size_t count, CompensatedSum& sum) {
  constexpr std::size_t item = sizeof(typename Source::Stored);
  const std::size_t step = hn::Lanes(d_u8) / item;
  const std::size_t whole = count / step * step;
  auto sums = hn::Zero(d_u64);
  for (std::size_t i = 0; i < whole; i += step) sums = hn::Add(sums, Source::sums(bytes + i * item));
  HWY_ALIGN std::array<std::uint64_t, hn::MaxLanes(decltype(d_u64)())> parts;
  hn::Store(sums, d_u64, parts.data());
  for (std::size_t i = 0; i < hn::Lanes(d_u64); ++i) sum.add(static_cast<double>(parts[i]));
  add_magnitudes_with_care<Source>(bytes + whole * item, count - whole, sum);
}

#endif  // HWY_TARGET

}  // namespace

void add_magnitudes_of(DType dtype, const std::uint8_t* bytes, std::size_t count, CompensatedSum& sum) {
  switch (dtype) {
    case DType::float64:
      return add_magnitudes<Float64Source>(bytes, count, sum);
    case DType::float32:
      return add_magnitudes<Float32Source>(bytes, count, sum);
    case DType::float16:
      return add_magnitudes<Float16Source>(bytes, count, sum);
    case DType::bfloat16:
      return add_magnitudes<BFloat16Source>(bytes, count, sum);
    case DType::int64:
      return add_magnitudes<Int64Source>(bytes, count, sum);
    case DType::uint64:
      return add_magnitudes<UInt64Source>(bytes, count, sum);
    case DType::int32:
      return add_magnitudes<Int32Source>(bytes, count, sum);
    case DType::uint32:
      return add_magnitudes<UInt32Source>(bytes, count, sum);
    case DType::int16:
      return add_small_magnitudes<SmallSource<std::int16_t>>(bytes, count, sum);
    case DType::uint16:
      return add_small_magnitudes<SmallSource<std::uint16_t>>(bytes, count, sum);
    case DType::int8:
      return add_small_magnitudes<SmallSource<std::int8_t>>(bytes, count, sum);
    case DType::uint8:
      return add_small_magnitudes<SmallSource<std::uint8_t>>(bytes, count, sum);
    case DType::bool8:
      return add_small_magnitudes<SmallBoolSource>(bytes, count, sum);
    case DType::complex32:
      return add_magnitudes<Complex32Source>(bytes, count, sum);
    case DType::complex64:
      return add_magnitudes<Complex64Source>(bytes, count, sum);
    case DType::complex128:
      return add_magnitudes<Complex128Source>(bytes, count, sum);
    default:
      assert(false && "a dtype without vector code");
  }
}

void multiply_pairs_of(DType dtype, const std::uint8_t* a, const std::uint8_t* b, std::size_t count,
                       ProductTotals& totals) {
  switch (dtype) {
    case DType::float64:
      return multiply<Float64Source>(a, b, count, totals);
    case DType::float32:
      return multiply<Float32Source>(a, b, count, totals);
    case DType::float16:
      return multiply<Float16Source>(a, b, count, totals);
    case DType::bfloat16:
      return multiply<BFloat16Source>(a, b, count, totals);
    case DType::int64:
      return multiply<Int64Source>(a, b, count, totals);
    case DType::uint64:
      return multiply<UInt64Source>(a, b, count, totals);
    case DType::int32:
      return multiply<Int32Source>(a, b, count, totals);
    case DType::uint32:
      return multiply<UInt32Source>(a, b, count, totals);
    case DType::complex32:
      return multiply<Float16Source, 2>(a, b, 2 * count, totals);
    case DType::complex64:
      return multiply<Float32Source, 2>(a, b, 2 * count, totals);
    case DType::complex128:
      return multiply<Float64Source, 2>(a, b, 2 * count, totals);
    default:
      assert(false && "a dtype without vector code");
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tenon
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tenon {

namespace {

constexpr std::size_t expanded = 1024;  // elements that are made doubles at a time

const std::uint8_t* as_bytes(const std::byte* bytes) { return reinterpret_cast<const std::uint8_t*>(bytes); }

// One of 256 values each: how often each occurs is counted, in several tables, since increments of one counter wait for
// each other.
void add_float8_magnitudes(std::span<const double> values, std::span<const std::byte> bytes, CompensatedSum& sum) {
  std::array<std::array<std::uint32_t, 256>, 8> tables{};
  std::size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + at, sizeof word);
    for (unsigned lane = 0; lane < 8; ++lane) ++tables[lane][word >> (8 * lane) & 0xFF];
  }
  for (; at < bytes.size(); ++at) ++tables[0][std::to_integer<std::uint8_t>(bytes[at])];
  for (std::size_t byte = 0; byte < 256; ++byte) {
    std::uint64_t times = 0;
    for (const auto& table : tables) times += table[byte];
    if (times != 0 && !std::isnan(values[byte])) sum.add(std::abs(values[byte]) * static_cast<double>(times));
  }
}

template <typename Element>
void expand(const std::byte* bytes, std::size_t count, double* values) {
  for (std::size_t i = 0; i < count; ++i) values[i] = summary_kernels::value_at<Element>(as_bytes(bytes), i);
}

bool has_product_kernel(DType dtype) {
  switch (dtype) {
    case DType::int16:
    case DType::uint16:
    case DType::int8:
    case DType::uint8:
    case DType::bool8:
      return false;
    default:
      return float8_values(dtype).empty();
  }
}

}  // namespace

HWY_EXPORT(add_magnitudes_of);
HWY_EXPORT(multiply_pairs_of);

void add_magnitudes(DType dtype, const std::byte* bytes, std::size_t count, CompensatedSum& sum) noexcept {
  assert(has_statistics(dtype));
  const auto float8 = float8_values(dtype);
  if (!float8.empty()) return add_float8_magnitudes(float8, {bytes, count}, sum);
  HWY_DYNAMIC_DISPATCH(add_magnitudes_of)(dtype, as_bytes(bytes), count, sum);
}

void add_products(DType dtype, const std::byte* a, const std::byte* b, std::size_t count,
                  ProductTotals& totals) noexcept {
  assert(has_statistics(dtype));
  if (has_product_kernel(dtype)) {
    HWY_DYNAMIC_DISPATCH(multiply_pairs_of)(dtype, as_bytes(a), as_bytes(b), count, totals);
    return;
  }
  const std::size_t item = item_bytes(dtype);
  std::array<double, expanded> values_a, values_b;
  for (std::size_t at = 0; at < count; at += expanded) {
    const std::size_t some = std::min(expanded, count - at);
    expand_values(dtype, a + at * item, some, values_a.data());
    expand_values(dtype, b + at * item, some, values_b.data());
    HWY_DYNAMIC_DISPATCH(multiply_pairs_of)
    (DType::float64, reinterpret_cast<const std::uint8_t*>(values_a.data()),
     reinterpret_cast<const std::uint8_t*>(values_b.data()), some, totals);
  }
}

void expand_values(DType dtype, const std::byte* bytes, std::size_t count, double* values) noexcept {
  switch (dtype) {
    case DType::float64:
      return expand<PlainElement<double>>(bytes, count, values);
    case DType::float32:
      return expand<PlainElement<float>>(bytes, count, values);
    case DType::float16:
      return expand<Float16Element>(bytes, count, values);
    case DType::bfloat16:
      return expand<BFloat16Element>(bytes, count, values);
    case DType::int64:
      return expand<PlainElement<std::int64_t>>(bytes, count, values);
    case DType::uint64:
      return expand<PlainElement<std::uint64_t>>(bytes, count, values);
    case DType::int32:
    case DType::qint32:
      return expand<PlainElement<std::int32_t>>(bytes, count, values);
    case DType::uint32:
      return expand<PlainElement<std::uint32_t>>(bytes, count, values);
    case DType::int16:
      return expand<PlainElement<std::int16_t>>(bytes, count, values);
    case DType::uint16:
      return expand<PlainElement<std::uint16_t>>(bytes, count, values);
    case DType::int8:
    case DType::qint8:
      return expand<PlainElement<std::int8_t>>(bytes, count, values);
    case DType::uint8:
    case DType::quint8:
      return expand<PlainElement<std::uint8_t>>(bytes, count, values);
    case DType::bool8:
      return expand<BoolElement>(bytes, count, values);
    case DType::complex32:
      return expand<ComplexElement<Float16Element>>(bytes, count, values);
    case DType::complex64:
      return expand<ComplexElement<PlainElement<float>>>(bytes, count, values);
    case DType::complex128:
      return expand<ComplexElement<PlainElement<double>>>(bytes, count, values);
    default: {
      const auto float8 = float8_values(dtype);
      assert(!float8.empty());
      for (std::size_t i = 0; i < count; ++i) values[i] = float8[std::to_integer<std::uint8_t>(bytes[i])];
    }
  }
}

}  // namespace tenon
#endif  // HWY_ONCE
