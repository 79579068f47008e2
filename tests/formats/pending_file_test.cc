#include "formats/pending_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <fstream>
#include <functional>
#include <sstream>

#include "tenon/error.h"
#include "tenon/store.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class PendingFileTest : public testing::Test {
 protected:
  PendingFileTest() {
    std::string pattern = (fs::temp_directory_path() / "pending_file_test.XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~PendingFileTest() override { fs::remove_all(folder_); }

  fs::path given(const std::string& name, const std::string& content, mode_t mode = 0644) const {
    std::ofstream(folder_ / name) << content;
    ::chmod((folder_ / name).c_str(), mode);
    return folder_ / name;
  }
  void write(const fs::path& out, const std::string& content) const {
    PendingFile pending(out);
    pending.file().write_at(0, std::as_bytes(std::span(content)));
    pending.publish(true);
  }
  Error refusal(const fs::path& out) const {
    try {
      write(out, "new");
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << out << " was written";
    return Error(ErrorKind::io, {});
  }
  static std::string content(const fs::path& path) {
    std::ostringstream out;
    out << std::ifstream(path).rdbuf();
    return out.str();
  }
  static mode_t mode(const fs::path& path) {
    struct stat status {};
    EXPECT_EQ(::lstat(path.c_str(), &status), 0);
    return status.st_mode;
  }

  fs::path folder_;
};

TEST_F(PendingFileTest, AppearsOnlyWhenPublishedAndLeavesNothingElse) {
  { const PendingFile given_up(folder_ / "out.pt"); }
  EXPECT_TRUE(fs::is_empty(folder_));
  write(folder_ / "out.pt", "new");
  EXPECT_EQ(list_directory(folder_), std::vector<std::string>{"out.pt"});
  EXPECT_EQ(content(folder_ / "out.pt"), "new");
}

TEST_F(PendingFileTest, ReplacesWhatALinkPointsAtAndKeepsTheLink) {
  given("real.pt", "old");
  fs::create_symlink("real.pt", folder_ / "near.pt");
  fs::create_symlink(folder_ / "near.pt", folder_ / "latest.pt");
  write(folder_ / "latest.pt", "new");
  EXPECT_TRUE(S_ISLNK(mode(folder_ / "latest.pt")));
  EXPECT_TRUE(S_ISLNK(mode(folder_ / "near.pt")));
  EXPECT_EQ(content(folder_ / "real.pt"), "new");
}

TEST_F(PendingFileTest, MakesWhatADanglingLinkPointsAt) {
  fs::create_symlink("later.pt", folder_ / "latest.pt");
  write(folder_ / "latest.pt", "new");
  EXPECT_TRUE(S_ISREG(mode(folder_ / "later.pt")));
  EXPECT_EQ(content(folder_ / "latest.pt"), "new");
}

TEST_F(PendingFileTest, RefusesLinksInACircle) {
  fs::create_symlink("b.pt", folder_ / "a.pt");
  fs::create_symlink("a.pt", folder_ / "b.pt");
  EXPECT_EQ(refusal(folder_ / "a.pt").kind(), ErrorKind::io);
}

TEST_F(PendingFileTest, KeepsThePermissionsOfWhatItReplaces) {
  for (const mode_t wanted : {0600u, 0640u, 0664u}) {
    write(given("out.pt", "old", wanted), "new");
    EXPECT_EQ(mode(folder_ / "out.pt"), S_IFREG | wanted);
  }
}

TEST_F(PendingFileTest, LeavesPipesAndDirectoriesAlone) {
  ASSERT_EQ(::mkfifo((folder_ / "fifo").c_str(), 0600), 0);
  fs::create_directory(folder_ / "dir");
  const Error pipe = refusal(folder_ / "fifo");
  EXPECT_EQ(pipe.kind(), ErrorKind::invalid_argument);
  EXPECT_THAT(pipe.facts().what, HasSubstr("pipe"));
  EXPECT_TRUE(S_ISFIFO(mode(folder_ / "fifo")));
  EXPECT_THAT(refusal(folder_ / "dir").facts().what, HasSubstr("is a directory"));
}

TEST_F(PendingFileTest, LeavesDevicesAloneAlsoBehindALink) {
  const fs::path device = folder_ / "null";
  if (::mknod(device.c_str(), S_IFCHR | 0600, makedev(1, 3)) != 0) GTEST_SKIP() << "may not make a device";
  fs::create_symlink("null", folder_ / "out.pt");
  EXPECT_EQ(refusal(device).kind(), ErrorKind::invalid_argument);
  EXPECT_EQ(refusal(folder_ / "out.pt").kind(), ErrorKind::invalid_argument);
  EXPECT_TRUE(S_ISCHR(mode(device)));
}

TEST_F(PendingFileTest, LeavesStoresAlone) {
  Store store = Store::init(folder_ / "run.tenon", {.durability = Durability::relaxed});
  store.commit(Draft{});
  store.bundle("main", folder_ / "one.tenon");
  const std::string superblock = content(folder_ / "run.tenon" / "TENON");
  fs::create_directory_symlink("run.tenon/segments", folder_ / "link");
  for (const char* out : {"run.tenon/TENON", "run.tenon/x.pt", "run.tenon/segments/x.pt", "link/x.pt"}) {
    EXPECT_THAT(refusal(folder_ / out).facts().what, HasSubstr("inside the store")) << out;
  }
  EXPECT_THAT(refusal(folder_ / "one.tenon").facts().what, HasSubstr("is a store"));
  EXPECT_EQ(content(folder_ / "run.tenon" / "TENON"), superblock);
  EXPECT_TRUE(Store::verify(folder_ / "run.tenon").damage.empty());
}

TEST_F(PendingFileTest, NamesTheFileThatWasAskedForWhenItCannotBeMade) {
  const Error error = refusal(folder_ / "nodir" / "out.pt");
  EXPECT_EQ(error.kind(), ErrorKind::not_found);
  EXPECT_EQ(error.facts().file, (folder_ / "nodir" / "out.pt").string());
}

TEST_F(PendingFileTest, TakesNamesAsLongAsTheyMayBe) {
  const std::string name = std::string(252, 'n') + ".pt";
  write(folder_ / name, "new");
  EXPECT_EQ(list_directory(folder_), std::vector<std::string>{name});
}

}  // namespace
}  // namespace tenon
