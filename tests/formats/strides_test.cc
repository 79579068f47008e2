#include "formats/strides.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tenon {
namespace {

using Extents = std::vector<std::int64_t>;

TEST(Strides, FollowTheOrder) {
  EXPECT_EQ(row_major_stride(Extents{2, 3, 4}), (Extents{12, 4, 1}));
  EXPECT_EQ(column_major_stride(Extents{2, 3, 4}), (Extents{1, 2, 6}));
  EXPECT_EQ(row_major_stride(Extents{}), Extents{});
  EXPECT_EQ(column_major_stride(Extents{7}), Extents{1});
}

TEST(Strides, OfEmptyArraysAreThoseOfExtentsOfOne) {
  EXPECT_EQ(row_major_stride(Extents{2, 0, 3}), (Extents{3, 3, 1}));
  EXPECT_EQ(column_major_stride(Extents{2, 0, 3}), (Extents{1, 2, 2}));
}

TEST(ArrayBytes, AreCountedUnlessTheyAreTooMany) {
  EXPECT_EQ(array_bytes(Extents{2, 3}, 32), 24u);
  EXPECT_EQ(array_bytes(Extents{}, 64), 8u);
  EXPECT_EQ(array_bytes(Extents{3}, 4), 2u);
  EXPECT_EQ(array_bytes(Extents{INT64_MAX, 0}, 1), 0u);
  EXPECT_EQ(array_bytes(Extents{INT64_MAX}, 8), std::nullopt);
  EXPECT_EQ(array_bytes(Extents{0, std::int64_t{1} << 40, std::int64_t{1} << 40}, 8), std::nullopt);
}

TEST(Strides, TellWhichOrderElementsAreIn) {
  EXPECT_TRUE(is_row_major(Extents{2, 3}, Extents{3, 1}));
  EXPECT_FALSE(is_row_major(Extents{2, 3}, Extents{1, 2}));
  EXPECT_FALSE(is_row_major(Extents{2, 3}, Extents{4, 1}));
  EXPECT_TRUE(is_column_major(Extents{2, 3}, Extents{1, 2}));
  EXPECT_FALSE(is_column_major(Extents{2, 3}, Extents{3, 1}));
  EXPECT_FALSE(is_column_major(Extents{2, 3}, Extents{0, 1}));
}

TEST(Strides, AlongExtentsOfOneDoNotMatter) {
  EXPECT_TRUE(is_row_major(Extents{1, 3}, Extents{99, 1}));
  EXPECT_TRUE(is_column_major(Extents{3, 1}, Extents{1, 0}));
  EXPECT_TRUE(is_row_major(Extents{}, Extents{}));
  EXPECT_TRUE(is_row_major(Extents{0, 5}, Extents{7, 7}));
}

}  // namespace
}  // namespace tenon
