#include "tools/sql_output.h"

#include <gtest/gtest.h>

#include "tools/text.h"

namespace tenon::tools {
namespace {

std::string print(const std::string& sql, const SqlFormat& format, std::uint64_t* count = nullptr) {
  Session session;
  Rows rows = session.query(sql);
  std::string text;
  const std::uint64_t printed = print_rows(rows, format, [&](std::string_view line) { text += line; });
  if (count != nullptr) *count = printed;
  return text;
}

std::string numbers(int count) {
  return "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < " + std::to_string(count) +
         ") SELECT i FROM n";
}

std::string error_text(const std::string& sql) {
  Session session;
  try {
    session.query(sql);
  } catch (const Error& error) {
    return describe_sql_error(error, sql);
  }
  return "no error";
}

TEST(SqlMode, IsKnownByItsName) {
  EXPECT_EQ(sql_mode("jsonl"), SqlMode::jsonl);
  EXPECT_EQ(sql_mode("xml"), std::nullopt);
}

TEST(SqlBox, ElidesTheMiddleRows) {
  std::uint64_t count = 0;
  EXPECT_EQ(print(numbers(9), {.rows_max = 4}, &count),
            "┌───┐\n│ i │\n├───┤\n│ 1 │\n│ 2 │\n│ … │\n│ 8 │\n│ 9 │\n└───┘\n");
  EXPECT_EQ(count, 9u);
}

TEST(SqlBox, ShowsAllRowsThatFit) {
  EXPECT_EQ(print(numbers(3), {.rows_max = 4}), "┌───┐\n│ i │\n├───┤\n│ 1 │\n│ 2 │\n│ 3 │\n└───┘\n");
}

TEST(SqlBox, IsFittedToTheTerminal) {
  const std::string text = print("SELECT printf('%.*c', 100, 'x') AS wide, 1 AS n", {.columns = 40});
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    EXPECT_LE(display_width(text.substr(begin, end - begin)), 40u);
    begin = end + 1;
  }
  EXPECT_NE(text.find("…"), std::string::npos);
}

TEST(SqlBox, HasAHeadWithoutRows) { EXPECT_EQ(print("SELECT 1 AS a WHERE 0", {}), "┌───┐\n│ a │\n├───┤\n└───┘\n"); }

TEST(SqlCsv, EscapesControlCharactersForATerminalOnly) {
  const std::string sql = "SELECT char(27) AS c";
  EXPECT_EQ(print(sql, {.mode = SqlMode::csv}), "c\n\x1b\n");
  EXPECT_EQ(print(sql, {.mode = SqlMode::csv, .is_terminal = true}), "c\n\\x1b\n");
}

TEST(SqlOutput, OfNothingIsNothing) { EXPECT_EQ(print("-- nothing", {}), ""); }

TEST(SqlError, PointsAtItsLineAndColumn) {
  EXPECT_EQ(error_text("SELECT 1,\n\tx,\n2"), "no such column: x\n   x,\n   ^\n");
  EXPECT_EQ(error_text("SELECT 'ü', x"), "no such column: x\n  SELECT 'ü', x\n              ^\n");
}

TEST(SqlError, AtTheEndOfTheStatement) {
  EXPECT_EQ(error_text("SELECT 1 +"), "incomplete input\n  SELECT 1 +\n            ^\n");
}

}  // namespace
}  // namespace tenon::tools
