#include "store/record.h"

#include "store/codec.h"
#include "tests/store/store_fixture.h"

namespace tenon {
namespace {

using testing::Bytes;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::IsEmpty;
using testing::IsError;

Record some_record() {
  Record record{.layout = {1, 2}, .keys = {3, 4}, .structure = {5, 6}, .attachments = {7, 8}};
  record.info.parents = {{9, 10}, {11, 12}};
  record.info.created_at_ns = -5;
  record.info.step = 0;
  record.info.message = "after \"warm-up\"\n";
  record.info.meta = R"({"loss": 0.5})";
  record.info.created_by = "tests";
  record.info.tensor_count = 3;
  record.info.slot_count = 2;
  record.info.nbytes = UINT64_MAX;
  return record;
}

Record decode(std::span<const std::byte> bytes) { return decode_record(bytes, "x.seg", 100); }

// 4 GiB of text do not become a text of no bytes. (Nobody looks at the bytes: there are none.)
TEST(ByteWriterTest, TextWhoseLengthDoesNotFitIsALimit) {
  ByteWriter out;
  EXPECT_THAT(error_of([&] { out.put_string({"", std::size_t{1} << 32}); }), IsError(ErrorKind::limit, "too long"));
  EXPECT_EQ(out.size(), 0u);
}

TEST(RecordTest, ReadsBackAsWritten) {
  const Record wanted = some_record();
  const Record got = decode(encode_record(wanted));
  EXPECT_EQ(got.layout, wanted.layout);
  EXPECT_EQ(got.keys, wanted.keys);
  EXPECT_EQ(got.structure, wanted.structure);
  EXPECT_EQ(got.attachments, wanted.attachments);
  EXPECT_THAT(got.info.parents, ElementsAre(SnapshotId{9, 10}, SnapshotId{11, 12}));
  EXPECT_EQ(got.info.created_at_ns, -5);
  EXPECT_EQ(got.info.step, 0);
  EXPECT_EQ(got.info.message, wanted.info.message);
  EXPECT_EQ(got.info.meta, wanted.info.meta);
  EXPECT_EQ(got.info.created_by, "tests");
  EXPECT_EQ(got.info.tensor_count, 3u);
  EXPECT_EQ(got.info.slot_count, 2u);
  EXPECT_EQ(got.info.nbytes, UINT64_MAX);
}

TEST(RecordTest, StepZeroAndNoStepDiffer) {
  Record record = some_record();
  record.info.step.reset();
  record.info.parents.clear();
  const Record got = decode(encode_record(record));
  EXPECT_EQ(got.info.step, std::nullopt);
  EXPECT_THAT(got.info.parents, IsEmpty());
}

TEST(RecordTest, IdIsTheDigestOfTheRecordAndCoversEveryField) {
  const Bytes bytes = encode_record(some_record());
  EXPECT_EQ(decode(bytes).info.id, record_id(bytes));
  EXPECT_EQ(record_id(bytes), digest_bytes(bytes));
  const std::vector<std::function<void(Record&)>> changes = {
      [](Record& r) { ++r.layout.low; },         [](Record& r) { ++r.keys.low; },
      [](Record& r) { ++r.structure.low; },      [](Record& r) { ++r.attachments.low; },
      [](Record& r) { r.info.step = 1; },        [](Record& r) { ++r.info.created_at_ns; },
      [](Record& r) { r.info.step.reset(); },    [](Record& r) { r.info.meta += " "; },
      [](Record& r) { r.info.message.clear(); }, [](Record& r) { r.info.parents.pop_back(); },
      [](Record& r) { ++r.info.nbytes; },        [](Record& r) { std::swap(r.info.parents[0], r.info.parents[1]); },
  };
  for (const auto& change : changes) {
    Record other = some_record();
    change(other);
    EXPECT_NE(record_id(encode_record(other)), record_id(bytes)) << &change - changes.data();
  }
}

TEST(RecordTest, CutOrGrownRecordIsCorrupt) {
  Bytes bytes = encode_record(some_record());
  bytes.push_back(std::byte{0});
  EXPECT_THAT(error_of([&] { decode(bytes); }), IsError(ErrorKind::corrupt, "malformed"));
  bytes.pop_back();
  ASSERT_FALSE(error_of([&] { decode(bytes); }));
  while (!bytes.empty()) {
    bytes.pop_back();
    EXPECT_THAT(error_of([&] { decode(bytes); }), IsError(ErrorKind::corrupt, "x.seg")) << bytes.size();
  }
}

TEST(RecordTest, MagicVersionAndNumberOfParentsAreChecked) {
  const Bytes good = encode_record(some_record());
  const auto error_with_word = [&](std::size_t offset, std::uint32_t word) {
    Bytes bytes = good;
    std::memcpy(bytes.data() + offset, &word, sizeof word);
    return error_of([&] { decode(bytes); });
  };
  EXPECT_THAT(error_with_word(0, 0), IsError(ErrorKind::corrupt, "wrong magic"));
  EXPECT_THAT(error_with_word(8, 2), IsError(ErrorKind::corrupt, "unknown version"));
  EXPECT_THAT(error_with_word(12, 0xFFFFFFFF), IsError(ErrorKind::corrupt, "too many parents"));
  EXPECT_THAT(error_with_word(12, 1000), IsError(ErrorKind::corrupt, "malformed"));
}

TEST(RecordTest, TextLongerThanTheRecordIsCorrupt) {
  Bytes bytes = encode_record(some_record());
  const std::size_t message_at = bytes.size() - (4 + 16 + 4 + 13 + 4 + 5);
  const std::uint32_t huge = 0xFFFFFFFF;
  std::memcpy(bytes.data() + message_at, &huge, sizeof huge);
  const auto error = error_of([&] { decode(bytes); });
  EXPECT_THAT(error, IsError(ErrorKind::corrupt, "snapshot record is malformed"));
  EXPECT_EQ(error->facts().offset, 100 + message_at + 4);
}

}  // namespace
}  // namespace tenon
