// Element types: all of torch 2.13's. Values are torch's ScalarType codes plus one, so 0 is never valid
// on disk. See docs/format.md, "Element types".
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "tenon/export.h"

namespace tenon {

enum class DType : std::uint8_t {
  invalid = 0,
  uint8 = 1,
  int8,
  int16,
  int32,
  int64,
  float16,
  float32,
  float64,
  complex32,
  complex64,
  complex128,
  bool8,
  qint8,
  quint8,
  qint32,
  bfloat16,
  quint4x2,
  quint2x4,
  bits1x8,
  bits2x4,
  bits4x2,
  bits8,
  bits16,
  float8_e5m2,
  float8_e4m3fn,
  float8_e5m2fnuz,
  float8_e4m3fnuz,
  uint16,
  uint32,
  uint64,
  uint1,
  uint2,
  uint3,
  uint4,
  uint5,
  uint6,
  uint7,
  int1,
  int2,
  int3,
  int4,
  int5,
  int6,
  int7,
  float8_e8m0fnu,
  float4_e2m1fn_x2,
};

enum class DTypeClass : std::uint8_t { integer, floating, complex, boolean, quantized, bits };

struct DTypeInfo {
  DType dtype;
  std::string_view name;           // torch's name without "torch.": "float32", "bool" for bool8
  std::string_view torch_storage;  // "FloatStorage"; empty where torch knows only UntypedStorage
  std::uint8_t bits;               // of one element; 4 and 2 for quint4x2 and quint2x4, else 8 x itemsize
  DTypeClass kind;
};

// REQUIRES: is_valid(dtype).
TENON_API const DTypeInfo& dtype_info(DType dtype) noexcept;
TENON_API bool is_valid(DType dtype) noexcept;
// By torch's name ("float32") or storage class ("FloatStorage"); DType::invalid if there is none.
TENON_API DType dtype_from_name(std::string_view name) noexcept;
TENON_API DType dtype_from_torch_storage(std::string_view storage_class) noexcept;
TENON_API std::span<const DTypeInfo> all_dtypes() noexcept;

// Bytes of one element; 1 for sub-byte types.
inline std::uint64_t item_bytes(DType dtype) noexcept { return (dtype_info(dtype).bits + 7u) / 8u; }

}  // namespace tenon
