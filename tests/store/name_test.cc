#include "tenon/name.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <random>
#include <string>

#include "tenon/error.h"

namespace tenon {
namespace {

using std::string;
constexpr std::int64_t smallest = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max();

struct Case {
  Path path;
  string name;
};

class NameTest : public ::testing::TestWithParam<Case> {};

TEST_P(NameTest, RendersAndParsesBack) {
  EXPECT_EQ(render_name(GetParam().path), GetParam().name);
  EXPECT_EQ(parse_name(GetParam().name), GetParam().path);
}

INSTANTIATE_TEST_SUITE_P(
    Spellings, NameTest,
    ::testing::Values(Case{{}, "."}, Case{{"fc.weight"}, "fc.weight"}, Case{{"model", "fc.weight"}, "model/fc.weight"},
                      Case{{"state", std::int64_t{0}}, "state/0"}, Case{{"state", "0"}, "state/\"0\""},
                      Case{{std::int64_t{-7}}, "-7"}, Case{{"-7"}, "\"-7\""}, Case{{"007"}, "\"007\""},
                      Case{{"-0"}, "\"-0\""}, Case{{"-"}, "-"}, Case{{"+1"}, "+1"}, Case{{"1.5"}, "1.5"},
                      Case{{smallest, largest}, "-9223372036854775808/9223372036854775807"},
                      Case{{"9223372036854775808"}, "\"9223372036854775808\""}, Case{{""}, "\"\""},
                      Case{{"a", "", "b"}, "a/\"\"/b"}, Case{{"."}, "\".\""}, Case{{"a", "."}, "a/\".\""},
                      Case{{".."}, ".."}, Case{{"a/b"}, "\"a/b\""}, Case{{"\"x"}, "\"\\\"x\""}, Case{{"x\"y"}, "x\"y"},
                      Case{{"<x"}, "\"<x\""}, Case{{"x>"}, "x>"}, Case{{"back\\slash"}, "back\\slash"},
                      Case{{"back\\/slash"}, "\"back\\\\/slash\""}, Case{{"a\nb"}, "a\nb"},
                      Case{{"a/\n\x01\x7f"}, "\"a/\\u000a\\u0001\x7f\""},
                      Case{{"h\u00e9/\u6f22"}, "\"h\u00e9/\u6f22\""},
                      Case{{"\xed\xa0\x80/\xff"}, "\"\xed\xa0\x80/\xff\""}, Case{{"\xff"}, "\xff"},
                      Case{{OtherKey{"2.5"}}, "<2.5>"}, Case{{"a", OtherKey{"(1, 'a/b')"}, "w"}, "a/<(1, 'a/b')>/w"},
                      Case{{OtherKey{"a>b"}}, "<a>>b>"}, Case{{OtherKey{">"}}, "<>>>"}, Case{{OtherKey{""}}, "<>"},
                      Case{{OtherKey{">/<"}, OtherKey{"x"}}, "<>>/<>/<x>"}));

class NoName : public ::testing::TestWithParam<string> {};

TEST_P(NoName, IsRefused) {
  try {
    parse_name(GetParam());
    FAIL() << GetParam();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
  }
}

INSTANTIATE_TEST_SUITE_P(Spellings, NoName,
                         ::testing::Values("", "/", "a/", "/a", "a//b", "a/.", "./a", "007", "-0", "a/00",
                                           "9223372036854775808", "-9223372036854775809", "\"", "\"a", "\"a\"", "\"a/b",
                                           "\"a/b\"c", "\"a/\\", "\"a/\\n\"", "\"a/\\u0041\"", "\"a/\\u00\"",
                                           "\"a/\\u000A\"", "\"a/\\u-001\"", "\"a/\n\"", "<", "<a", "<a>>", "<a>b",
                                           "<a>/"));

TEST(Name, RefusalOfAnotherSpellingNamesTheRightOne) {
  try {
    parse_name("a/\"b\"");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.facts().wanted, "a/b");
  }
}

TEST(Name, AppendJoinsWithASlashButNotAtTheStart) {
  string name;
  append_component(name, "model");
  EXPECT_EQ(name, "model");
  append_component(name, std::int64_t{3});
  append_component(name, "a/b");
  append_component(name, OtherKey{"None"});
  EXPECT_EQ(name, "model/3/\"a/b\"/<None>");
}

// Keys drawn from the characters that mean something, so that they meet in every order.
TEST(Name, RandomPathsRoundTripAndNeverShareAName) {
  const unsigned seed = 20240607;
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const auto pick = [&](std::size_t count) { return std::uniform_int_distribution<std::size_t>(0, count - 1)(random); };
  const string alphabet("/\"\\<>.-019au\n\x01\x7f\xc3\xa9\xff\0", 20);
  std::map<string, Path> seen;
  for (int round = 0; round < 20000; ++round) {
    Path path(pick(4));
    for (PathKey& key : path) {
      string text(pick(4), '\0');
      for (char& c : text) c = alphabet[pick(alphabet.size())];
      switch (pick(3)) {
        case 0:
          key = static_cast<std::int64_t>(pick(40)) - 20;
          break;
        case 1:
          key = OtherKey{text};
          break;
        default:
          key = text;
      }
    }
    const string name = render_name(path);
    ASSERT_EQ(parse_name(name), path) << printable(name);
    const auto [entry, is_new] = seen.emplace(name, path);
    ASSERT_EQ(entry->second, path) << printable(name);
  }
  EXPECT_GT(seen.size(), 10000u);
}

// Whatever parses must be the rendering of what it parsed to.
TEST(Name, RandomTextParsesToItselfOrIsRefused) {
  const unsigned seed = 7;
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const string alphabet = "/\"\\<>.-01au";
  int parsed = 0;
  int refused = 0;
  for (int round = 0; round < 20000; ++round) {
    string text(random() % 7, '\0');
    for (char& c : text) c = alphabet[random() % alphabet.size()];
    try {
      EXPECT_EQ(render_name(parse_name(text)), text);
      ++parsed;
    } catch (const Error& error) {
      ASSERT_EQ(error.kind(), ErrorKind::invalid_argument);
      ++refused;
    }
  }
  EXPECT_GT(parsed, 1000);
  EXPECT_GT(refused, 1000);
}

TEST(Name, PrintableEscapesWhatATerminalWouldObey) {
  EXPECT_EQ(printable("w\x1b[31m"), "w\\x1b[31m");
  EXPECT_EQ(printable("h\u00e9"), "h\u00e9");
}

}  // namespace
}  // namespace tenon
