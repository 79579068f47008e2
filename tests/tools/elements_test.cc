#include "tools/elements.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <complex>
#include <cstring>

#include "tenon/error.h"

namespace tenon::tools {
namespace {

template <typename T>
std::vector<std::byte> bytes_of(std::initializer_list<T> values) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), std::data(values), bytes.size());
  return bytes;
}

// One element of `dtype` that has these bits.
template <typename T>
std::string text_of(DType dtype, T bits, Notation notation = Notation::plain) {
  const auto bytes = bytes_of<T>({bits});
  std::string text;
  append(text, decode(dtype, bytes.data(), 0), notation);
  return text;
}

// A tensor over its own bytes.
struct Fixture {
  std::vector<std::byte> bytes;
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> stride;
  TensorRow row{};

  Fixture(DType dtype, std::vector<std::byte> all, std::vector<std::int64_t> extents, std::vector<std::int64_t> steps)
      : bytes(std::move(all)), shape(std::move(extents)), stride(std::move(steps)) {
    row.dtype = dtype;
    row.shape = shape;
    row.stride = stride;
  }

  std::string values(std::string_view slice) const {
    const Elements elements = select(slice);
    std::string text;
    Odometer odometer(elements);
    for (std::uint64_t i = 0; i < elements.count(); ++i, odometer.next()) {
      EXPECT_EQ(odometer.offset(), elements.offset_of(i));
      if (i > 0) text += ' ';
      append(text, elements.at(odometer.offset()), Notation::plain);
    }
    return text;
  }

  Elements select(std::string_view slice) const {
    Selection selection(row);
    if (!slice.empty()) selection.slice(slice);
    const ByteRange range = selection.byte_range(bytes.size());
    return Elements(selection, std::span(bytes).subspan(range.begin, range.end - range.begin));
  }
};

Fixture counting(std::int64_t rows, std::int64_t columns) {
  std::vector<std::byte> bytes;
  for (std::int64_t i = 0; i < rows * columns; ++i) bytes.push_back(static_cast<std::byte>(i));
  return {DType::uint8, bytes, {rows, columns}, {columns, 1}};
}

TEST(Decode, FloatsReadBackTheSameInTheFewestDigits) {
  EXPECT_EQ(text_of(DType::float32, 0.1f), "0.1");
  EXPECT_EQ(text_of(DType::float32, 1.0f), "1.0");
  EXPECT_EQ(text_of(DType::float32, 1e30f), "1e+30");
  EXPECT_EQ(text_of(DType::float64, 0.1), "0.1");
  EXPECT_EQ(text_of(DType::float64, -0.0), "-0.0");
  EXPECT_EQ(text_of(DType::float64, 1.0 / 3), "0.3333333333333333");
}

TEST(Decode, NonFiniteValuesAreStringsInJson) {
  EXPECT_EQ(text_of(DType::float32, INFINITY), "inf");
  EXPECT_EQ(text_of(DType::float32, -INFINITY, Notation::json), "\"-inf\"");
  EXPECT_EQ(text_of(DType::float64, -std::nan(""), Notation::json), "\"nan\"");
}

TEST(Decode, HalfPrecision) {
  EXPECT_EQ(text_of<std::uint16_t>(DType::float16, 0x3C00), "1.0");
  EXPECT_EQ(text_of<std::uint16_t>(DType::float16, 0xC000), "-2.0");
  EXPECT_EQ(text_of<std::uint16_t>(DType::float16, 0x7BFF), "65504.0");
  EXPECT_EQ(text_of<std::uint16_t>(DType::float16, 0x0001), "5.9604645e-08");
  EXPECT_EQ(text_of<std::uint16_t>(DType::float16, 0xFC00), "-inf");
  EXPECT_EQ(text_of<std::uint16_t>(DType::float16, 0x7E00), "nan");
  EXPECT_EQ(text_of<std::uint16_t>(DType::bfloat16, 0x3F80), "1.0");
  EXPECT_EQ(text_of<std::uint16_t>(DType::bfloat16, 0x7F80), "inf");
}

