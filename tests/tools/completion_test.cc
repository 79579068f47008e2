#include "tools/completion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tenon/error.h"

namespace tenon::tools {
namespace {

using testing::HasSubstr;

const std::vector<VerbSpec> verbs = {
    {.name = "ls", .help = "List what's there", .options = {{{"-l", "--long"}, "more"}}, .takes_rev = true},
    {.name = "ref", .help = "Refs", .subverbs = {"list", "set"}}};

TEST(Completion, EveryShellKnowsVerbsOptionsAndSubverbs) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const std::string script = completion_script(shell, verbs);
    EXPECT_THAT(script, HasSubstr("ls")) << shell;
    EXPECT_THAT(script, HasSubstr("long")) << shell;
    EXPECT_THAT(script, HasSubstr("set")) << shell;
  }
}

TEST(Completion, QuotesInHelpDoNotEndTheShellString) {
  EXPECT_THAT(completion_script("zsh", verbs), HasSubstr(R"('ls:List what'\''s there')"));
}

TEST(Completion, OtherShellsAreRefused) {
  try {
    completion_script("csh", verbs);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
  }
}

}  // namespace
}  // namespace tenon::tools
