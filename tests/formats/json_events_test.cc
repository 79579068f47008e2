#include "formats/json_events.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tenon/error.h"

namespace tenon {
namespace {

using std::string_literals::operator""s;
using testing::HasSubstr;

// Writes down what it is told.
class Recorder : public JsonEvents {
 public:
  void begin_object() override { told += "{"; }
  void end_object() override { told += "}"; }
  void begin_array() override { told += "["; }
  void end_array() override { told += "]"; }
  void key(std::string_view text) override { told += "k:" + std::string(text) + " "; }
  void string(std::string_view text) override { told += "s:" + std::string(text) + " "; }
  void integer(std::uint64_t value) override { told += std::to_string(value) + " "; }
  void other(std::string_view what) override { told += "<" + std::string(what) + ">"; }
  std::string told;
};

const JsonSource source{.file = "a.json", .base_offset = 8, .max_depth = 3, .max_token_bytes = 64};

std::string told_of(const std::string& text) {
  Recorder recorder;
  read_json(std::as_bytes(std::span(text)), source, recorder);
  return recorder.told;
}

Error failure(const std::string& text) {
  try {
    told_of(text);
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "was read: " << text;
  return Error(ErrorKind::io, {});
}

TEST(JsonEvents, AreToldInTheOrderOfTheText) {
  EXPECT_EQ(told_of(R"({"a":[1,18446744073709551615],"b":"x\u00e9"})"), "{k:a [1 18446744073709551615 ]k:b s:xé }");
  EXPECT_EQ(told_of(" \n[ ] \t\r "), "[]");
}

TEST(JsonEvents, TellOfEveryDuplicateKey) { EXPECT_EQ(told_of(R"({"a":1,"a":2})"), "{k:a 1 k:a 2 }"); }

TEST(JsonEvents, NumbersThatAreNoUnsignedIntegersAreOther) {
  EXPECT_EQ(told_of("[-0,-1,1.0,1e2,18446744073709551616,true,false,null]"),
            "[<a negative number><a negative number><the number 1.0><the number 1e2><the number "
            "18446744073709551616><true><false><null>]");
}

TEST(JsonEvents, WhatIsNoJsonIsCorrupt) {
  for (const std::string& text : {""s,
                                  " "s,
                                  "{"s,
                                  "[1,]"s,
                                  "{\"a\"}"s,
                                  "{a:1}"s,
                                  "'a'"s,
                                  "[1] 2"s,
                                  "[1 2]"s,
                                  "[01]"s,
                                  "[1e400]"s,
                                  "[+1]"s,
                                  "[.5]"s,
                                  "[NaN]"s,
                                  "[Infinity]"s,
                                  "// c\n[]"s,
                                  "[]/**/"s,
                                  "\xEF\xBB\xBF[]"s,
                                  "[\"\xff\"]"s,
                                  "[\"\xc0\x80\"]"s,
                                  "[\"\\ud800\"]"s,
                                  "[\"\\udc00\\ud800\"]"s,
                                  "[\"\x01\"]"s,
                                  "[]\0"s,
                                  "[\0]"s,
                                  "[\"a\0b\"]"s,
                                  "[\"\xed\xa0\x80\"]"s,
                                  "[\"\\x\"]"s,
                                  "[\"a"s,
                                  "tru"s}) {
    const Error error = failure(text);
    EXPECT_EQ(error.kind(), ErrorKind::corrupt) << text;
    EXPECT_EQ(error.facts().file, "a.json");
    EXPECT_GE(error.facts().offset.value_or(0), 8u) << text;
  }
}

TEST(JsonEvents, DepthIsLimitedAndNeverRecursedInto) {
  EXPECT_EQ(told_of("[[[]]]"), "[[[]]]");
  EXPECT_EQ(failure("[[[[]]]]").kind(), ErrorKind::limit);
  EXPECT_EQ(failure(std::string(1'000'000, '[')).kind(), ErrorKind::limit);
}

TEST(JsonEvents, TokensAreLimitedButNotTheSpaceBetween) {
  EXPECT_EQ(told_of("[\"" + std::string(60, 'x') + "\"]"), "[s:" + std::string(60, 'x') + " ]");
  EXPECT_THAT(failure("[\"" + std::string(70, 'x') + "\"]").what(), HasSubstr("too long"));
  EXPECT_EQ(failure("[" + std::string(1'000'000, '1') + "]").kind(), ErrorKind::limit);
  EXPECT_EQ(told_of("[" + std::string(1'000'000, ' ') + "1" + std::string(1000, '\n') + ",2]"), "[1 2 ]");
  // Quotes that are escaped do not end a token.
  std::string quotes = "[\"";
  for (int i = 0; i < 40; ++i) quotes += "\\\"";
  EXPECT_EQ(failure(quotes + "\"]").kind(), ErrorKind::limit);
}

TEST(JsonEvents, AQuotedTextReadsBackAsItWas) {
  const std::string text = "a\"b\\c\n\x01\x7f\0é/"s;
  EXPECT_EQ(told_of("[" + json_quoted(text) + "]"), "[s:" + text + " ]");
  EXPECT_EQ(json_quoted("\x01"), "\"\\u0001\"");
  EXPECT_THROW(json_quoted("\xff"), Error);
}

}  // namespace
}  // namespace tenon
