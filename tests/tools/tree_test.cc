#include <gtest/gtest.h>

#include "tools/name_tree.h"

namespace tenon::tools {
namespace {

using Labels = std::vector<std::string>;

TEST(SplitName, CutsBehindSlashesAndDots) {
  EXPECT_EQ(split_name("model/layers.0.weight"), (Labels{"model/", "layers.", "0.", "weight"}));
  EXPECT_EQ(split_name("state/0/exp_avg"), (Labels{"state/", "0/", "exp_avg"}));
  EXPECT_EQ(split_name("."), Labels{"."});
}

TEST(SplitName, QuotedAndOtherKeysStayWhole) {
  EXPECT_EQ(split_name("a/\"x/y.z\"/b"), (Labels{"a/", "\"x/y.z\"/", "b"}));
  EXPECT_EQ(split_name("a/<2.5>"), (Labels{"a/", "<2.5>"}));
}

TEST(SplitName, JoinsToTheNameAgain) {
  for (const std::string name : {"a..b", "a.", ".a.b", "a/b./c", "x"}) {
    std::string joined;
    for (const std::string& label : split_name(name)) joined += label;
    EXPECT_EQ(joined, name);
  }
}

TEST(SplitName, DepthIsBounded) {
  std::string name = "a";
  for (int i = 0; i < 10'000; ++i) name += i % 2 == 0 ? "/a" : ".a";
  const Labels labels = split_name(name);
  EXPECT_LE(labels.size(), 128u);
  std::string joined;
  for (const std::string& label : labels) joined += label;
  EXPECT_EQ(joined, name);
}

}  // namespace
}  // namespace tenon::tools
