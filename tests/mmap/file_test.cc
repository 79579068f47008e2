#include "mmap/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <string>

namespace tenon {
namespace {

using std::filesystem::path;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

ErrorKind kind_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.kind();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorKind{};
}

class FileTest : public ::testing::Test {
 protected:
  FileTest() {
    std::string name = (std::filesystem::temp_directory_path() / "tenon-file-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    directory_ = name;
  }
  ~FileTest() override { std::filesystem::remove_all(directory_); }

  path at(const std::string& name) const { return directory_ / name; }
  path given(const std::string& name, std::string_view text) const {
    File file = File::create(at(name));
    file.write_at(0, bytes_of(text));
    return at(name);
  }
  std::string content(const std::string& name) const { return text_of(read_file(at(name), 1 << 20)); }
  std::vector<std::string> names() const { return list_directory(directory_); }

  path directory_;
};

TEST_F(FileTest, ReadsBackWhatWasWrittenAtAnyOffset) {
  File file = File::create(at("f"));
  file.write_at(3, bytes_of("later"));
  file.write_at(0, bytes_of("now"));
  EXPECT_EQ(file.size_bytes(), 8u);
  EXPECT_EQ(content("f"), "nowlater");
}

TEST_F(FileTest, CreateRefusesAnExistingFileAndLeavesItAlone) {
  given("f", "mine");
  EXPECT_EQ(kind_of([&] { File::create(at("f")); }), ErrorKind::conflict);
  EXPECT_EQ(content("f"), "mine");
}

TEST_F(FileTest, OpenOfAMissingFileIsNotFoundAndTryOpenIsEmpty) {
  EXPECT_EQ(kind_of([&] { File::open(at("none")); }), ErrorKind::not_found);
  EXPECT_FALSE(File::try_open(at("none")));
  EXPECT_FALSE(try_read_file(at("none"), 10));
  given("f", "");
  EXPECT_FALSE(File::try_open(at("f") / "below"));
  EXPECT_TRUE(File::try_open(at("f")));
}

TEST_F(FileTest, ReadPastTheEndSaysThatTheFileEndsEarly) {
  const File file = File::open(given("f", "12345"));
  std::array<std::byte, 4> out{};
  file.read_at(1, out);
  try {
    file.read_at(2, out);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::corrupt);
    EXPECT_EQ(error.facts().offset, 2u);
    EXPECT_THAT(error.what(), HasSubstr("5 bytes"));
  }
}

TEST_F(FileTest, AFileCanBeReadAsIfItBeganLater) {
  const File file = File::open_from(given("f", "before, after"), 8);
  std::array<std::byte, 5> out{};
  file.read_at(0, out);
  EXPECT_EQ(text_of({out.begin(), out.end()}), "after");
  EXPECT_EQ(file.size_bytes(), 5u);
  EXPECT_EQ(kind_of([&] { file.read_at(1, out); }), ErrorKind::corrupt);
  EXPECT_EQ(File::open_from(at("f"), 13).size_bytes(), 0u);
  EXPECT_EQ(kind_of([&] { File::open_from(at("f"), 14); }), ErrorKind::invalid_argument);
}

TEST_F(FileTest, OffsetsBeyondTheLargestFileAreRefused) {
  File file = File::create(at("f"));
  std::array<std::byte, 4> bytes{};
  for (const std::uint64_t offset : {~std::uint64_t{0}, std::uint64_t{1} << 63, (std::uint64_t{1} << 63) - 3}) {
    EXPECT_EQ(kind_of([&] { file.read_at(offset, bytes); }), ErrorKind::corrupt) << offset;
    EXPECT_EQ(kind_of([&] { file.write_at(offset, bytes); }), ErrorKind::full) << offset;
    EXPECT_EQ(kind_of([&] { file.reserve(offset, 4); }), ErrorKind::full) << offset;
  }
  EXPECT_EQ(file.size_bytes(), 0u);
}

TEST_F(FileTest, WriteThroughAReadOnlyDescriptorIsAnIoError) {
  File file = File::open(given("f", "x"));
  EXPECT_EQ(kind_of([&] { file.write_at(0, bytes_of("y")); }), ErrorKind::io);
}

TEST_F(FileTest, ReserveLeavesTheSizeAndAllocatesSpace) {
  File file = File::create(at("f"));
  file.reserve(0, 1 << 20);
  EXPECT_EQ(file.size_bytes(), 0u);
  file.reserve(0, 0);
  struct stat status {};
  ASSERT_EQ(::fstat(file.descriptor(), &status), 0);
  EXPECT_GE(status.st_blocks, (1 << 20) / 512);
}

TEST_F(FileTest, TruncateSetsTheSize) {
  File file = File::create(at("f"));
  file.write_at(0, bytes_of("12345"));
  file.truncate(2);
  EXPECT_EQ(content("f"), "12");
  file.sync();
  file.sync_data();
}

TEST_F(FileTest, MovedFromFileIsClosedAndCloseMayBeRepeated) {
  File first = File::create(at("f"));
  File second = std::move(first);
  EXPECT_FALSE(first.is_open());
  EXPECT_TRUE(second.is_open());
  const int descriptor = second.descriptor();
  second = File::create(at("g"));
  EXPECT_EQ(second.path(), at("g"));
  second.close();
  second.close();
  EXPECT_EQ(::fcntl(descriptor, F_GETFD), -1);
}

TEST_F(FileTest, DescriptorsAreClosedOnExec) {
  const File file = File::create(at("f"));
  EXPECT_EQ(::fcntl(file.descriptor(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

TEST_F(FileTest, ReadFileRefusesWhatIsLargerThanItsLimit) {
  given("f", "12345");
  EXPECT_EQ(text_of(read_file(at("f"), 5)), "12345");
  EXPECT_EQ(kind_of([&] { read_file(at("f"), 4); }), ErrorKind::limit);
}

TEST_F(FileTest, AFifoInTheWayDoesNotBlock) {
  ASSERT_EQ(::mkfifo(at("fifo").c_str(), 0600), 0);
  const File file = File::open(at("fifo"));
  std::array<std::byte, 1> out{};
  EXPECT_EQ(kind_of([&] { file.read_at(0, out); }), ErrorKind::io);
}

TEST_F(FileTest, ReplaceFileMakesAndReplacesWithoutLeftovers) {
  for (const bool durable : {false, true}) {
    replace_file(at("head"), bytes_of("one"), durable);
    EXPECT_EQ(content("head"), "one");
    replace_file(at("head"), bytes_of("two!"), durable);
    EXPECT_EQ(content("head"), "two!");
  }
  EXPECT_THAT(names(), ElementsAre("head"));
}

TEST_F(FileTest, ReplaceFileKeepsTheInodeThatIsInUse) {
  const File old = File::open(given("head", "old"));
  replace_file(at("head"), bytes_of("new"), false);
  std::array<std::byte, 3> out{};
  old.read_at(0, out);
  EXPECT_EQ(text_of({out.begin(), out.end()}), "old");
}

TEST_F(FileTest, FailedReplaceRemovesItsTemporaryFile) {
  make_directory(at("d"));  // a directory cannot be replaced by a file
  EXPECT_EQ(kind_of([&] { replace_file(at("d"), bytes_of("x"), true); }), ErrorKind::io);
  EXPECT_THAT(names(), ElementsAre("d"));
}

TEST_F(FileTest, ASizeLimitIsReportedAsFullAndReplaceLeavesTheOldContent) {
  given("head", "old");
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit small{4, 4};
    ::setrlimit(RLIMIT_FSIZE, &small);
    int status = 1;
    try {
      replace_file(at("head"), bytes_of("longer than four"), false);
    } catch (const Error& error) {
      status = error.kind() == ErrorKind::full ? 0 : 2;
    }
    ::_exit(status);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(content("head"), "old");
  EXPECT_THAT(names(), ElementsAre("head"));
}

TEST_F(FileTest, RenameReplacesUnlessToldNotTo) {
  given("a", "A");
  given("b", "B");
  EXPECT_EQ(kind_of([&] { rename_file(at("a"), at("b"), true); }), ErrorKind::conflict);
  EXPECT_EQ(content("b"), "B");
  rename_file(at("a"), at("b"));
  EXPECT_EQ(content("b"), "A");
  rename_file(at("b"), at("c"), true);
  EXPECT_THAT(names(), ElementsAre("c"));
  EXPECT_EQ(kind_of([&] { rename_file(at("none"), at("d"), true); }), ErrorKind::not_found);
}

TEST_F(FileTest, RemoveSaysWhetherTheFileWasThere) {
  given("f", "x");
  EXPECT_TRUE(file_exists(at("f")));
  EXPECT_TRUE(remove_file(at("f")));
  EXPECT_FALSE(remove_file(at("f")));
  EXPECT_FALSE(file_exists(at("f")));
}

TEST_F(FileTest, DirectoriesAreMadeListedAndSynced) {
  make_directory(at("d"));
  EXPECT_EQ(kind_of([&] { make_directory(at("d")); }), ErrorKind::conflict);
  EXPECT_EQ(kind_of([&] { make_directory(at("no") / "parent"); }), ErrorKind::not_found);
  EXPECT_THAT(list_directory(at("d")), IsEmpty());
  given("b", "");
  given("a", "");
  EXPECT_THAT(names(), ElementsAre("a", "b", "d"));
  sync_directory(directory_);
  EXPECT_EQ(kind_of([&] { sync_directory(at("none")); }), ErrorKind::not_found);
}

TEST_F(FileTest, LocalDirectoryIsNoNetworkFileSystem) {
  std::string name = "unchanged";
  EXPECT_FALSE(is_network_file_system("/proc", name));
  EXPECT_EQ(name, "unchanged");
  EXPECT_EQ(kind_of([&] { is_network_file_system(at("none"), name); }), ErrorKind::not_found);
}

TEST(RandomBytes, FillsEveryByteDifferentlyEachTime) {
  std::array<std::byte, 64> first{};
  std::array<std::byte, 64> second{};
  random_bytes(first);
  random_bytes(second);
  EXPECT_NE(first, second);
}

TEST(ThrowErrno, MapsTheReasonsOfAFullDiskToFull) {
  for (const int error : {ENOSPC, EDQUOT, EFBIG}) {
    EXPECT_EQ(kind_of([&] { throw_errno(error, "cannot write", "f", 7); }), ErrorKind::full);
  }
  EXPECT_EQ(kind_of([] { throw_errno(ENOENT, "cannot open", "f"); }), ErrorKind::not_found);
  EXPECT_EQ(kind_of([] { throw_errno(EACCES, "cannot open", "f"); }), ErrorKind::io);
}

TEST(ThrowErrno, NamesPathOffsetReasonAndHint) {
  try {
    throw_errno(EACCES, "cannot open", "/some/file", 7);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "cannot open: /some/file at offset 7: got Permission denied; check who owns it and its permissions");
  }
}

}  // namespace
}  // namespace tenon
