#include "tenon/dtype.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

namespace tenon {
namespace {

TEST(DType, CodesAreTorchsScalarTypesPlusOne) {
  // Spot checks over the whole range of torch's ScalarType list; these numbers are on disk.
  const std::map<std::string_view, int> scalar_types{
      {"uint8", 0},       {"int64", 4},           {"float32", 6},          {"complex32", 8},
      {"complex128", 10}, {"bool", 11},           {"qint32", 14},          {"bfloat16", 15},
      {"quint2x4", 17},   {"bits16", 22},         {"float8_e5m2", 23},     {"float8_e4m3fnuz", 26},
      {"uint16", 27},     {"uint64", 29},         {"uint1", 30},           {"int1", 37},
      {"int7", 43},       {"float8_e8m0fnu", 44}, {"float4_e2m1fn_x2", 45}};
  for (const auto& [name, scalar_type] : scalar_types) {
    EXPECT_EQ(static_cast<int>(dtype_from_name(name)), scalar_type + 1) << name;
  }
}

TEST(DType, EveryNameAndStorageClassFindsItsTypeAgain) {
  std::set<std::string_view> names;
  std::set<std::string_view> storages;
  for (const DTypeInfo& info : all_dtypes()) {
    EXPECT_TRUE(is_valid(info.dtype));
    EXPECT_EQ(&dtype_info(info.dtype), &info);
    EXPECT_EQ(dtype_from_name(info.name), info.dtype);
    names.insert(info.name);
    if (info.torch_storage.empty()) continue;
    EXPECT_EQ(dtype_from_torch_storage(info.torch_storage), info.dtype);
    storages.insert(info.torch_storage);
  }
  EXPECT_EQ(names.size(), 46u);
  EXPECT_EQ(storages.size(), 17u);
}

TEST(DType, UnknownNamesAndCodesAreInvalid) {
  for (const std::string_view name : {"", "float", "torch.float32", "Float32", "UntypedStorage"}) {
    EXPECT_EQ(dtype_from_name(name), DType::invalid) << name;
    EXPECT_EQ(dtype_from_torch_storage(name), DType::invalid) << name;
  }
  EXPECT_EQ(dtype_from_torch_storage("FloatStorage"), DType::float32);
  EXPECT_FALSE(is_valid(DType::invalid));
  EXPECT_FALSE(is_valid(static_cast<DType>(47)));
  EXPECT_FALSE(is_valid(static_cast<DType>(255)));
}

TEST(DType, ItemsHaveTorchsSizes) {
  const std::map<std::string_view, std::uint64_t> sizes{
      {"bool", 1},        {"float16", 2}, {"bfloat16", 2},    {"float32", 4},  {"complex32", 4},
      {"complex64", 8},   {"int64", 8},   {"complex128", 16}, {"qint32", 4},   {"bits16", 2},
      {"float8_e5m2", 1}, {"uint4", 1},   {"quint4x2", 1},    {"quint2x4", 1}, {"float4_e2m1fn_x2", 1}};
  for (const auto& [name, size] : sizes) EXPECT_EQ(item_bytes(dtype_from_name(name)), size) << name;
}

TEST(DType, OnlyPackedQuantizedTypesHaveLessThanAByte) {
  for (const DTypeInfo& info : all_dtypes()) {
    if (info.dtype == DType::quint4x2) {
      EXPECT_EQ(info.bits, 4);
    } else if (info.dtype == DType::quint2x4) {
      EXPECT_EQ(info.bits, 2);
    } else {
      EXPECT_EQ(info.bits % 8, 0) << info.name;
    }
  }
}

TEST(DType, ClassesFollowTheName) {
  for (const DTypeInfo& info : all_dtypes()) {
    const auto is = [&](std::string_view prefix) { return info.name.starts_with(prefix); };
    EXPECT_EQ(info.kind == DTypeClass::integer, is("int") || is("uint")) << info.name;
    EXPECT_EQ(info.kind == DTypeClass::floating, is("float") || is("bfloat")) << info.name;
    EXPECT_EQ(info.kind == DTypeClass::complex, is("complex")) << info.name;
    EXPECT_EQ(info.kind == DTypeClass::boolean, is("bool")) << info.name;
    EXPECT_EQ(info.kind == DTypeClass::quantized, is("q")) << info.name;
    EXPECT_EQ(info.kind == DTypeClass::bits, is("bits")) << info.name;
  }
}

}  // namespace
}  // namespace tenon
