// How elements of every type become vectors of doubles or floats: included by the files that have code for vectors, once
// for each instruction set, after hwy/highway.h. Empty where there are no vectors.
#if defined(TENON_STORE_VALUE_VECTORS) == defined(HWY_TARGET_TOGGLE)
#ifdef TENON_STORE_VALUE_VECTORS
#undef TENON_STORE_VALUE_VECTORS
#else
#define TENON_STORE_VALUE_VECTORS
#endif

#include <cstdint>
#include <type_traits>

#include "store/value_elements.h"

#if HWY_TARGET != HWY_SCALAR

HWY_BEFORE_NAMESPACE();
namespace tenon {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

const hn::ScalableTag<double> d64;
const hn::ScalableTag<float> d32;
const hn::ScalableTag<std::int16_t> d16;
const hn::Half<decltype(d32)> d32_half;
const hn::Rebind<hwy::float16_t, decltype(d32)> d_f16;
const hn::RebindToUnsigned<decltype(d64)> d_u64;
const hn::RebindToSigned<decltype(d64)> d_i64;
const hn::RebindToUnsigned<decltype(d32)> d_u32;
const hn::RebindToSigned<decltype(d32)> d_i32;
const hn::RebindToUnsigned<decltype(d16)> d_u16;

using Double = hn::Vec<decltype(d64)>;
using Single = hn::Vec<decltype(d32)>;
using Short = hn::Vec<decltype(d16)>;

template <typename Vector>
HWY_INLINE std::size_t lanes() {
  return std::is_same_v<Vector, Single> ? hn::Lanes(d32) : hn::Lanes(d64);
}

template <typename D>
HWY_INLINE auto load(D d, const std::uint8_t* bytes) {
  return hn::LoadU(d, reinterpret_cast<const hn::TFromD<D>*>(bytes));
}

HWY_INLINE Double lower_doubles(Single v) { return hn::PromoteTo(d64, hn::LowerHalf(d32_half, v)); }
HWY_INLINE Double upper_doubles(Single v) { return hn::PromoteTo(d64, hn::UpperHalf(d32_half, v)); }

// Sources: how two vectors of values come out of bytes, and one value out of an element. `load` reads
// 2 * lanes<Vector>() elements, in any order that depends on the type alone.

struct Float64Source : PlainElement<double> {
  using Vector = Double;
  static HWY_INLINE void load(const std::uint8_t* bytes, Double& a, Double& b) {
    a = HWY_NAMESPACE::load(d64, bytes);
    b = HWY_NAMESPACE::load(d64, bytes + hn::Lanes(d64) * sizeof(double));
  }
};

struct Float32Source : PlainElement<float> {
  using Vector = Single;
  static HWY_INLINE void load(const std::uint8_t* bytes, Single& a, Single& b) {
    a = HWY_NAMESPACE::load(d32, bytes);
    b = HWY_NAMESPACE::load(d32, bytes + hn::Lanes(d32) * sizeof(float));
  }
};

// Highway emulates this conversion on processors that lack it, but not for infinities and NaNs.
HWY_INLINE Single promote_halves(hn::Vec<decltype(d_f16)> halves) {
#if HWY_TARGET == HWY_SSSE3 || HWY_TARGET == HWY_SSE4
  const hn::Rebind<std::uint16_t, decltype(d32)> d_bits;
  const auto bits = hn::PromoteTo(d_u32, hn::BitCast(d_bits, halves));
  const auto magnitude = hn::ShiftLeft<13>(hn::And(bits, hn::Set(d_u32, 0x7FFF)));
  const auto sign = hn::ShiftLeft<16>(hn::And(bits, hn::Set(d_u32, 0x8000)));
  const auto is_finite = hn::Lt(hn::BitCast(d_i32, magnitude), hn::Set(d_i32, 0x7C00 << 13));
  const Single finite = hn::Mul(hn::BitCast(d32, magnitude), hn::Set(d32, 0x1p112F));
  const Single other = hn::BitCast(d32, hn::Or(magnitude, hn::Set(d_u32, 0x7F800000)));
  const Single value = hn::IfThenElse(hn::RebindMask(d32, is_finite), finite, other);
  return hn::Or(value, hn::BitCast(d32, sign));
#else
  return hn::PromoteTo(d32, halves);
#endif
}

struct Float16Source : Float16Element {
  using Vector = Single;
  static HWY_INLINE void load(const std::uint8_t* bytes, Single& a, Single& b) {
    a = promote_halves(HWY_NAMESPACE::load(d_f16, bytes));
    b = promote_halves(HWY_NAMESPACE::load(d_f16, bytes + hn::Lanes(d_f16) * sizeof(Stored)));
  }
};

// A bfloat16 is the upper half of a float: elements at even places, then those at odd ones.
struct BFloat16Source : BFloat16Element {
  using Vector = Single;
  static HWY_INLINE void load(const std::uint8_t* bytes, Single& a, Single& b) {
    const auto pairs = HWY_NAMESPACE::load(d_u32, bytes);
    a = hn::BitCast(d32, hn::ShiftLeft<16>(pairs));
    b = hn::BitCast(d32, hn::And(pairs, hn::Set(d_u32, 0xFFFF0000u)));
  }
};

struct Int32Source : PlainElement<std::int32_t> {
  using Vector = Double;
  static HWY_INLINE void load(const std::uint8_t* bytes, Double& a, Double& b) {
    const auto v = HWY_NAMESPACE::load(d_i32, bytes);
    const hn::Half<decltype(d_i32)> half;
    a = hn::PromoteTo(d64, hn::LowerHalf(half, v));
    b = hn::PromoteTo(d64, hn::UpperHalf(half, v));
  }
};

struct UInt32Source : PlainElement<std::uint32_t> {
  using Vector = Double;
  static HWY_INLINE void load(const std::uint8_t* bytes, Double& a, Double& b) {
    const hn::Half<decltype(d_i32)> half;
    const auto v = hn::BitCast(d_i32, hn::Xor(HWY_NAMESPACE::load(d_u32, bytes), hn::Set(d_u32, 0x80000000u)));
    const Double bias = hn::Set(d64, 0x1p31);
    a = hn::Add(hn::PromoteTo(d64, hn::LowerHalf(half, v)), bias);
    b = hn::Add(hn::PromoteTo(d64, hn::UpperHalf(half, v)), bias);
  }
};

struct Int64Source : PlainElement<std::int64_t> {
  using Vector = Double;
  static HWY_INLINE void load(const std::uint8_t* bytes, Double& a, Double& b) {
    a = hn::ConvertTo(d64, HWY_NAMESPACE::load(d_i64, bytes));
    b = hn::ConvertTo(d64, HWY_NAMESPACE::load(d_i64, bytes + hn::Lanes(d64) * sizeof(Stored)));
  }
};

struct UInt64Source : PlainElement<std::uint64_t> {
  using Vector = Double;
  // Both halves become mantissas of doubles with fixed exponents (2^84 and 2^52); one rounding, in the last addition.
  static HWY_INLINE Double convert(hn::Vec<decltype(d_u64)> v) {
    const auto upper = hn::Or(hn::ShiftRight<32>(v), hn::Set(d_u64, 0x4530000000000000u));
    const auto lower = hn::Or(hn::And(v, hn::Set(d_u64, 0xFFFFFFFFu)), hn::Set(d_u64, 0x4330000000000000u));
    return hn::Add(hn::Sub(hn::BitCast(d64, upper), hn::Set(d64, 0x1p84 + 0x1p52)), hn::BitCast(d64, lower));
  }
  static HWY_INLINE void load(const std::uint8_t* bytes, Double& a, Double& b) {
    a = convert(HWY_NAMESPACE::load(d_u64, bytes));
    b = convert(HWY_NAMESPACE::load(d_u64, bytes + hn::Lanes(d64) * sizeof(Stored)));
  }
};

HWY_INLINE Double magnitude(Double real, Double imaginary) {
  return hn::Sqrt(hn::MulAdd(real, real, hn::Mul(imaginary, imaginary)));
}

HWY_INLINE void magnitudes(Single real, Single imaginary, Double& a, Double& b) {
  a = magnitude(lower_doubles(real), lower_doubles(imaginary));
  b = magnitude(upper_doubles(real), upper_doubles(imaginary));
}

struct Complex32Source : ComplexElement<Float16Element> {
  using Vector = Double;
  static HWY_INLINE Single promote(hn::Vec<decltype(d_u32)> v) {
    const hn::Rebind<std::uint16_t, decltype(d32)> d_bits;
    return promote_halves(hn::BitCast(d_f16, hn::TruncateTo(d_bits, v)));
  }
  static HWY_INLINE void load(const std::uint8_t* bytes, Double& a, Double& b) {
    const auto pairs = HWY_NAMESPACE::load(d_u32, bytes);
    magnitudes(promote(pairs), promote(hn::ShiftRight<16>(pairs)), a, b);
  }
};

struct Complex64Source : ComplexElement<PlainElement<float>> {
  using Vector = Double;
  static HWY_INLINE void load(const std::uint8_t* bytes, Double& a, Double& b) {
    Single real, imaginary;
    hn::LoadInterleaved2(d32, reinterpret_cast<const float*>(bytes), real, imaginary);
    magnitudes(real, imaginary, a, b);
  }
};

struct Complex128Source : ComplexElement<PlainElement<double>> {
  using Vector = Double;
  // Squares of very large and very small parts leave the range of double, so those are scaled by a power of two first.
  static HWY_INLINE Double scaled_magnitude(Double real, Double imaginary) {
    const Double largest = hn::Max(hn::Abs(real), hn::Abs(imaginary));
    const auto is_large = hn::Gt(largest, hn::Set(d64, 0x1p500));
    const auto is_small = hn::Lt(largest, hn::Set(d64, 0x1p-400));
    const Double one = hn::Set(d64, 1.0);
    const Double large = hn::Set(d64, 0x1p600);
    const Double small = hn::Set(d64, 0x1p-600);
    const Double scale = hn::IfThenElse(is_large, small, hn::IfThenElse(is_small, large, one));
    const Double back = hn::IfThenElse(is_large, large, hn::IfThenElse(is_small, small, one));
    return hn::Mul(magnitude(hn::Mul(real, scale), hn::Mul(imaginary, scale)), back);
  }
  static HWY_INLINE Double load_one(const std::uint8_t* bytes) {
    Double real, imaginary;
    hn::LoadInterleaved2(d64, reinterpret_cast<const double*>(bytes), real, imaginary);
    return scaled_magnitude(real, imaginary);
  }
  static HWY_INLINE void load(const std::uint8_t* bytes, Double& a, Double& b) {
    a = load_one(bytes);
    b = load_one(bytes + hn::Lanes(d64) * sizeof(Stored));
  }
};

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace tenon
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET
#endif  // TENON_STORE_VALUE_VECTORS
