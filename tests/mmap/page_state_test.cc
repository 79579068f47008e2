#include "mmap/page_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <string>

#include "mmap/mapping.h"

namespace tenon {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::size_t page_count = 64;

class PageStateTest : public ::testing::TestWithParam<PageStateMeans> {
 protected:
  PageStateTest() {
    std::string name = (std::filesystem::temp_directory_path() / "tenon-page-state-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    directory_ = name;
    file_ = File::create(directory_ / "file");
    file_.write_at(0, std::vector<std::byte>(page_count * page_bytes(), std::byte{7}));
    mapping_ = Mapping::map(file_, 0, page_count * page_bytes(), MapMode::copy_on_write);
  }
  ~PageStateTest() override { std::filesystem::remove_all(directory_); }

  void SetUp() override {
    if (page_state_means(GetParam()) != GetParam()) GTEST_SKIP() << "this kernel has not got it";
  }

  std::byte& page(std::size_t number) const { return mapping_.data()[number * page_bytes()]; }
  std::uintptr_t address(std::size_t number) const { return reinterpret_cast<std::uintptr_t>(&page(number)); }

  // Numbers of the pages that are said to be written.
  std::vector<std::size_t> written(std::size_t begin = 0, std::size_t end = page_count) const {
    const AddressRange range{address(begin), address(end)};
    const auto ranges = written_pages({&range, 1}, GetParam());
    if (!ranges) throw std::runtime_error("the kernel does not tell");
    std::vector<std::size_t> numbers;
    for (const AddressRange& found : *ranges) {
      for (std::uintptr_t at = found.begin; at < found.end; at += page_bytes()) {
        numbers.push_back((at - address(0)) / page_bytes());
      }
    }
    return numbers;
  }

  std::filesystem::path directory_;
  File file_;
  Mapping mapping_;
};

// Runs `body` in a forked process; true if it returned true.
bool holds_in_child(const std::function<bool()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    bool held = false;
    try {
      held = body();
    } catch (const std::exception&) {
    }
    ::_exit(held ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST_P(PageStateTest, WhatWasOnlyReadIsNotWritten) {
  for (std::size_t i = 0; i < page_count; i += 2) ASSERT_EQ(page(i), std::byte{7});
  EXPECT_THAT(written(), IsEmpty());
}

TEST_P(PageStateTest, WrittenPagesAreTold) {
  page(3) = std::byte{1};
  page(4) = std::byte{7};  // the same byte: a copy all the same
  page(63) = std::byte{1};
  EXPECT_THAT(written(), ElementsAre(3, 4, 63));
  EXPECT_THAT(written(4, 63), ElementsAre(4));
}

TEST_P(PageStateTest, SeveralRangesMayShareAPage) {
  page(3) = std::byte{1};
  const std::vector<AddressRange> ranges{{address(2) + 5, address(3) + 5}, {address(3) + 5, address(3) + 9}};
  const auto found = written_pages(ranges, GetParam());
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ(found->front().begin, address(3));
  EXPECT_EQ(found->front().end, address(4));
}

TEST_P(PageStateTest, MorePagesThanOneCallTellsOf) {
  for (std::size_t i = 0; i < page_count; i += 2) page(i) = std::byte{1};
  EXPECT_EQ(written().size(), page_count / 2);
  File large = File::create(directory_ / "large");
  const std::size_t pages = 5000;
  large.write_at(pages * page_bytes() - 1, std::vector<std::byte>(1));
  const Mapping mapping = Mapping::map(large, 0, pages * page_bytes(), MapMode::copy_on_write);
  for (std::size_t i = 0; i < pages; i += 2) mapping.data()[i * page_bytes()] = std::byte{1};
  const auto begin = reinterpret_cast<std::uintptr_t>(mapping.data());
  const AddressRange all{begin, begin + mapping.size_bytes()};
  const auto found = written_pages({&all, 1}, GetParam());
  ASSERT_TRUE(found);
  EXPECT_EQ(found->size(), pages / 2);
}

TEST_P(PageStateTest, DroppedCopiesAreNotWrittenAnyMore) {
  page(3) = std::byte{1};
  page(5) = std::byte{1};
  ASSERT_EQ(::madvise(&page(3), page_bytes(), MADV_DONTNEED), 0);
  EXPECT_EQ(page(3), std::byte{7});  // the file's again
  EXPECT_THAT(written(), ElementsAre(5));
}

TEST_P(PageStateTest, AChildHasItsParentsWritesAndItsOwn) {
  page(3) = std::byte{1};
  EXPECT_TRUE(holds_in_child([&] {
    page(9) = std::byte{2};
    return written() == std::vector<std::size_t>{3, 9};
  }));
  EXPECT_THAT(written(), ElementsAre(3));
}

TEST_P(PageStateTest, WhatIsWrittenAfterAForkIsTheParentsAlone) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char byte = 0;
    const bool is_told = ::read(ready[0], &byte, 1) == 1;
    ::_exit(is_told && written().empty() ? 0 : 1);
  }
  page(3) = std::byte{1};
  ASSERT_EQ(::write(ready[1], "x", 1), 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_THAT(written(), ElementsAre(3));
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_P(PageStateTest, WrittenByTheKernelIsWritten) {
  ASSERT_EQ(::pread(file_.descriptor(), &page(8), 1, 0), 1);
  EXPECT_THAT(written(), ElementsAre(8));
}

// Needs swap to say anything of swapped pages; without any the pages stay, and are told of all the same.
TEST_P(PageStateTest, SwappedPagesAreWritten) {
  for (std::size_t i = 8; i < 16; ++i) page(i) = std::byte{1};
  if (::madvise(&page(8), 8 * page_bytes(), MADV_PAGEOUT) != 0) GTEST_SKIP() << "no MADV_PAGEOUT";
  EXPECT_THAT(written(), ElementsAre(8, 9, 10, 11, 12, 13, 14, 15));
}

TEST_P(PageStateTest, PagesOfAFileWithoutANameAreKnownToo) {
  std::filesystem::remove(directory_ / "file");
  page(3) = std::byte{1};
  EXPECT_THAT(written(), ElementsAre(3));
}

// A process that may not be looked at, as after a change of user.
TEST_P(PageStateTest, NothingIsKnownWhereTheKernelDoesNotTell) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may always look";
  const AddressRange range{address(0), address(1)};
  EXPECT_TRUE(holds_in_child([&] {
    return ::prctl(PR_SET_DUMPABLE, 0) == 0 && !written_pages({&range, 1}, GetParam());
  }));
}

INSTANTIATE_TEST_SUITE_P(Means, PageStateTest, ::testing::Values(PageStateMeans::scan, PageStateMeans::pagemap),
                         [](const auto& means) { return means.param == PageStateMeans::scan ? "Scan" : "Pagemap"; });

TEST(PageStateMeansTest, CanBeLimited) {
  limit_page_state_means(PageStateMeans::none);
  EXPECT_EQ(page_state_means(), PageStateMeans::none);
  limit_page_state_means(PageStateMeans::pagemap);
  EXPECT_NE(page_state_means(), PageStateMeans::scan);
  limit_page_state_means(PageStateMeans::scan);
  EXPECT_FALSE(written_pages({}, PageStateMeans::none));
}

class MappedRegionsTest : public PageStateTest {
 protected:
  void SetUp() override {}
  std::uint64_t inode() const {
    struct stat status {};
    ::fstat(file_.descriptor(), &status);
    return status.st_ino;
  }
};

TEST_F(MappedRegionsTest, APrivateMappingIsRecognisedByInodeAndOffset) {
  const auto regions = mapped_regions();
  const std::uint64_t size = 3 * page_bytes();
  const std::uint64_t offset = 2 * page_bytes();
  EXPECT_TRUE(is_private_mapping(regions, address(2), size, offset, inode()));
  EXPECT_TRUE(is_private_mapping(regions, address(2) + 64, size, offset + 64, inode()));
  EXPECT_FALSE(is_private_mapping(regions, address(2), size, offset + page_bytes(), inode()));
  EXPECT_FALSE(is_private_mapping(regions, address(2), size, offset, inode() + 1));
  EXPECT_FALSE(is_private_mapping(regions, address(2), page_count * page_bytes(), offset, inode()));
  EXPECT_FALSE(is_private_mapping({}, address(2), size, offset, inode()));
}

TEST_F(MappedRegionsTest, ASharedMappingIsNotPrivate) {
  const Mapping shared = Mapping::map(file_, 0, page_bytes(), MapMode::read_only);
  const auto begin = reinterpret_cast<std::uintptr_t>(shared.data());
  EXPECT_FALSE(is_private_mapping(mapped_regions(), begin, page_bytes(), 0, inode()));
}

TEST_F(MappedRegionsTest, ARangeMayBeMadeOfSeveralMappings) {
  const StitchedRange::Piece pieces[] = {{&file_, 0, page_bytes()}, {&file_, 8 * page_bytes(), page_bytes()}};
  const StitchedRange range = StitchedRange::map(pieces, MapMode::copy_on_write);
  const auto regions = mapped_regions();
  const auto begin = reinterpret_cast<std::uintptr_t>(range.data());
  EXPECT_TRUE(is_private_mapping(regions, begin, page_bytes(), 0, inode()));
  EXPECT_TRUE(is_private_mapping(regions, begin + page_bytes(), page_bytes(), 8 * page_bytes(), inode()));
  EXPECT_FALSE(is_private_mapping(regions, begin, 2 * page_bytes(), 0, inode()));
}

TEST_F(MappedRegionsTest, WhatAChildDidNotInheritIsNotThere) {
  ASSERT_EQ(::madvise(&page(0), page_count * page_bytes(), MADV_DONTFORK), 0);
  EXPECT_TRUE(holds_in_child([&] {
    void* const other = ::mmap(&page(0), page_bytes(), PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    return other == &page(0) && !is_private_mapping(mapped_regions(), address(0), page_bytes(), 0, inode());
  }));
}

}  // namespace
}  // namespace tenon
