#include "mmap/mapping.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

namespace tenon {
namespace {

constexpr std::uint64_t kib = 1024;

class MappingTest : public ::testing::Test {
 protected:
  MappingTest() {
    std::string name = (std::filesystem::temp_directory_path() / "tenon-mapping-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    directory_ = name;
  }
  ~MappingTest() override { std::filesystem::remove_all(directory_); }

  // A file whose page n is filled with the byte `first + n`.
  File pages(const std::string& name, std::size_t count, char first) const {
    File file = File::create(directory_ / name);
    for (std::size_t i = 0; i < count; ++i) {
      const std::string page(page_bytes(), static_cast<char>(first + static_cast<char>(i)));
      file.write_at(i * page_bytes(), std::as_bytes(std::span(page)));
    }
    return file;
  }

  std::filesystem::path directory_;
};

char char_at(const std::byte* data, std::uint64_t offset) { return static_cast<char>(data[offset]); }

// The letter of each page.
std::string letters(const std::byte* data, std::uint64_t size_bytes) {
  std::string out;
  for (std::uint64_t at = 0; at < size_bytes; at += page_bytes()) out += char_at(data, at);
  return out;
}

std::string permissions_of(const void* address) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    char flags[5]{};
    if (std::sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, flags) != 3) continue;
    const auto wanted = reinterpret_cast<std::uintptr_t>(address);
    if (begin <= wanted && wanted < end) return flags;
  }
  return "unmapped";
}

TEST_F(MappingTest, MapsTheAskedPartOfTheFile) {
  const File file = pages("f", 4, 'a');
  const Mapping mapping = Mapping::map(file, page_bytes(), 2 * page_bytes() - 5, MapMode::read_only);
  EXPECT_EQ(mapping.size_bytes(), 2 * page_bytes() - 5);
  EXPECT_EQ(mapping.bytes().size(), mapping.size_bytes());
  EXPECT_EQ(letters(mapping.data(), mapping.size_bytes()), "bc");
  EXPECT_EQ(permissions_of(mapping.data()), "r--s");
}

TEST_F(MappingTest, WritesToAPrivateMappingReachNeitherFileNorOthers) {
  const File file = pages("f", 2, 'a');
  const Mapping mine = Mapping::map(file, 0, 2 * page_bytes(), MapMode::copy_on_write);
  const Mapping theirs = Mapping::map(file, 0, 2 * page_bytes(), MapMode::copy_on_write);
  std::memset(mine.data(), 'X', page_bytes());
  EXPECT_EQ(letters(mine.data(), 2 * page_bytes()), "Xb");
  EXPECT_EQ(letters(theirs.data(), 2 * page_bytes()), "ab");
  EXPECT_EQ(char_at(read_file(file.path(), 1 << 20).data(), 0), 'a');
  EXPECT_EQ(permissions_of(mine.data()), "rw-p");
}

TEST_F(MappingTest, OutlivesDescriptorAndUnlink) {
  File file = pages("f", 1, 'a');
  const Mapping mapping = Mapping::map(file, 0, page_bytes(), MapMode::read_only);
  file.close();
  remove_file(directory_ / "f");
  EXPECT_EQ(char_at(mapping.data(), page_bytes() - 1), 'a');
}

TEST_F(MappingTest, EmptyPartHasAnAddressAndNoBytes) {
  const File file = pages("f", 1, 'a');
  for (const MapMode mode : {MapMode::read_only, MapMode::copy_on_write}) {
    const Mapping mapping = Mapping::map(file, 0, 0, mode);
    EXPECT_NE(mapping.data(), nullptr);
    EXPECT_EQ(mapping.size_bytes(), 0u);
    EXPECT_TRUE(mapping.populate_read(0, 0));
  }
  EXPECT_NE(Mapping::anonymous(0).data(), nullptr);
}

TEST_F(MappingTest, UnmapsOnDestructionAndMoveLeavesNothingBehind) {
  const File file = pages("f", 1, 'a');
  Mapping first = Mapping::map(file, 0, page_bytes(), MapMode::copy_on_write);
  const std::byte* const address = first.data();
  {
    const Mapping second = std::move(first);
    EXPECT_EQ(second.data(), address);
    EXPECT_EQ(first.data(), nullptr);
    EXPECT_EQ(first.size_bytes(), 0u);
    EXPECT_EQ(permissions_of(address), "rw-p");
  }
  EXPECT_EQ(permissions_of(address), "unmapped");
}

TEST_F(MappingTest, PopulatesAnyPartWithoutCopying) {
  const File file = pages("f", 4, 'a');
  const Mapping mapping = Mapping::map(file, 0, 4 * page_bytes(), MapMode::copy_on_write);
  if (!mapping.populate_read(0, 1)) GTEST_SKIP() << "this kernel has no MADV_POPULATE_READ";
  EXPECT_TRUE(mapping.populate_read(page_bytes() + 7, 2 * page_bytes()));
  EXPECT_TRUE(mapping.populate_read(4 * page_bytes(), 0));
  std::array<unsigned char, 4> present{};
  ASSERT_EQ(::mincore(mapping.data(), 4 * page_bytes(), present.data()), 0);
  EXPECT_TRUE(std::ranges::all_of(present, [](unsigned char page) { return (page & 1) != 0; }));
}

TEST_F(MappingTest, AnonymousMemoryIsZeroedWritableAndAligned) {
  for (const bool huge : {false, true}) {
    const Mapping memory = Mapping::anonymous(300 * kib, huge);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.data()) % page_bytes(), 0u);
    EXPECT_TRUE(std::ranges::all_of(memory.bytes(), [](std::byte b) { return b == std::byte{0}; }));
    std::memset(memory.data(), 1, memory.size_bytes());
  }
}

