#include "tools/elements.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>

#include "tenon/error.h"
#include "tenon/slice.h"
#include "tools/text.h"

namespace tenon::tools {
namespace {

template <typename T>
T load(const std::byte* at) noexcept {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// What an exponent field of all ones means.
enum class Top : std::uint8_t {
  ieee,          // infinity, or nan where the mantissa is not zero
  nan_only,      // nan where the mantissa is all ones, too; else a value like any other
  finite,        // a value like any other
  negative_zero  // likewise; nan is what would be negative zero
};

struct SmallFloat {
  unsigned exponent_bits;
  unsigned mantissa_bits;
  int bias;
  Top top;
};

constexpr SmallFloat half = {5, 10, 15, Top::ieee};
constexpr SmallFloat e5m2 = {5, 2, 15, Top::ieee};
constexpr SmallFloat e4m3fn = {4, 3, 7, Top::nan_only};
constexpr SmallFloat e5m2fnuz = {5, 2, 16, Top::negative_zero};
constexpr SmallFloat e4m3fnuz = {4, 3, 8, Top::negative_zero};
constexpr SmallFloat e2m1 = {2, 1, 1, Top::finite};

double decode_small(const SmallFloat& format, unsigned bits) noexcept {
  const unsigned mantissa_mask = (1u << format.mantissa_bits) - 1;
  const unsigned exponent_mask = (1u << format.exponent_bits) - 1;
  const unsigned mantissa = bits & mantissa_mask;
  const unsigned exponent = (bits >> format.mantissa_bits) & exponent_mask;
  const bool negative = ((bits >> (format.mantissa_bits + format.exponent_bits)) & 1u) != 0;
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  if (format.top == Top::negative_zero && negative && mantissa == 0 && exponent == 0) return nan;
  if (format.top == Top::nan_only && exponent == exponent_mask && mantissa == mantissa_mask) return nan;
  double value = 0;
  if (format.top == Top::ieee && exponent == exponent_mask) {
    value = mantissa == 0 ? std::numeric_limits<double>::infinity() : nan;
  } else {
    const unsigned significand = exponent == 0 ? mantissa : mantissa | (1u << format.mantissa_bits);
    const int scale = (exponent == 0 ? 1 : static_cast<int>(exponent)) - format.bias;
    value = std::ldexp(significand, scale - static_cast<int>(format.mantissa_bits));
  }
  return negative ? -value : value;
}

double decode_bfloat16(std::uint16_t bits) noexcept { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

// A power of two without sign or mantissa.
double decode_e8m0(std::uint8_t bits) noexcept {
  return bits == 0xFF ? std::numeric_limits<double>::quiet_NaN() : std::ldexp(1.0, int{bits} - 127);
}

Value integer_value(std::int64_t integer) { return {.kind = ValueKind::integer, .integer = integer}; }
Value natural_value(std::uint64_t natural) { return {.kind = ValueKind::natural, .natural = natural}; }
Value real_value(double real) { return {.kind = ValueKind::real32, .real = real}; }

Value packed_value(const std::byte* at, unsigned shift, unsigned mask) {
  return natural_value((static_cast<unsigned>(*at) >> shift) & mask);
}

Value decode_integer(DType dtype, const std::byte* at) noexcept {
  switch (item_bytes(dtype)) {
    case 1:
      return dtype == DType::uint8 || (dtype >= DType::uint1 && dtype <= DType::uint7)
                 ? natural_value(load<std::uint8_t>(at))
                 : integer_value(load<std::int8_t>(at));
    case 2:
      return dtype == DType::uint16 ? natural_value(load<std::uint16_t>(at)) : integer_value(load<std::int16_t>(at));
    case 4:
      return dtype == DType::uint32 ? natural_value(load<std::uint32_t>(at)) : integer_value(load<std::int32_t>(at));
    default:
      return dtype == DType::uint64 ? natural_value(load<std::uint64_t>(at)) : integer_value(load<std::int64_t>(at));
  }
}

void append_real(std::string& text, double value, bool is_single, Notation notation) {
  const bool quoted = notation == Notation::json && !std::isfinite(value);
  std::string digits = is_single ? fmt::format("{}", static_cast<float>(value)) : fmt::format("{}", value);
  if (std::isnan(value)) digits = "nan";  // its sign says nothing
  if (digits.find_first_of(".en") == std::string::npos) digits += ".0";
  text += quoted ? fmt::format("\"{}\"", digits) : digits;
}

void append_complex(std::string& text, const Value& value, bool is_single, Notation notation) {
  const bool json = notation == Notation::json;
  text += json ? '[' : '(';
  append_real(text, value.real, is_single, notation);
  if (json) {
    text += ", ";
  } else if (!std::signbit(value.imag) || std::isnan(value.imag)) {
    text += '+';
  }
  append_real(text, value.imag, is_single, notation);
  text += json ? "]" : "j)";
}

Value apply_flags(Value value, bool is_conj, bool is_neg) noexcept {
  if (is_conj) value.imag = -value.imag;
  if (!is_neg) return value;
  value.real = -value.real;
  value.imag = -value.imag;
  value.integer = static_cast<std::int64_t>(-static_cast<std::uint64_t>(value.integer));
  return value;
}

// Flips the sign of each float of `part_bytes` in [begin, end).
void flip_signs(std::span<std::byte> floats, std::size_t part_bytes) noexcept {
  for (std::size_t at = part_bytes - 1; at < floats.size(); at += part_bytes) floats[at] ^= std::byte{0x80};
}

}  // namespace

Value decode(DType dtype, const std::byte* at, unsigned shift) noexcept {
  const auto byte = static_cast<std::uint8_t>(*at);
  switch (dtype) {
    case DType::bool8:
      return {.kind = ValueKind::boolean, .natural = byte != 0};
    case DType::float16:
      return real_value(decode_small(half, load<std::uint16_t>(at)));
    case DType::bfloat16:
      return real_value(decode_bfloat16(load<std::uint16_t>(at)));
    case DType::float32:
      return real_value(load<float>(at));
    case DType::float64:
      return {.kind = ValueKind::real64, .real = load<double>(at)};
    case DType::float8_e5m2:
      return real_value(decode_small(e5m2, byte));
    case DType::float8_e4m3fn:
      return real_value(decode_small(e4m3fn, byte));
    case DType::float8_e5m2fnuz:
      return real_value(decode_small(e5m2fnuz, byte));
    case DType::float8_e4m3fnuz:
      return real_value(decode_small(e4m3fnuz, byte));
    case DType::float8_e8m0fnu:
      return real_value(decode_e8m0(byte));
    case DType::float4_e2m1fn_x2:
      return {.kind = ValueKind::pair, .real = decode_small(e2m1, byte & 15u), .imag = decode_small(e2m1, byte >> 4u)};
    case DType::complex32:
      return {.kind = ValueKind::complex32,
              .real = decode_small(half, load<std::uint16_t>(at)),
              .imag = decode_small(half, load<std::uint16_t>(at + 2))};
    case DType::complex64:
      return {.kind = ValueKind::complex32, .real = load<float>(at), .imag = load<float>(at + 4)};
    case DType::complex128:
      return {.kind = ValueKind::complex64, .real = load<double>(at), .imag = load<double>(at + 8)};
    case DType::quint8:
      return natural_value(byte);
    case DType::quint4x2:
      return packed_value(at, shift, 15);
    case DType::quint2x4:
      return packed_value(at, shift, 3);
    case DType::bits1x8:
    case DType::bits2x4:
    case DType::bits4x2:
    case DType::bits8:
      return {.kind = ValueKind::bits8, .natural = byte};
    case DType::bits16:
      return {.kind = ValueKind::bits16, .natural = load<std::uint16_t>(at)};
    default:
      return decode_integer(dtype, at);  // int, uint, qint8 and qint32
  }
}

void append(std::string& text, const Value& value, Notation notation) {
  const char* quote = notation == Notation::json ? "\"" : "";
  switch (value.kind) {
    case ValueKind::boolean:
      text += value.natural != 0 ? "true" : "false";
      break;
    case ValueKind::integer:
      text += fmt::format("{}", value.integer);
      break;
    case ValueKind::natural:
      text += fmt::format("{}", value.natural);
      break;
    case ValueKind::real32:
      append_real(text, value.real, true, notation);
      break;
    case ValueKind::real64:
      append_real(text, value.real, false, notation);
      break;
    case ValueKind::complex32:
      append_complex(text, value, true, notation);
      break;
    case ValueKind::complex64:
      append_complex(text, value, false, notation);
      break;
    case ValueKind::bits8:
      text += fmt::format("{0}0x{1:02x}{0}", quote, value.natural);
      break;
    case ValueKind::bits16:
      text += fmt::format("{0}0x{1:04x}{0}", quote, value.natural);
      break;
    case ValueKind::pair:
      append_complex(text, value, true, Notation::json);
      break;
  }
}

std::optional<double> magnitude(const Value& value, DType dtype) noexcept {
  const DTypeClass kind = dtype_info(dtype).kind;
  if (kind == DTypeClass::quantized || kind == DTypeClass::bits) return std::nullopt;
  switch (value.kind) {
    case ValueKind::boolean:
    case ValueKind::natural:
      return static_cast<double>(value.natural);
    case ValueKind::integer:
      return static_cast<double>(value.integer);
    case ValueKind::real32:
    case ValueKind::real64:
      return value.real;
    case ValueKind::complex32:
    case ValueKind::complex64:
      // hypot calls (inf, nan) infinite; here a nan in either part counts as one.
      if (std::isnan(value.real) || std::isnan(value.imag)) return std::numeric_limits<double>::quiet_NaN();
      return std::hypot(value.real, value.imag);
    default:
      return std::nullopt;
  }
}

Selection::Selection(const TensorRow& row)
    : dtype_(row.dtype),
      is_conj_(row.is_conj),
      is_neg_(row.is_neg),
      offset_bytes_(row.storage_offset_bytes),
      shape_(row.shape.begin(), row.shape.end()),
      stride_(row.stride.begin(), row.stride.end()) {}

void Selection::slice(std::string_view text) {
  const std::vector<SliceRange> ranges = parse_slice(text, shape_);
  std::vector<std::int64_t> shape, stride;
  std::uint64_t first = first_;
  for (std::size_t d = 0; d < ranges.size(); ++d) {
    if (count() > 0) first += static_cast<std::uint64_t>(ranges[d].start) * static_cast<std::uint64_t>(stride_[d]);
    if (ranges[d].is_index) continue;
    shape.push_back(ranges[d].count);
    // A step beyond the extent selects one element, whose stride does not matter and could overflow.
    stride.push_back(ranges[d].count > 1 ? stride_[d] * ranges[d].step : stride_[d]);
  }
  shape_ = std::move(shape);
  stride_ = std::move(stride);
  const std::uint64_t bits = dtype_info(dtype_).bits;
  const std::uint64_t first_bit = first * bits;
  offset_bytes_ += first_bit / 8;
  first_ = first_bit % 8 / bits;
  is_whole_ = false;
}

std::uint64_t Selection::count() const noexcept {
  std::uint64_t count = 1;
  for (std::int64_t extent : shape_) count *= static_cast<std::uint64_t>(extent);
  return count;
}

ByteRange Selection::byte_range(std::uint64_t slot_bytes) const {
  if (std::find(shape_.begin(), shape_.end(), 0) != shape_.end()) return {};
  std::uint64_t last = first_;
  bool overflow = shape_.size() != stride_.size();
  for (std::size_t d = 0; !overflow && d < shape_.size(); ++d) {
    std::uint64_t reach = 0;
    overflow = shape_[d] < 0 || stride_[d] < 0 ||
               __builtin_mul_overflow(static_cast<std::uint64_t>(shape_[d] - 1), static_cast<std::uint64_t>(stride_[d]),
                                      &reach) ||
               __builtin_add_overflow(last, reach, &last);
  }
  std::uint64_t end = 0;  // of the last element, first in bits
  overflow = overflow || last == UINT64_MAX || __builtin_mul_overflow(last + 1, dtype_info(dtype_).bits, &end) ||
             end > UINT64_MAX - 7;
  end = (end + 7) / 8;
  if (overflow || offset_bytes_ > slot_bytes || end > slot_bytes - offset_bytes_) {
    throw Error(ErrorKind::corrupt, {.what = "a tensor reaches outside of its storage",
                                     .got = fmt::format("offset {}, shape {}, stride {}", offset_bytes_,
                                                        format_shape(shape_), format_shape(stride_)),
                                     .wanted = fmt::format("at most {} bytes", slot_bytes)});
  }
  return {offset_bytes_, offset_bytes_ + end};
}

bool Selection::is_stored_run() const noexcept {
  if (is_conj_ || is_neg_ || first_ != 0 || !is_contiguous(shape_, stride_)) return false;
  return is_whole_ || count() * dtype_info(dtype_).bits % 8 == 0;
}

Value Elements::at(std::int64_t offset) const noexcept {
  const std::uint64_t bit = (selection_.first() + static_cast<std::uint64_t>(offset)) * dtype_info(dtype()).bits;
  assert(bit / 8 + item_bytes(dtype()) <= bytes_.size());
  const Value stored = decode(dtype(), bytes_.data() + bit / 8, static_cast<unsigned>(bit % 8));
  return apply_flags(stored, selection_.is_conj(), selection_.is_neg());
}

std::int64_t Elements::offset_of(std::uint64_t index) const noexcept {
  std::int64_t offset = 0;
  for (std::size_t d = shape().size(); d-- > 0;) {
    const auto extent = static_cast<std::uint64_t>(shape()[d]);
    offset += static_cast<std::int64_t>(index % extent) * stride()[d];
    index /= extent;
  }
  return offset;
}

void Elements::append_raw(std::vector<std::byte>& out, std::int64_t offset) const {
  const DTypeInfo& info = dtype_info(dtype());
  if (info.bits < 8) {
    throw Error(ErrorKind::unsupported,
                {.what = "packed elements have raw bytes only as a whole", .got = std::string(info.name)});
  }
  const bool is_complex = info.kind == DTypeClass::complex;
  if (selection_.is_neg() && !is_complex && info.kind != DTypeClass::floating) {
    throw Error(ErrorKind::unsupported,
                {.what = "raw bytes of negated elements of this type", .got = std::string(info.name)});
  }
  const std::size_t size = item_bytes(dtype());
  const auto element = bytes_.subspan(static_cast<std::uint64_t>(offset) * size, size);
  out.insert(out.end(), element.begin(), element.end());
  const auto copy = std::span(out).last(size);
  if (selection_.is_conj() && is_complex) flip_signs(copy.last(size / 2), size / 2);
  if (selection_.is_neg()) flip_signs(copy, is_complex ? size / 2 : size);
}

void Odometer::next() noexcept {
  for (std::size_t d = shape_.size(); d-- > 0;) {
    if (++index_[d] < shape_[d]) {
      offset_ += stride_[d];
      return;
    }
    offset_ -= (shape_[d] - 1) * stride_[d];
    index_[d] = 0;
  }
}

}  // namespace tenon::tools
