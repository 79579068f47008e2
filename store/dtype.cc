#include "tenon/dtype.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>

namespace tenon {
namespace {

using enum DTypeClass;

// In the order of the codes, so that a code less one is an index.
constexpr std::array table{
    DTypeInfo{DType::uint8, "uint8", "ByteStorage", 8, integer},
    DTypeInfo{DType::int8, "int8", "CharStorage", 8, integer},
    DTypeInfo{DType::int16, "int16", "ShortStorage", 16, integer},
    DTypeInfo{DType::int32, "int32", "IntStorage", 32, integer},
    DTypeInfo{DType::int64, "int64", "LongStorage", 64, integer},
    DTypeInfo{DType::float16, "float16", "HalfStorage", 16, floating},
    DTypeInfo{DType::float32, "float32", "FloatStorage", 32, floating},
    DTypeInfo{DType::float64, "float64", "DoubleStorage", 64, floating},
    DTypeInfo{DType::complex32, "complex32", "", 32, complex},
    DTypeInfo{DType::complex64, "complex64", "ComplexFloatStorage", 64, complex},
    DTypeInfo{DType::complex128, "complex128", "ComplexDoubleStorage", 128, complex},
    DTypeInfo{DType::bool8, "bool", "BoolStorage", 8, boolean},
    DTypeInfo{DType::qint8, "qint8", "QInt8Storage", 8, quantized},
    DTypeInfo{DType::quint8, "quint8", "QUInt8Storage", 8, quantized},
    DTypeInfo{DType::qint32, "qint32", "QInt32Storage", 32, quantized},
    DTypeInfo{DType::bfloat16, "bfloat16", "BFloat16Storage", 16, floating},
    DTypeInfo{DType::quint4x2, "quint4x2", "QUInt4x2Storage", 4, quantized},
    DTypeInfo{DType::quint2x4, "quint2x4", "QUInt2x4Storage", 2, quantized},
    DTypeInfo{DType::bits1x8, "bits1x8", "", 8, bits},
    DTypeInfo{DType::bits2x4, "bits2x4", "", 8, bits},
    DTypeInfo{DType::bits4x2, "bits4x2", "", 8, bits},
    DTypeInfo{DType::bits8, "bits8", "", 8, bits},
    DTypeInfo{DType::bits16, "bits16", "", 16, bits},
    DTypeInfo{DType::float8_e5m2, "float8_e5m2", "", 8, floating},
    DTypeInfo{DType::float8_e4m3fn, "float8_e4m3fn", "", 8, floating},
    DTypeInfo{DType::float8_e5m2fnuz, "float8_e5m2fnuz", "", 8, floating},
    DTypeInfo{DType::float8_e4m3fnuz, "float8_e4m3fnuz", "", 8, floating},
    DTypeInfo{DType::uint16, "uint16", "", 16, integer},
    DTypeInfo{DType::uint32, "uint32", "", 32, integer},
    DTypeInfo{DType::uint64, "uint64", "", 64, integer},
    // torch gives each element of these a byte.
    DTypeInfo{DType::uint1, "uint1", "", 8, integer},
    DTypeInfo{DType::uint2, "uint2", "", 8, integer},
    DTypeInfo{DType::uint3, "uint3", "", 8, integer},
    DTypeInfo{DType::uint4, "uint4", "", 8, integer},
    DTypeInfo{DType::uint5, "uint5", "", 8, integer},
    DTypeInfo{DType::uint6, "uint6", "", 8, integer},
    DTypeInfo{DType::uint7, "uint7", "", 8, integer},
    DTypeInfo{DType::int1, "int1", "", 8, integer},
    DTypeInfo{DType::int2, "int2", "", 8, integer},
    DTypeInfo{DType::int3, "int3", "", 8, integer},
    DTypeInfo{DType::int4, "int4", "", 8, integer},
    DTypeInfo{DType::int5, "int5", "", 8, integer},
    DTypeInfo{DType::int6, "int6", "", 8, integer},
    DTypeInfo{DType::int7, "int7", "", 8, integer},
    DTypeInfo{DType::float8_e8m0fnu, "float8_e8m0fnu", "", 8, floating},
    DTypeInfo{DType::float4_e2m1fn_x2, "float4_e2m1fn_x2", "", 8, floating},
};

constexpr std::size_t index_of(DType dtype) noexcept { return static_cast<std::size_t>(dtype) - 1; }

constexpr bool is_indexed_by_code() noexcept {
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (index_of(table[i].dtype) != i) return false;
  }
  return true;
}
static_assert(is_indexed_by_code());
static_assert(index_of(DType::float4_e2m1fn_x2) + 1 == table.size());

DType find(std::string_view DTypeInfo::*column, std::string_view wanted) noexcept {
  if (wanted.empty()) return DType::invalid;  // an empty torch_storage is none
  const auto* const found = std::ranges::find(table, wanted, column);
  return found == table.end() ? DType::invalid : found->dtype;
}

}  // namespace

bool is_valid(DType dtype) noexcept { return index_of(dtype) < table.size(); }

const DTypeInfo& dtype_info(DType dtype) noexcept {
  assert(is_valid(dtype));
  return table[index_of(dtype)];
}

DType dtype_from_name(std::string_view name) noexcept { return find(&DTypeInfo::name, name); }

DType dtype_from_torch_storage(std::string_view storage_class) noexcept {
  return find(&DTypeInfo::torch_storage, storage_class);
}

std::span<const DTypeInfo> all_dtypes() noexcept { return table; }

}  // namespace tenon
