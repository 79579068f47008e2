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
            "┌───┐\n│ i │\n├───┤\n│ 1 │\n│ 2 │\n│ … │\n│ 8 │\n│ 9 │\n└───┘\n9 rows, 4 shown\n");
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

TEST(SqlBox, LeavesOutTheMiddleColumnsThatDoNotFit) {
  EXPECT_EQ(print("SELECT 'first' AS a, 'second' AS b, 'third' AS c, 'last' AS d", {.columns = 21}),
            "┌───────┬───┬──────┐\n│ a     │ … │ d    │\n├───────┼───┼──────┤\n│ first │ … │ last │\n"
            "└───────┴───┴──────┘\n4 columns, 2 shown; mode line shows all\n");
}

TEST(SqlBox, CutsWideColumnsBeforeItLeavesOneOut) {
  const std::string text =
      print("SELECT printf('%.*c', 50, 'x') AS wide, printf('%.*c', 50, 'y') AS wider", {.columns = 40});
  EXPECT_EQ(text.find("shown"), std::string::npos);
}

TEST(SqlMarkdown, AlignsATitleWithABar) {
  EXPECT_EQ(print("SELECT 'x' AS \"a|b\"", {.mode = SqlMode::markdown}), "| a\\|b |\n|------|\n| x    |\n");
}

TEST(SqlJsonLines, KeepEveryColumnOfTheSameName) {
  EXPECT_EQ(print("SELECT 1 AS a, 2 AS a, 3 AS a", {.mode = SqlMode::jsonl}), "{\"a\":1,\"a:2\":2,\"a:3\":3}\n");
}

TEST(SqlCsv, AloneNullIsNoEmptyLine) {
  EXPECT_EQ(print("SELECT NULL AS a UNION ALL SELECT 1", {.mode = SqlMode::csv}), "a\n\"\"\n1\n");
  EXPECT_EQ(print("SELECT NULL AS a, '' AS b", {.mode = SqlMode::csv}), "a,b\n,\"\"\n");
}

TEST(SqlBox, HasAHeadWithoutRows) { EXPECT_EQ(print("SELECT 1 AS a WHERE 0", {}), "┌───┐\n│ a │\n├───┤\n└───┘\n"); }

TEST(SqlCsv, EscapesControlCharactersForATerminalOnly) {
  const std::string sql = "SELECT char(27) AS c";
  EXPECT_EQ(print(sql, {.mode = SqlMode::csv}), "c\n\x1b\n");
  EXPECT_EQ(print(sql, {.mode = SqlMode::csv, .is_terminal = true}), "c\n\\x1b\n");
}

TEST(SqlOutput, OfNothingIsNothing) { EXPECT_EQ(print("-- nothing", {}), ""); }

TEST(SqlError, PointsAtItsLineAndColumn) {
  EXPECT_EQ(error_text("SELECT 1,\n\tzzzz,\n2"), "no such column: zzzz\n   zzzz,\n   ^\n");
  EXPECT_EQ(error_text("SELECT 'ü', zzzz"), "no such column: zzzz\n  SELECT 'ü', zzzz\n              ^\n");
}

TEST(SqlError, OfALongLineShowsWhatIsAround) {
  const std::string text =
      error_text("SELECT '" + std::string(5000, 'x') + "', nothing, '" + std::string(5000, 'y') + "'");
  const std::size_t line = text.find("\n  ") + 1, caret = text.find('\n', line) + 1;
  EXPECT_LE(caret - line, 220u);
  const std::string shown = text.substr(line, caret - line);
  EXPECT_EQ(display_width(shown.substr(0, shown.find("nothing"))), text.find('^') - caret);
}

TEST(SqlError, AtTheEndOfTheStatement) {
  EXPECT_EQ(error_text("SELECT 1 +"), "incomplete input\n  SELECT 1 +\n            ^\n");
}

}  // namespace
}  // namespace tenon::tools