TEST(Decode, EightBitFloats) {
  EXPECT_EQ(text_of<std::uint8_t>(DType::float8_e5m2, 0x7B), "57344.0");
  EXPECT_EQ(text_of<std::uint8_t>(DType::float8_e5m2, 0x7C), "inf");
  EXPECT_EQ(text_of<std::uint8_t>(DType::float8_e4m3fn, 0x7E), "448.0");
  EXPECT_EQ(text_of<std::uint8_t>(DType::float8_e4m3fn, 0xFF), "nan");
  EXPECT_EQ(text_of<std::uint8_t>(DType::float8_e4m3fn, 0x01), "0.001953125");
  EXPECT_EQ(text_of<std::uint8_t>(DType::float8_e4m3fnuz, 0x7F), "240.0");
  EXPECT_EQ(text_of<std::uint8_t>(DType::float8_e4m3fnuz, 0x80), "nan");
  EXPECT_EQ(text_of<std::uint8_t>(DType::float8_e5m2fnuz, 0x7F), "57344.0");
  EXPECT_EQ(text_of<std::uint8_t>(DType::float8_e8m0fnu, 0x80), "2.0");
  EXPECT_EQ(text_of<std::uint8_t>(DType::float8_e8m0fnu, 0xFF), "nan");
  EXPECT_EQ(text_of<std::uint8_t>(DType::float4_e2m1fn_x2, 0xF1), "[0.5, -6.0]");
}