TEST_F(MappingTest, MoreThanTheAddressSpaceIsALimit) {
  const File file = pages("f", 1, 'a');
  for (const std::uint64_t size_bytes : {std::uint64_t{1} << 60, std::uint64_t{1} << 63}) {
    try {
      Mapping::map(file, 0, size_bytes, MapMode::read_only);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::limit) << error.what();
    }
  }
}

TEST_F(MappingTest, AFileThatCannotBeMappedIsAnIoError) {
  const File directory = File::open(directory_);
  try {
    Mapping::map(directory, 0, page_bytes(), MapMode::read_only);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::io);
    EXPECT_EQ(error.facts().file, directory_.string());
  }
}

TEST_F(MappingTest, StitchesPiecesOfSeveralFilesInOrder) {
  const File small = pages("small", 3, 'a');
  const File capital = pages("capital", 3, 'A');
  const std::array<StitchedRange::Piece, 4> pieces{{{&small, 0, page_bytes()},
                                                    {&capital, page_bytes(), 2 * page_bytes()},
                                                    {&small, page_bytes(), 0},
                                                    {&small, 2 * page_bytes(), page_bytes() - 100}}};
  const StitchedRange range = StitchedRange::map(pieces, MapMode::read_only);
  EXPECT_EQ(range.size_bytes(), 4 * page_bytes() - 100);
  EXPECT_EQ(letters(range.data(), range.size_bytes()), "aBCc");
  EXPECT_EQ(permissions_of(range.data()), "r--s");
}

TEST_F(MappingTest, StitchedPrivateRangeKeepsItsWritesToItself) {
  const File file = pages("f", 2, 'a');
  const std::array<StitchedRange::Piece, 2> pieces{{{&file, page_bytes(), page_bytes()}, {&file, 0, page_bytes()}}};
  const StitchedRange range = StitchedRange::map(pieces, MapMode::copy_on_write);
  std::memset(range.data() + page_bytes() - 1, 'X', 2);  // across the seam
  EXPECT_EQ(letters(range.data(), range.size_bytes()), "bX");
  EXPECT_EQ(letters(read_file(file.path(), 1 << 20).data(), 2 * page_bytes()), "ab");
}

TEST_F(MappingTest, StitchedRangeMovesAndUnmaps) {
  const File file = pages("f", 1, 'a');
  const std::array<StitchedRange::Piece, 1> pieces{{{&file, 0, page_bytes()}}};
  StitchedRange first = StitchedRange::map(pieces, MapMode::read_only);
  const std::byte* const address = first.data();
  {
    const StitchedRange second = std::move(first);
    EXPECT_EQ(second.data(), address);
    EXPECT_EQ(first.size_bytes(), 0u);
  }
  EXPECT_EQ(permissions_of(address), "unmapped");
  EXPECT_NE(StitchedRange::map({}, MapMode::read_only).data(), nullptr);
}

TEST_F(MappingTest, AFailedStitchLeavesNothingMapped) {
  const File file = pages("f", 1, 'a');
  const File directory = File::open(directory_);
  const auto count_mappings = [] {
    std::ifstream maps("/proc/self/maps");
    return std::count(std::istreambuf_iterator<char>(maps), {}, '\n');
  };
  const std::array<StitchedRange::Piece, 2> pieces{{{&file, 0, page_bytes()}, {&directory, 0, page_bytes()}}};
  const auto before = count_mappings();
  EXPECT_THROW(StitchedRange::map(pieces, MapMode::read_only), Error);
  EXPECT_EQ(count_mappings(), before);
}

// Past that a process could not allocate memory any more. What a range took it gives back.
TEST_F(MappingTest, StitchedRangesTakeHalfOfTheProcesssMappingsAtMost) {
  const File file = pages("f", 1, 'a');
  std::size_t allowed = 0;
  std::ifstream("/proc/sys/vm/max_map_count") >> allowed;
  allowed /= 2;
  if (allowed < 2048 || allowed > 1'000'000) GTEST_SKIP() << "vm.max_map_count is unusual here";
  const std::vector<StitchedRange::Piece> pieces(1024, {&file, 0, page_bytes()});
  for (int again = 0; again < 2; ++again) {
    std::vector<StitchedRange> ranges;
    try {
      while (ranges.size() * pieces.size() <= allowed) ranges.push_back(StitchedRange::map(pieces, MapMode::read_only));
      FAIL() << "no limit";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::limit);
      EXPECT_NE(std::string(error.what()).find("vm.max_map_count"), std::string::npos) << error.what();
    }
    EXPECT_EQ(ranges.size(), allowed / pieces.size());
    EXPECT_EQ(char_at(ranges.back().data(), 1023 * page_bytes()), 'a');
  }
}

TEST_F(MappingTest, ReservedPiecesComeInAnyOrder) {
  const File file = pages("f", 3, 'a');
  StitchedRange range = StitchedRange::reserve(3 * page_bytes(), 2);
  range.place(2 * page_bytes(), {&file, 0, page_bytes()}, MapMode::read_only);
  range.place(0, {&file, page_bytes(), 2 * page_bytes()}, MapMode::read_only);
  EXPECT_EQ(char_at(range.data(), 0), 'b');
  EXPECT_EQ(char_at(range.data(), page_bytes()), 'c');
  EXPECT_EQ(char_at(range.data(), 2 * page_bytes()), 'a');
}

TEST_F(MappingTest, StitchedSizesThatOverflowAreALimit) {
  const File file = pages("f", 1, 'a');
  const std::array<StitchedRange::Piece, 2> pieces{
      {{&file, 0, std::uint64_t{1} << 63}, {&file, 0, std::uint64_t{1} << 63}}};
  try {
    StitchedRange::map(pieces, MapMode::read_only);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::limit);
  }
}

}  // namespace
}  // namespace tenon
