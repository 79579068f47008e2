#include "tools/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tenon/error.h"

namespace tenon::tools {
namespace {

using testing::HasSubstr;

Invocation parse(std::vector<const char*> words) {
  words.insert(words.begin(), "tenon");
  return parse_command_line(static_cast<int>(words.size()), words.data());
}

Facts refusal(const std::vector<const char*>& words) {
  try {
    parse(words);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    return error.facts();
  }
  ADD_FAILURE() << "accepted";
  return {};
}

std::string printed(const std::vector<const char*>& words) {
  const Invocation invocation = parse(words);
  testing::internal::CaptureStdout();
  {
    Output output(false);
    EXPECT_EQ(invocation.run(output), 0);
    output.flush();
  }
  return testing::internal::GetCapturedStdout();
}

TEST(CommandLine, GlobalOptionsMayStandBeforeAndAfterTheVerb) {
  EXPECT_EQ(parse({"--store", "x", "ls", "--json"}).globals.store, "x");
  EXPECT_TRUE(parse({"--store", "x", "ls", "--json"}).globals.json);
  EXPECT_EQ(parse({"ls", "--store=y", "main"}).globals.store, "y");
}

TEST(CommandLine, NumbersThatAreNoneAreRefused) {
  const std::vector<std::vector<const char*>> lines = {{"import", "x.pt", "--step", "99999999999999999999"},
                                                       {"import", "x.pt", "--step", "1.5"},
                                                       {"import", "x.pt", "--step", "0x10"},
                                                       {"log", "-n", "-1"},
                                                       {"log", "-n", "1e3"},
                                                       {"tree", "--depth", "-1"},
                                                       {"tree", "--depth", "18446744073709551616"}};
  for (const auto& line : lines) EXPECT_THAT(refusal(line).what, HasSubstr("not a whole number")) << line[2];
  parse({"import", "x.pt", "--step", "-3"});
  parse({"log", "-n", "0"});
}

TEST(CommandLine, FlagsTakeNoValue) {
  refusal({"ls", "--json=false"});
  refusal({"cat", "main:x", "--raw=0"});
  refusal({"init", "x.tenon", "--relaxed=1/4"});
}

TEST(CommandLine, HintsNameTheWholeVerb) {
  EXPECT_THAT(refusal({"ref", "list", "x"}).hint, HasSubstr("`tenon help ref list`"));
  EXPECT_THAT(refusal({"ref", "set"}).hint, HasSubstr("`tenon help ref set`"));
  EXPECT_THAT(refusal({"tag", "v2", "main"}).hint, HasSubstr("`tenon tag set v2 REV`"));
}

TEST(CommandLine, MistypedVerbsAreNamedWithTheirLikely) {
  const Facts facts = refusal({"improt", "x.pt"});
  EXPECT_EQ(facts.got, "improt");
  EXPECT_EQ(facts.hint, "did you mean 'import'?");
  EXPECT_EQ(refusal({"ref", "sett", "a", "b"}).hint, "did you mean 'set'?");
}

TEST(CommandLine, MistypedOptionsAreNamedWithTheirLikely) {
  const Facts facts = refusal({"import", "x.pt", "--mesage", "hi"});
  EXPECT_EQ(facts.got, "--mesage");
  EXPECT_EQ(facts.hint, "did you mean '--message'?");
}

TEST(CommandLine, WhatIsMissingOrTooMuchIsRefused) {
  EXPECT_EQ(refusal({}).what, "which verb?");
  EXPECT_THAT(refusal({"export", "main"}).what, HasSubstr("OUT"));
  EXPECT_EQ(refusal({"ls", "main", "other"}).got, "other");
  EXPECT_THAT(refusal({"log", "-n", "many"}).what, HasSubstr("many"));
}

TEST(CommandLine, AVerbsNameCanBeAnArgument) { EXPECT_NO_THROW(parse({"ls", "log"})); }

TEST(CommandLine, MetaTakesOneValueAndLeavesTheFiles) {
  EXPECT_NO_THROW(parse({"import", "--meta", "a=1", "x.pt", "--meta", "b=2", "y.pt"}));
}

TEST(CommandLine, EveryVerbHasHelpWithAUsageLine) {
  for (const char* verb : {"init", "import", "export", "ls", "tree", "show", "cat", "log", "verify", "repair", "bundle",
                           "tag", "ref", "completion", "help"}) {
    EXPECT_THAT(printed({"help", verb}), HasSubstr(std::string("Usage: tenon ") + verb)) << verb;
    EXPECT_EQ(printed({"help", verb}), printed({verb, "--help"})) << verb;
  }
  EXPECT_THAT(printed({"help", "ref", "set"}), HasSubstr("Usage: tenon ref set"));
}

TEST(CommandLine, VersionAndGeneralHelp) {
  EXPECT_THAT(printed({"--version"}), testing::MatchesRegex("tenon [0-9.]+\n"));
  EXPECT_THAT(printed({"help"}), HasSubstr("TENON_STORE"));
  EXPECT_EQ(printed({"help"}), printed({"--help"}));
}

}  // namespace
}  // namespace tenon::tools
