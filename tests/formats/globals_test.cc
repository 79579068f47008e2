#include "formats/global_safety.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include <unistd.h>

#include "tests/formats/pickles.h"

namespace tenon {
namespace {

TEST(GlobalSafety, IsByExactModuleAndName) {
  EXPECT_EQ(global_safety("torch._utils", "_rebuild_tensor_v2"), GlobalSafety::safe);
  EXPECT_EQ(global_safety("torch", "float8_e4m3fn"), GlobalSafety::safe);
  EXPECT_EQ(global_safety("__builtin__", "set"), GlobalSafety::safe);
  EXPECT_EQ(global_safety("torch._utils", "_rebuild_tensor"), GlobalSafety::safe);
  EXPECT_EQ(global_safety("torch._utils", "_rebuild_tensor_v"), GlobalSafety::unknown);
  EXPECT_EQ(global_safety("torch._utils.more", "_rebuild_tensor"), GlobalSafety::unknown);
  EXPECT_EQ(global_safety("torch", "Tensor FloatTensor"), GlobalSafety::unknown);
  EXPECT_EQ(global_safety("my.model", "Net"), GlobalSafety::unknown);
  EXPECT_EQ(global_safety("ossuary", "system"), GlobalSafety::unknown);
}

TEST(GlobalSafety, WhatRunsCodeIsDangerous) {
  const std::pair<const char*, const char*> all[] = {
      {"os", "system"},
      {"posix", "system"},
      {"nt", "system"},
      {"os.path", "join"},
      {"subprocess", "Popen"},
      {"builtins", "eval"},
      {"__builtin__", "execfile"},
      {"builtins", "getattr"},
      {"pickle", "loads"},
      {"runpy", "_run_code"},
      {"operator", "attrgetter"},
      {"torch", "load"},
      {"torch.hub", "load"},
      {"torch._inductor.codecache", "compile_file"},
      {"types", "FunctionType"},
      {"my.model", "os"},
      {"my.model", "helper.sys.modules"},
      {"my.model", "f.__globals__"},
  };
  for (const auto& [module, name] : all)
    EXPECT_EQ(global_safety(module, name), GlobalSafety::dangerous) << module << name;
}

class GlobalsOfFiles : public testing::Test {
 protected:
  GlobalsOfFiles() : path_(std::filesystem::temp_directory_path() / ("globals_test." + std::to_string(::getpid()))) {}
  ~GlobalsOfFiles() override { std::filesystem::remove(path_); }

  PickleGlobals of(const std::string& content) {
    std::ofstream(path_, std::ios::binary) << content;
    return list_globals(path_);
  }

  std::filesystem::path path_;
};

TEST_F(GlobalsOfFiles, AreListedOnceAndTheWorstFirst) {
  const PickleGlobals found = of("\x80\2(cmy\nNet\nccollections\nOrderedDict\ncos\nsystem\ncos\nsystem\nt.");
  ASSERT_EQ(found.globals.size(), 3u);
  EXPECT_EQ(found.globals[0].module, "os");
  EXPECT_EQ(found.globals[1].name, "Net");
  EXPECT_EQ(found.globals[2].safety, GlobalSafety::safe);
  EXPECT_FALSE(found.flaw);
}

TEST_F(GlobalsOfFiles, BeforeAFlawAreListedWithIt) {
  const PickleGlobals found = of("\x80\2cos\nsystem\n\xfe");
  ASSERT_EQ(found.globals.size(), 1u);
  ASSERT_TRUE(found.flaw);
  EXPECT_EQ(found.flaw->kind(), ErrorKind::corrupt);
  EXPECT_EQ(of("\x80\2\x8c\2os\x8c\3a.b\x93.").globals.size(), 1u);
}

TEST_F(GlobalsOfFiles, AreNoneWhereThereIsNoPickle) {
  EXPECT_THROW(of("\x93NUMPY\1\0"s), Error);
  EXPECT_THROW(of("\2\0\0\0\0\0\0\0{}"s), Error);
  EXPECT_THROW(of(""), Error);
}

}  // namespace
}  // namespace tenon
