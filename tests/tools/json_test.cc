#include "tools/json.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tenon/error.h"

namespace tenon::tools {
namespace {

TEST(Json, KeepsTheOrderOfMembers) {
  const Json json = Json::Object{{"z", 1}, {"a", Json::Array{true, nullptr, 0.5, "text"}}};
  EXPECT_EQ(dump(json), R"({"z":1,"a":[true,null,0.5,"text"]})");
}

TEST(Json, IntegersAreExact) {
  EXPECT_EQ(dump(UINT64_MAX), "18446744073709551615");
  EXPECT_EQ(dump(INT64_MIN), "-9223372036854775808");
}

TEST(Json, NonFiniteNumbersAreStrings) {
  EXPECT_EQ(dump(Json::Array{NAN, INFINITY, -INFINITY}), R"(["nan","inf","-inf"])");
}

TEST(Json, EscapesControlCharactersAndReplacesWhatIsNoUtf8) {
  EXPECT_EQ(dump("\x1b[1m\n"), R"("\u001b[1m\n")");
  EXPECT_EQ(dump("\xff"), "\"\xEF\xBF\xBD\"");
}

TEST(Json, RawTextIsPutInAsJsonOrElseAsText) {
  EXPECT_EQ(dump(RawJson{R"({"b":1,"a":2})"}), R"({"b":1,"a":2})");
  EXPECT_EQ(dump(RawJson{"{"}), R"("{")");
}

TEST(Json, AbsentValuesAreNull) {
  EXPECT_EQ(dump(std::optional<std::int64_t>{}), "null");
  EXPECT_EQ(dump(std::optional<std::int64_t>{3}), "3");
}

std::string set(const std::string& object, std::vector<std::string> assignments) {
  return set_members(object, assignments);
}

TEST(SetMembers, NumbersAndBooleansAreRecognised) {
  EXPECT_EQ(set("{}", {"lr=3e-4", "on=true", "n=-7", "host=gpu12", "none=null", "empty="}),
            R"({"lr":0.0003,"on":true,"n":-7,"host":"gpu12","none":"null","empty":""})");
}

TEST(SetMembers, ValuesMayHoldEqualsSignsAndReplaceOlderOnes) {
  EXPECT_EQ(set(R"({"a":1,"b":2})", {"a=x=y"}), R"({"a":"x=y","b":2})");
}

TEST(SetMembers, AnAssignmentNeedsAKey) {
  for (const char* bad : {"novalue", "=1", ""}) {
    try {
      set("{}", {bad});
      ADD_FAILURE() << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument) << bad;
    }
  }
}

TEST(SetMembers, DigitsTooManyForANumberStayText) {
  const std::vector<std::string> assignments = {"a=12345678901234567890123", "b=18446744073709551615", "c=2.50", "d=-1",
                                                "e=1e400"};
  EXPECT_EQ(set_members("{}", assignments),
            R"({"a":"12345678901234567890123","b":18446744073709551615,"c":2.5,"d":-1,"e":"1e400"})");
}

}  // namespace
}  // namespace tenon::tools
