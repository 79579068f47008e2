#include "tenon/slice.h"

#include <gtest/gtest.h>

#include <limits>

#include "tenon/error.h"

namespace tenon {
namespace {

constexpr std::int64_t shape[] = {4, 5, 6};

std::string describe(std::string_view text) {
  std::string result;
  for (const SliceRange& range : parse_slice(text, shape)) {
    if (!result.empty()) result += ' ';
    result += std::to_string(range.start);
    if (!range.is_index) result += "+" + std::to_string(range.count) + "*" + std::to_string(range.step);
  }
  return result;
}

ErrorKind kind_of(std::string_view text) {
  try {
    parse_slice(text, shape);
  } catch (const Error& error) {
    return error.kind();
  }
  ADD_FAILURE() << "no error for " << text;
  return ErrorKind::io;
}

TEST(Slice, WhatIsNotReachedIsTakenWhole) {
  EXPECT_EQ(describe(""), "0+4*1 0+5*1 0+6*1");
  EXPECT_EQ(describe("1"), "1 0+5*1 0+6*1");
  EXPECT_EQ(describe("..., 2"), "0+4*1 0+5*1 2");
  EXPECT_EQ(describe("0,...,1:"), "0 0+5*1 1+5*1");
  EXPECT_EQ(describe("1,2,3,..."), "1 2 3");
}

TEST(Slice, NegativePositionsCountFromTheEnd) {
  EXPECT_EQ(describe("-1,-3:,:-4"), "3 2+3*1 0+2*1");
  EXPECT_EQ(describe("-4"), "0 0+5*1 0+6*1");
}

TEST(Slice, RangesBeyondTheEndsAreCut) {
  EXPECT_EQ(describe("2:100,-100:2,9:"), "2+2*1 0+2*1 6+0*1");
  EXPECT_EQ(describe("3:1"), "3+0*1 0+5*1 0+6*1");
}

TEST(Slice, StepsRoundUp) {
  EXPECT_EQ(describe("::2,::3,1::100"), "0+2*2 0+2*3 1+1*100");
  EXPECT_EQ(describe("::9223372036854775807"), "0+1*9223372036854775807 0+5*1 0+6*1");
}

TEST(Slice, BracketsAndBlanksAreAllowed) { EXPECT_EQ(describe("[ 1 , 2:3 ]"), "1 2+1*1 0+6*1"); }

TEST(Slice, RefusesWhatSelectsNothingSensible) {
  for (const char* text :
       {"4", "-5", "a", "1:2:3:4", "::0", "::-1", "0,0,0,0", "...,...", ",", "1,,2", "1.5", "99999999999999999999"}) {
    EXPECT_EQ(kind_of(text), ErrorKind::invalid_argument) << text;
  }
}

TEST(Slice, ExtremePositionsDoNotOverflow) {
  EXPECT_EQ(describe("-9223372036854775808:9223372036854775807"), "0+4*1 0+5*1 0+6*1");
}

}  // namespace
}  // namespace tenon
