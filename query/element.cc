#include "query/element.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "query/tensor_set.h"
#include "store/value_elements.h"
#include "store/value_statistics.h"

namespace tenon {

namespace {

enum class Sort : std::uint8_t { whole, natural, real, complex, bits };

struct Decoded {
  Sort sort = Sort::whole;
  std::int64_t integer = 0;
  std::uint64_t natural = 0;
  double real = 0;
  double imaginary = 0;
};

template <typename T>
T load(const std::byte* at) noexcept {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

template <typename T>
Decoded whole(const std::byte* at) {
  const T value = load<T>(at);
  if constexpr (std::is_signed_v<T>) {
    return {.sort = Sort::whole, .integer = value};
  } else {
    return {.sort = Sort::natural, .natural = value};
  }
}

Decoded real(double value) { return {.sort = Sort::real, .real = value}; }

// Whole bytes that hold one small integer: torch's shell types.
Decoded decode_integer(DType dtype, const std::byte* at) {
  const bool is_unsigned = dtype == DType::uint8 || dtype == DType::quint8 || dtype == DType::bool8 ||
                           (dtype >= DType::uint1 && dtype <= DType::uint7);
  switch (item_bytes(dtype)) {
    case 1:
      return is_unsigned ? whole<std::uint8_t>(at) : whole<std::int8_t>(at);
    case 2:
      return dtype == DType::uint16 ? whole<std::uint16_t>(at) : whole<std::int16_t>(at);
    case 4:
      return dtype == DType::uint32 ? whole<std::uint32_t>(at) : whole<std::int32_t>(at);
    default:
      return dtype == DType::uint64 ? whole<std::uint64_t>(at) : whole<std::int64_t>(at);
  }
}

// `shift`: the element's first bit in its byte, of packed types.
Decoded decode(DType dtype, const std::byte* at, unsigned shift) {
  const auto part = [&](std::size_t i, auto element) {
    return decltype(element)::value(load<typename decltype(element)::Stored>(at + i));
  };
  switch (dtype) {
    case DType::bool8:
      return {.sort = Sort::natural, .natural = static_cast<std::uint64_t>(*at != std::byte{0})};
    case DType::float16:
      return real(part(0, Float16Element{}));
    case DType::bfloat16:
      return real(part(0, BFloat16Element{}));
    case DType::float32:
      return real(static_cast<double>(load<float>(at)));
    case DType::float64:
      return real(load<double>(at));
    case DType::complex32:
      return {.sort = Sort::complex, .real = part(0, Float16Element{}), .imaginary = part(2, Float16Element{})};
    case DType::complex64:
      return {.sort = Sort::complex, .real = load<float>(at), .imaginary = load<float>(at + 4)};
    case DType::complex128:
      return {.sort = Sort::complex, .real = load<double>(at), .imaginary = load<double>(at + 8)};
    case DType::quint4x2:
      return {.sort = Sort::natural, .natural = std::to_integer<unsigned>(*at) >> shift & 15u};
    case DType::quint2x4:
      return {.sort = Sort::natural, .natural = std::to_integer<unsigned>(*at) >> shift & 3u};
    case DType::bits16:
      return {.sort = Sort::bits, .natural = load<std::uint16_t>(at)};
    default:
      break;
  }
  if (const auto values = float8_values(dtype); !values.empty()) return real(values[std::to_integer<unsigned>(*at)]);
  if (dtype_info(dtype).kind == DTypeClass::bits || dtype == DType::float4_e2m1fn_x2) {
    return {.sort = Sort::bits, .natural = std::to_integer<unsigned>(*at)};
  }
  return decode_integer(dtype, at);
}

Decoded decoded_at(const ElementReader& reader, std::span<const std::int64_t> index) {
  const StridedTensor& tensor = reader.values.tensor;
  std::int64_t offset = 0;
  for (std::size_t d = 0; d < index.size(); ++d) offset += index[d] * tensor.stride[d];
  const std::uint64_t bits = dtype_info(tensor.dtype).bits;
  const std::uint64_t first_bit = static_cast<std::uint64_t>(offset) * (bits < 8 ? bits : item_bytes(tensor.dtype) * 8);
  Decoded value = decode(tensor.dtype, tensor.data + first_bit / 8, static_cast<unsigned>(first_bit % 8));
  if (const auto& scales = reader.values.scales; !scales.empty()) {
    const std::size_t at = scales.size() == 1 ? 0 : static_cast<std::size_t>(index[reader.values.axis]);
    const double stored =
        value.sort == Sort::whole ? static_cast<double>(value.integer) : static_cast<double>(value.natural);
    value = real((stored - scales[at].zero_point) * scales[at].scale);
  }
  if (reader.is_conj) value.imaginary = -value.imaginary;
  if (!reader.is_neg) return value;
  value.real = -value.real;
  value.imaginary = -value.imaginary;
  value.integer = static_cast<std::int64_t>(-static_cast<std::uint64_t>(value.integer));
  return value;
}

std::string digits_of(double value, bool is_single) {
  if (std::isnan(value)) return "nan";
  return is_single ? fmt::format("{}", static_cast<float>(value)) : fmt::format("{}", value);
}

std::string real_text(double value, bool is_single) {
  std::string digits = digits_of(value, is_single);
  return digits.find_first_of(".en") == std::string::npos ? digits + ".0" : digits;
}

std::string text_of(const Decoded& value, DType dtype) {
  const bool is_single =
      dtype != DType::float64 && dtype != DType::complex128 && dtype_info(dtype).kind != DTypeClass::quantized;
  switch (value.sort) {
    case Sort::whole:
      return std::to_string(value.integer);
    case Sort::natural:
      return dtype == DType::bool8 ? (value.natural != 0 ? "True" : "False") : std::to_string(value.natural);
    case Sort::real:
      return real_text(value.real, is_single);
    case Sort::complex: {
      const std::string imaginary = digits_of(value.imaginary, is_single);
      return "(" + digits_of(value.real, is_single) + (imaginary.starts_with('-') ? "" : "+") + imaginary + "j)";
    }
    case Sort::bits:
      break;
  }
  return fmt::format("0x{:02x}", value.natural);
}

}  // namespace

Element ElementReader::at(std::span<const std::int64_t> index) const {
  const Decoded decoded = decoded_at(*this, index);
  Element element{.text = text_of(decoded, values.tensor.dtype)};
  switch (decoded.sort) {
    case Sort::whole:
      element.value = decoded.integer;
      break;
    case Sort::natural:
      element.value = cell_of(decoded.natural);
      break;
    case Sort::complex:
      element.imaginary = decoded.imaginary;
      [[fallthrough]];
    case Sort::real:
      element.value = decoded.real;
      element.is_nan = std::isnan(decoded.real) || std::isnan(decoded.imaginary);
      break;
    case Sort::bits:
      break;
  }
  return element;
}

std::optional<double> ElementReader::number_at(std::span<const std::int64_t> index) const {
  const Decoded decoded = decoded_at(*this, index);
  switch (decoded.sort) {
    case Sort::whole:
      return static_cast<double>(decoded.integer);
    case Sort::natural:
      return static_cast<double>(decoded.natural);
    case Sort::real:
      return decoded.real;
    case Sort::complex:
      return std::hypot(decoded.real, decoded.imaginary);
    case Sort::bits:
      break;
  }
  return std::nullopt;
}

std::optional<ElementReader> elements_of(TensorSet& set, std::uint32_t row) {
  const TensorRow tensor = set.row(row);
  auto values = set.stored_values(row);
  if (!values) return std::nullopt;
  if (tensor.is_conj || tensor.is_neg) return ElementReader{std::move(*values), tensor.is_conj, tensor.is_neg};
  if (!tensor.quantizer.empty() && has_values(tensor.dtype)) {
    if (auto scaled = set.values(row)) values = std::move(scaled);
  }
  return ElementReader{std::move(*values)};
}

}  // namespace tenon
