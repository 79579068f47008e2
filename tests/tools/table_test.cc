#include "tools/table.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace tenon::tools {
namespace {

std::string printed(const Table& table, const char* columns) {
  if (columns != nullptr) setenv("COLUMNS", columns, 1);
  testing::internal::CaptureStdout();
  {
    Output output(false);
    table.print(output);
    output.flush();
  }
  unsetenv("COLUMNS");
  return testing::internal::GetCapturedStdout();
}

Table example() {
  Table table({{"NAME", Align::left, true}, {"SIZE", Align::right}, {"NOTES"}});
  table.add({"model/layers.0.attention.weight", "1.0 MiB", ""});
  table.add({"b", "8 B", "tied"});
  return table;
}

TEST(Table, AlignsColumnsAndTrimsLines) {
  EXPECT_EQ(printed(example(), nullptr),
            "NAME                                SIZE  NOTES\n"
            "model/layers.0.attention.weight  1.0 MiB\n"
            "b                                    8 B  tied\n");
}

TEST(Table, ElidesTheElasticColumnToFitTheLine) {
  EXPECT_EQ(printed(example(), "32"),
            "NAME                 SIZE  NOTES\n"
            "model/la….weight  1.0 MiB\n"
            "b                     8 B  tied\n");
}

TEST(Table, NeverElidesBeyondReadability) { EXPECT_NE(printed(example(), "5").find("model/"), std::string::npos); }

}  // namespace
}  // namespace tenon::tools
