#include "store/heads.h"

#include "tests/store/store_fixture.h"

namespace tenon {
namespace {

using testing::Bytes;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::IsEmpty;
using testing::IsError;

constexpr Digest store_id{11, 22};

Head head_of(std::string ref, std::uint64_t sequence = 3) {
  return {.ref = std::move(ref),
          .is_tag = false,
          .sequence = sequence,
          .snapshot = {5, sequence},
          .segment = {{7, 8}, 2, 4096}};
}

TEST(RefNameTest, AcceptsLettersDigitsAndPathLikeNames) {
  for (const char* name : {"main", "v1.0", "exp/lr-3e-4/run_2", "A", "0", "beef", "a..b", "x/y.z"}) {
    EXPECT_FALSE(error_of([&] { check_ref_name(name); })) << name;
  }
  EXPECT_FALSE(error_of([] { check_ref_name(std::string(200, 'a')); }));
}

TEST(RefNameTest, RefusesTheRestSayingWhy) {
  struct Refused {
    std::string name;
    const char* says;
  };
  const Refused all[] = {
      {"", "it is empty"},
      {std::string(201, 'a'), "longer than 200"},
      {"a b", "a character"},
      {"a:b", "a character"},
      {"a~1", "a character"},
      {"a@b", "a character"},
      {"a%2Fb", "a character"},
      {"a\nb", "a character"},
      {std::string("a\0b", 3), "a character"},
      {"\xc3\xa9", "a character"},
      {"/a", "a part is empty"},
      {"a/", "a part is empty"},
      {"a//b", "a part is empty"},
      {".", "begins with '.'"},
      {"..", "begins with '.'"},
      {"a/../b", "begins with '.'"},
      {"-x", "begins with '.' or '-'"},
      {"main.tmp", ".tmp"},
      {std::string(32, 'a'), "looks like a snapshot id"},
  };
  for (const Refused& refused : all) {
    EXPECT_THAT(error_of([&] { check_ref_name(refused.name); }), IsError(ErrorKind::invalid_argument, refused.says))
        << refused.name;
  }
}

class HeadsTest : public ::testing::Test {
 protected:
  std::filesystem::path heads() const { return directory_.path(); }
  void write(const Head& head) const { write_head(heads(), head, store_id, false); }
  std::optional<Head> read(std::string_view ref) const { return read_head(heads(), ref, store_id); }
  std::optional<Error> error_of_reading(std::string_view ref) const {
    return error_of([&] { read(ref); });
  }

 private:
  testing::TemporaryDirectory directory_;
};

TEST_F(HeadsTest, ReadsBackAsWritten) {
  Head head = head_of("main");
  head.is_tag = true;
  write(head);
  const auto got = read("main");
  ASSERT_TRUE(got);
  EXPECT_EQ(*got, head);
  EXPECT_EQ(got->segment.sequence, 2u);
  EXPECT_EQ(got->segment.file_bytes, 4096u);
}

TEST_F(HeadsTest, LaterHeadReplacesTheEarlierAndLeavesNothingElse) {
  write(head_of("main", 3));
  write(head_of("main", 4));
  EXPECT_EQ(read("main")->sequence, 4u);
  EXPECT_THAT(list_directory(heads()), ElementsAre("main"));
}

TEST_F(HeadsTest, RefsWithSlashesAreFlatFiles) {
  write(head_of("exp/a/b"));
  EXPECT_THAT(list_directory(heads()), ElementsAre("exp%2Fa%2Fb"));
  EXPECT_EQ(read("exp/a/b")->ref, "exp/a/b");
}

TEST_F(HeadsTest, UnknownRefHasNoHead) { EXPECT_EQ(read("main"), std::nullopt); }

TEST_F(HeadsTest, RemovedHeadIsGoneAndMayBeRemovedAgain) {
  write(head_of("main"));
  remove_head(heads(), "main", true);
  EXPECT_EQ(read("main"), std::nullopt);
  EXPECT_FALSE(error_of([this] { remove_head(heads(), "main", true); }));
}

TEST_F(HeadsTest, AllHeadsAreListedWithoutTemporaryFiles) {
  write(head_of("b/c"));
  write(head_of("a"));
  testing::write_file(heads() / "a.0123456789abcdef.tmp", testing::pattern(10));
  EXPECT_THAT(read_heads(heads(), store_id), ElementsAre(head_of("a"), head_of("b/c")));
}

TEST_F(HeadsTest, FlipOfAnyByteIsCorrupt) {
  const Bytes good = encode_head(head_of("main"), store_id);
  for (std::size_t i = 0; i < good.size(); ++i) {
    testing::write_file(heads() / "main", testing::with_byte_flipped(good, i));
    EXPECT_THAT(error_of_reading("main"), IsError(ErrorKind::corrupt, "head is damaged")) << i;
  }
}

TEST_F(HeadsTest, CutAnywhereIsCorrupt) {
  Bytes bytes = encode_head(head_of("main"), store_id);
  while (!bytes.empty()) {
    bytes.pop_back();
    testing::write_file(heads() / "main", bytes);
    EXPECT_THAT(error_of_reading("main"), IsError(ErrorKind::corrupt, "tenon repair")) << bytes.size();
  }
}

TEST_F(HeadsTest, HeadOfAnotherStoreIsCorrupt) {
  write_head(heads(), head_of("main"), {1, 1}, false);
  EXPECT_THAT(error_of_reading("main"), IsError(ErrorKind::corrupt, "another store"));
}

TEST_F(HeadsTest, HeadUnderAnotherRefsNameIsCorrupt) {
  write(head_of("other"));
  std::filesystem::rename(heads() / "other", heads() / "main");
  EXPECT_THAT(error_of_reading("main"), IsError(ErrorKind::corrupt, "another ref's"));
  EXPECT_THAT(error_of([this] { read_heads(heads(), store_id); }), IsError(ErrorKind::corrupt, "another ref's"));
}

TEST_F(HeadsTest, ForgedMagicVersionAndLengthAreRefused) {
  const auto error_with_word = [this](std::size_t offset, std::uint32_t word) {
    Bytes bytes = encode_head(head_of("main"), store_id);
    bytes.resize(bytes.size() - sizeof(std::uint64_t));
    std::memcpy(bytes.data() + offset, &word, sizeof word);
    const std::uint64_t checksum = checksum_bytes(bytes);
    const auto seal = std::as_bytes(std::span(&checksum, 1));
    bytes.insert(bytes.end(), seal.begin(), seal.end());
    testing::write_file(heads() / "main", bytes);
    return error_of_reading("main");
  };
  EXPECT_THAT(error_with_word(0, 0), IsError(ErrorKind::corrupt, "wrong magic"));
  EXPECT_THAT(error_with_word(8, 9), IsError(ErrorKind::corrupt, "unknown version"));
  const std::size_t name_length_at = 8 + 4 + 4 + 16 + 8 + 16 + sizeof(format::SegmentReference);
  EXPECT_THAT(error_with_word(name_length_at, 0xFFFFFFFF), IsError(ErrorKind::corrupt, "malformed"));
  EXPECT_THAT(error_with_word(name_length_at, 1), IsError(ErrorKind::corrupt, "malformed"));
}

}  // namespace
}  // namespace tenon
