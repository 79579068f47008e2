#include "tools/target.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

namespace tenon::tools {
namespace {

namespace fs = std::filesystem;

// A folder of its own as working folder, without TENON_STORE.
class FindStore : public testing::Test {
 protected:
  FindStore() : before_(fs::current_path()) {
    std::string pattern = (fs::temp_directory_path() / "tenon-target-XXXXXX").string();
    root_ = fs::canonical(mkdtemp(pattern.data()));
    fs::current_path(root_);
    unsetenv("TENON_STORE");
  }
  ~FindStore() override {
    fs::current_path(before_);
    fs::remove_all(root_);
    unsetenv("TENON_STORE");
  }
  void make_directory(const std::string& name) { fs::create_directories(root_ / name); }
  void make_file(const std::string& name) { std::ofstream(root_ / name) << "x"; }

  fs::path before_;
  fs::path root_;
};

TEST_F(FindStore, GoesUpwardToTheNearest) {
  make_directory("run.tenon");
  make_directory("a/b");
  fs::current_path(root_ / "a" / "b");
  EXPECT_EQ(find_store(""), root_ / "run.tenon");
  make_directory("a/.tenon");
  EXPECT_EQ(find_store(""), root_ / "a" / ".tenon");
}

TEST_F(FindStore, WhatIsNamedGoesFirst) {
  make_directory("run.tenon");
  setenv("TENON_STORE", "/elsewhere", 1);
  EXPECT_EQ(find_store(""), "/elsewhere");
  EXPECT_EQ(find_store("given"), "given");
  setenv("TENON_STORE", "", 1);
  EXPECT_EQ(find_store(""), root_ / "run.tenon");
}

TEST_F(FindStore, DirectoriesGoBeforeBundlesWhichAreNeverWritten) {
  make_directory("outer.tenon");
  make_directory("inner");
  make_file("inner/best.tenon");
  fs::current_path(root_ / "inner");
  EXPECT_EQ(find_store(""), root_ / "inner" / "best.tenon");
  EXPECT_EQ(find_writable_store(""), root_ / "outer.tenon");
  make_directory("inner/run.tenon");
  EXPECT_EQ(find_store(""), root_ / "inner" / "run.tenon");
  EXPECT_EQ(find_writable_store(""), root_ / "inner" / "run.tenon");
}

TEST_F(FindStore, SeveralInOneFolderAreNotChosenAmong) {
  make_directory("a.tenon");
  make_directory("b.tenon");
  try {
    find_store("");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    EXPECT_EQ(error.facts().got, "a.tenon, b.tenon");
  }
}

}  // namespace
}  // namespace tenon::tools
