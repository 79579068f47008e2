#include "store/journal.h"

#include "store/format.h"
#include "tests/store/store_fixture.h"

namespace tenon {
namespace {

using testing::Bytes;
using ::testing::ElementsAreArray;
using testing::error_of;
using ::testing::IsEmpty;
using testing::IsError;

constexpr Digest store_id{11, 22};
constexpr std::size_t header_bytes = sizeof(format::JournalHeader);

const std::vector<JournalRecord> some_records = {
    {JournalKind::set_ref, 2, "main", {1, 2}, 1000},
    {JournalKind::create_tag, 3, "v/1.0", {3, 4}, -1},
    {JournalKind::delete_ref, 4, std::string(200, 'x'), {}, INT64_MAX},
    {.kind = JournalKind::set_ref,
     .sequence = 5,
     .ref = "main",
     .target = {1, 2},
     .previous = PreviousRef{{3, 4}, false}},
    {.kind = JournalKind::create_tag,
     .sequence = 6,
     .ref = "t",
     .target = {1, 2},
     .previous = PreviousRef{},
     .undoes = 5},
    {.kind = JournalKind::forget, .sequence = 7, .snapshots = {{{1, 2}, {3, 4}}, {{5, 6}, {}}}},
    {.kind = JournalKind::restore, .sequence = 8, .undoes = 7, .snapshots = {{{1, 2}, {}}}},
};

Bytes encode(const std::vector<JournalRecord>& records) {
  Bytes bytes = encode_journal_header(store_id);
  for (const JournalRecord& record : records) {
    const Bytes encoded = encode_journal_record(record);
    bytes.insert(bytes.end(), encoded.begin(), encoded.end());
  }
  return bytes;
}

class JournalTest : public ::testing::Test {
 protected:
  std::filesystem::path path() const { return directory_.path() / journal_name; }
  JournalContents read(std::uint64_t limit_bytes = UINT64_MAX) const {
    return read_journal(path(), store_id, limit_bytes);
  }
  JournalContents read(const Bytes& bytes) const {
    testing::write_file(path(), bytes);
    return read();
  }

 private:
  testing::TemporaryDirectory directory_;
};

TEST_F(JournalTest, ReadsBackAsWritten) {
  const Bytes bytes = encode(some_records);
  const JournalContents contents = read(bytes);
  EXPECT_THAT(contents.records, ElementsAreArray(some_records));
  EXPECT_EQ(contents.good_bytes, bytes.size());
  EXPECT_EQ(contents.damaged_at, std::nullopt);
}

TEST_F(JournalTest, EmptyJournalIsItsHeader) {
  const JournalContents contents = read(encode({}));
  EXPECT_THAT(contents.records, IsEmpty());
  EXPECT_EQ(contents.good_bytes, header_bytes);
  EXPECT_EQ(contents.damaged_at, std::nullopt);
}

TEST_F(JournalTest, ReadsNoFurtherThanAsked) {
  const std::size_t two = encode({some_records[0], some_records[1]}).size();
  read(encode(some_records));
  const JournalContents contents = read(two);
  EXPECT_EQ(contents.records.size(), 2u);
  EXPECT_EQ(contents.damaged_at, std::nullopt);
}

TEST_F(JournalTest, MissingJournalIsNotFound) {
  EXPECT_THAT(error_of([this] { read(); }), IsError(ErrorKind::not_found, "journal"));
}

TEST_F(JournalTest, TornTailIsToldAndWhatIsBeforeItKept) {
  const Bytes whole = encode(some_records);
  std::vector<JournalRecord> before = some_records;
  while (!before.empty()) {
    const std::size_t end = encode(before).size();
    before.pop_back();
    const std::size_t good = encode(before).size();
    for (std::size_t size = good + 1; size < end; ++size) {
      const JournalContents contents = read(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)));
      ASSERT_EQ(contents.records.size(), before.size()) << size;
      ASSERT_EQ(contents.good_bytes, good) << size;
      ASSERT_EQ(contents.damaged_at, good) << size;
    }
  }
}

TEST_F(JournalTest, FlipOfAnyByteOfARecordCostsThatRecordAlone) {
  const std::size_t one = encode({some_records[0]}).size();
  const std::size_t two = encode({some_records[0], some_records[1]}).size();
  std::vector<JournalRecord> others = some_records;
  others.erase(others.begin() + 1);
  for (std::size_t i = one; i < two; ++i) {
    const JournalContents contents = read(testing::with_byte_flipped(encode(some_records), i));
    EXPECT_THAT(contents.records, ElementsAreArray(others)) << i;
    EXPECT_EQ(contents.damaged_at, one) << i;
    EXPECT_EQ(contents.good_bytes, one) << i;
    EXPECT_EQ(contents.damaged_bytes, two - one) << i;
  }
}

