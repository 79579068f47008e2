#include "tools/text.h"

#include <gtest/gtest.h>

#include <limits>

namespace tenon::tools {
namespace {

TEST(Text, BytesHaveOneDecimalFromKibibytesOn) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1024), "1.0 KiB");
  EXPECT_EQ(format_bytes(1024 * 1024 - 1), "1.0 MiB");
  EXPECT_EQ(format_bytes(3'500'000'000), "3.3 GiB");
  EXPECT_EQ(format_bytes(std::numeric_limits<std::uint64_t>::max()), "over 16 EiB");
}

TEST(Text, CountsAreGroupedByThousands) {
  EXPECT_EQ(format_count(7), "7");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_plural(1, "tensor"), "1 tensor");
  EXPECT_EQ(format_plural(0, "tensor"), "0 tensors");
}

TEST(Text, TimesBefore1970AreRoundedDown) {
  EXPECT_EQ(format_utc_time(0), "1970-01-01T00:00:00.000000Z");
  EXPECT_EQ(format_utc_time(1'500'000), "1970-01-01T00:00:00.001500Z");
  EXPECT_EQ(format_utc_time(-1000), "1969-12-31T23:59:59.999999Z");
}

TEST(Text, WidthCountsCharactersNotBytes) {
  EXPECT_EQ(display_width("naïve"), 5u);
  EXPECT_EQ(pad_left("é", 3), "  é");
  EXPECT_EQ(pad_right("é", 3), "é  ");
  EXPECT_EQ(pad_right("long", 2), "long");
}

TEST(Text, WideCharactersTakeTwoColumnsAndMarksNone) {
  EXPECT_EQ(display_width("重み"), 4u);
  EXPECT_EQ(display_width("e\u0301"), 1u);
  EXPECT_EQ(display_width("🙂"), 2u);
  EXPECT_EQ(pad_right("重み", 6), "重み  ");
  EXPECT_EQ(elide_middle("重みと勾配", 10), "重みと勾配");
  EXPECT_EQ(elide_middle("重みと勾配", 8), "重み…配");
}

TEST(Text, ElidingKeepsBothEnds) {
  EXPECT_EQ(elide_middle("layers.0.weight", 9), "laye…ight");
  EXPECT_EQ(elide_middle("layers.0.weight", 15), "layers.0.weight");
  EXPECT_EQ(elide_middle("ääääää", 4), "ää…ä");
  EXPECT_EQ(elide_middle("abc", 1), "…");
  EXPECT_EQ(elide_middle("abc", 0), "");
}

TEST(Text, CloseMatchesToleratesTyposAndNotMore) {
  const std::vector<std::string> verbs = {"import", "export", "ls", "log", "verify"};
  EXPECT_EQ(close_matches("improt", verbs), std::vector<std::string>{"import"});
  EXPECT_EQ(close_matches("verif", verbs), std::vector<std::string>{"verify"});
  EXPECT_EQ(close_matches("frobnicate", verbs), std::vector<std::string>{});
  EXPECT_EQ(close_matches("", verbs), std::vector<std::string>{});
  EXPECT_EQ(close_matches(std::string(10'000, 'x'), verbs), std::vector<std::string>{});
}

TEST(Text, SuggestionsAreEscaped) {
  EXPECT_EQ(suggestion(std::vector<std::string>{}), "");
  EXPECT_EQ(suggestion(std::vector<std::string>{"a", "b"}), "did you mean 'a' or 'b'?");
  EXPECT_EQ(suggestion(std::vector<std::string>{"\x1b[2J"}), "did you mean '\\x1b[2J'?");
}

}  // namespace
}  // namespace tenon::tools