TEST(Decode, IntegersAreExact) {
  EXPECT_EQ(text_of<std::int64_t>(DType::int64, INT64_MIN), "-9223372036854775808");
  EXPECT_EQ(text_of<std::uint64_t>(DType::uint64, UINT64_MAX), "18446744073709551615");
  EXPECT_EQ(text_of<std::int16_t>(DType::int16, -7), "-7");
  EXPECT_EQ(text_of<std::uint32_t>(DType::uint32, 4'000'000'000u), "4000000000");
  EXPECT_EQ(text_of<std::uint8_t>(DType::uint5, 0xFF), "255");
  EXPECT_EQ(text_of<std::uint8_t>(DType::int8, 0xFF), "-1");
}

TEST(Decode, OtherTypes) {
  EXPECT_EQ(text_of<std::uint8_t>(DType::bool8, 2), "true");
  EXPECT_EQ(text_of<std::uint8_t>(DType::qint8, 0x80), "-128");
  EXPECT_EQ(text_of<std::int32_t>(DType::qint32, -5), "-5");
  EXPECT_EQ(text_of<std::uint8_t>(DType::bits4x2, 0x1F), "0x1f");
  EXPECT_EQ(text_of<std::uint16_t>(DType::bits16, 0x00FE, Notation::json), "\"0x00fe\"");
  EXPECT_EQ(text_of(DType::complex64, std::complex<float>(1, -2)), "(1.0-2.0j)");
  EXPECT_EQ(text_of(DType::complex64, std::complex<float>(1, 2)), "(1.0+2.0j)");
  EXPECT_EQ(text_of(DType::complex128, std::complex<double>(0.5, 2), Notation::json), "[0.5, 2.0]");
}

TEST(Elements, PackedElementsAreTakenFromTheLowBitsUp) {
  const Fixture nibbles(DType::quint4x2, bytes_of<std::uint8_t>({0x21, 0x43}), {3}, {1});
  EXPECT_EQ(nibbles.values(""), "1 2 3");
  EXPECT_EQ(nibbles.values("1:3"), "2 3");
  const Fixture crumbs(DType::quint2x4, bytes_of<std::uint8_t>({0b11100100}), {4}, {1});
  EXPECT_EQ(crumbs.values(""), "0 1 2 3");
}

TEST(Elements, StridesAndSlices) {
  Fixture matrix = counting(3, 4);
  EXPECT_EQ(matrix.values("1"), "4 5 6 7");
  EXPECT_EQ(matrix.values(":,1"), "1 5 9");
  EXPECT_EQ(matrix.values("::2,-1"), "3 11");
  EXPECT_EQ(matrix.values("1:1"), "");
  matrix.shape = {4, 3};
  matrix.stride = {1, 4};
  matrix.row.shape = matrix.shape;
  EXPECT_EQ(matrix.values("0:2"), "0 4 8 1 5 9");
}

TEST(Elements, ZeroStrideRepeats) {
  const Fixture expanded(DType::int32, bytes_of<std::int32_t>({7}), {2, 2}, {0, 0});
  EXPECT_EQ(expanded.values(""), "7 7 7 7");
}

TEST(Elements, SlicesOfSlicesAddUp) {
  const Fixture matrix = counting(4, 4);
  Selection selection(matrix.row);
  selection.slice("1:,1:");
  selection.slice("1,::2");
  const ByteRange range = selection.byte_range(16);
  EXPECT_EQ(range.begin, 9u);
  EXPECT_EQ(range.end, 12u);
}

TEST(Elements, ConjAndNegApplyToTextAndRawBytes) {
  Fixture complex(DType::complex64, bytes_of<std::complex<float>>({{1, 2}}), {1}, {1});
  complex.row.is_conj = true;
  EXPECT_EQ(complex.values(""), "(1.0-2.0j)");
  std::vector<std::byte> raw;
  complex.select("").append_raw(raw, 0);
  EXPECT_EQ(raw, bytes_of<std::complex<float>>({{1, -2}}));
  complex.row.is_neg = true;
  EXPECT_EQ(complex.values(""), "(-1.0+2.0j)");
  raw.clear();
  complex.select("").append_raw(raw, 0);
  EXPECT_EQ(raw, bytes_of<std::complex<float>>({{-1, 2}}));
}

TEST(Elements, StoredRunsAreContiguousAndWholeBytes) {
  const auto is_run = [](const Fixture& fixture, std::string_view slice) {
    Selection selection(fixture.row);
    if (!slice.empty()) selection.slice(slice);
    return selection.is_stored_run();
  };
  EXPECT_TRUE(is_run(counting(3, 4), ""));
  EXPECT_TRUE(is_run(counting(3, 4), "1:3"));
  EXPECT_FALSE(is_run(counting(3, 4), ":,1"));
  const Fixture nibbles(DType::quint4x2, bytes_of<std::uint8_t>({0x21, 0x43}), {3}, {1});
  EXPECT_TRUE(is_run(nibbles, ""));
  EXPECT_FALSE(is_run(nibbles, "1:"));
}

TEST(Elements, ReachingOutsideOfTheStorageIsCorrupt) {
  const auto kind_of = [](std::vector<std::int64_t> shape, std::vector<std::int64_t> stride, std::uint64_t offset) {
    TensorRow row{.dtype = DType::float32, .storage_offset_bytes = offset, .shape = shape, .stride = stride};
    try {
      Selection(row).byte_range(16);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind{};
  };
  EXPECT_EQ(kind_of({4}, {1}, 0), ErrorKind{});
  EXPECT_EQ(kind_of({5}, {1}, 0), ErrorKind::corrupt);
  EXPECT_EQ(kind_of({4}, {1}, 4), ErrorKind::corrupt);
  EXPECT_EQ(kind_of({2}, {-1}, 8), ErrorKind::corrupt);
  EXPECT_EQ(kind_of({2}, {INT64_MAX}, 0), ErrorKind::corrupt);
  EXPECT_EQ(kind_of({INT64_MAX, INT64_MAX}, {INT64_MAX, INT64_MAX}, 0), ErrorKind::corrupt);
  EXPECT_EQ(kind_of({1}, {1}, UINT64_MAX), ErrorKind::corrupt);
  EXPECT_EQ(kind_of({0, INT64_MAX}, {INT64_MAX, 1}, UINT64_MAX), ErrorKind{}) << "no element reaches anywhere";
}

}  // namespace
}  // namespace tenon::tools