TEST_F(JournalTest, SeveralDamagedPlacesCostTheRecordsTheyTouch) {
  Bytes bytes = encode(some_records);
  const std::size_t one = encode({some_records[0]}).size();
  const std::size_t three = encode({some_records[0], some_records[1], some_records[2]}).size();
  bytes = testing::with_byte_flipped(bytes, one - 1);
  std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(three - 1), 3,
              std::byte{0});  // over the end of one into the next
  const JournalContents contents = read(bytes);
  std::vector<JournalRecord> wanted = some_records;
  wanted.erase(wanted.begin() + 2, wanted.begin() + 4);
  wanted.erase(wanted.begin());
  EXPECT_THAT(contents.records, ElementsAreArray(wanted));
  EXPECT_EQ(contents.damaged_at, header_bytes);
}

// What is left of an older journal, say.
TEST_F(JournalTest, RecordBehindDamageThatIsNotNewerIsNotBelieved) {
  const Bytes bytes = encode({some_records[1], some_records[2], some_records[0]});
  const std::size_t one = encode({some_records[1]}).size();
  const JournalContents contents = read(testing::with_byte_flipped(bytes, one));
  EXPECT_THAT(contents.records, ElementsAreArray({some_records[1]}));
  EXPECT_EQ(contents.damaged_bytes, bytes.size() - one);
}

TEST_F(JournalTest, AbsurdLengthEndsTheJournal) {
  for (const std::uint32_t size : {0u, 11u, 4097u, 0xFFFFFFFFu}) {
    Bytes bytes = encode({some_records[0]});
    const std::size_t good = bytes.size();
    bytes.resize(good + 8192);
    std::memcpy(bytes.data() + good, &size, sizeof size);
    EXPECT_EQ(read(bytes).damaged_at, good) << size;
  }
}

TEST_F(JournalTest, FlipOfAnyByteOfTheHeaderIsCorrupt) {
  for (std::size_t i = 0; i < header_bytes; ++i) {
    EXPECT_THAT(error_of([&] { read(testing::with_byte_flipped(encode(some_records), i)); }),
                IsError(ErrorKind::corrupt, i < 8 ? "wrong magic" : "header is damaged"))
        << i;
  }
}

TEST_F(JournalTest, CutHeaderIsCorrupt) {
  Bytes bytes = encode({});
  bytes.pop_back();
  EXPECT_THAT(error_of([&] { read(bytes); }), IsError(ErrorKind::corrupt, "shorter than its header"));
  EXPECT_THAT(error_of([&] { read(Bytes{}); }), IsError(ErrorKind::corrupt, "shorter than its header"));
}

TEST_F(JournalTest, JournalOfAnotherStoreIsCorrupt) {
  read(encode(some_records));
  EXPECT_THAT(error_of([this] { read_journal(path(), {1, 1}); }), IsError(ErrorKind::corrupt, "another store"));
}

TEST_F(JournalTest, RecordsCanBeReadUnderADamagedHeader) {
  testing::write_file(path(), testing::with_byte_flipped(encode(some_records), 3));
  EXPECT_THAT(read_journal(path(), store_id, UINT64_MAX, true).records, ElementsAreArray(some_records));
  testing::write_file(path(), Bytes{});
  EXPECT_THAT(read_journal(path(), store_id, UINT64_MAX, true).records, IsEmpty());
}

// The checksum is good, the name's length is not: still no whole record, and nothing before it is lost.
TEST_F(JournalTest, RecordThatDoesNotAddUpEndsTheJournal) {
  Bytes bytes = encode({some_records[0]});
  const std::size_t good = bytes.size();
  Bytes record = encode_journal_record(some_records[1]);
  record.resize(record.size() - sizeof(std::uint64_t));
  const std::uint32_t name_bytes = 1000;
  std::memcpy(record.data() + record.size() - some_records[1].ref.size() - sizeof name_bytes, &name_bytes,
              sizeof name_bytes);
  const std::uint64_t checksum = checksum_bytes(record);
  const auto seal = std::as_bytes(std::span(&checksum, 1));
  record.insert(record.end(), seal.begin(), seal.end());
  bytes.insert(bytes.end(), record.begin(), record.end());
  const auto error = error_of([&] {
    const JournalContents contents = read(bytes);
    EXPECT_THAT(contents.records, ElementsAreArray({some_records[0]}));
    EXPECT_EQ(contents.damaged_at, good);
  });
  EXPECT_FALSE(error) << error->what();
}

}  // namespace
}  // namespace tenon
