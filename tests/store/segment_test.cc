#include "store/segment.h"

#include "mmap/lock.h"
#include "tests/store/child.h"
#include "tests/store/store_fixture.h"

namespace tenon {
namespace {

using format::SectionKind;
using format::SegmentFooter;
using format::SegmentHeader;
using format::StorageEntry;
using testing::Bytes;
using testing::content_of_file;
using testing::copy_of;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::IsEmpty;
using testing::IsError;
using testing::pattern;

constexpr Digest store_id{11, 22};
constexpr std::uint64_t sequence = 7;

TEST(SegmentNameTest, IsTheSequenceInSixteenDigits) {
  EXPECT_EQ(segment_file_name(255), "00000000000000ff.seg");
  EXPECT_EQ(segment_file_name(UINT64_MAX), "ffffffffffffffff.seg");
  EXPECT_EQ(parse_segment_file_name("00000000000000ff.seg"), 255u);
  for (const char* other : {"", ".seg", "ff.seg", "00000000000000FF.seg", "00000000000000ff.tmp",
                            "g0000000000000ff.seg", "000000000000000ff.seg", "00000000000000ff.segx"}) {
    EXPECT_EQ(parse_segment_file_name(other), std::nullopt) << other;
  }
}

TEST(StoragePlacementTest, GrowsInAlignmentWithSize) {
  EXPECT_EQ(aligned_storage_offset(130, 1), 192u);
  EXPECT_EQ(aligned_storage_offset(130, 4095), 192u);
  EXPECT_EQ(aligned_storage_offset(130, 4096), 4096u);
  EXPECT_EQ(aligned_storage_offset(130, (1 << 20) - 1), 4096u);
  EXPECT_EQ(aligned_storage_offset(130, 1 << 20), 65536u);
  EXPECT_EQ(aligned_storage_offset(65536, 1 << 20), 65536u);
}

class SegmentTest : public ::testing::Test {
 protected:
  std::filesystem::path base() const { return directory_.path(); }
  std::filesystem::path path() const { return base() / "x.seg"; }
  std::vector<std::string> files() const { return list_directory(base()); }

  // Two storages, one of two leaves, and a record section of text.
  void write_segment() const {
    SegmentWriter writer(base(), store_id);
    const Bytes small = pattern(100, 1), large = pattern(leaf_bytes + 1, 2);
    const std::vector<Digest> leaves = {digest_bytes(std::span(large).first(leaf_bytes)),
                                        digest_bytes(std::span(large).subspan(leaf_bytes))};
    const std::vector<StorageEntry> storages = {place(writer, small), place(writer, large)};
    writer.add_section(SectionKind::storages, std::as_bytes(std::span(storages)));
    writer.add_section(SectionKind::leaves, std::as_bytes(std::span(leaves)));
    writer.add_section(SectionKind::record, std::as_bytes(std::span(std::string_view("the record"))));
    writer.sync();
    writer.seal(sequence);
    writer.publish(path(), false);
  }
  static StorageEntry place(SegmentWriter& writer, const Bytes& bytes) {
    const std::uint64_t offset = writer.place_storage(bytes.size());
    writer.write(offset, bytes);
    return {.key = digest_storage(bytes), .offset = offset, .nbytes = bytes.size(), .sketch = 0, .first_leaf = 0};
  }

  std::uint64_t footer_begin() const { return std::filesystem::file_size(path()) - sizeof(SegmentFooter); }
  // Changes the footer as a forger would: under a good checksum.
  void forge_footer(const std::function<void(SegmentFooter&)>& change) const {
    SegmentFooter footer;
    File::open(path()).read_at(footer_begin(), std::as_writable_bytes(std::span(&footer, 1)));
    change(footer);
    footer.checksum = format::seal_of(footer);
    testing::overwrite_file(path(), footer_begin(), std::as_bytes(std::span(&footer, 1)));
  }
  std::optional<Error> error_of_opening() const {
    return error_of([this] { Segment::open(path()); });
  }

 private:
  testing::TemporaryDirectory directory_;
};

TEST_F(SegmentTest, ReadsBackAsWritten) {
  write_segment();
  const auto segment = Segment::open(path());
  EXPECT_EQ(segment->footer().store_id, store_id);
  EXPECT_EQ(segment->sequence(), sequence);
  EXPECT_EQ(segment->file_bytes(), std::filesystem::file_size(path()));
  ASSERT_EQ(segment->storages().size(), 2u);
  for (const StorageEntry& entry : segment->storages()) {
    EXPECT_EQ(digest_storage({segment->data() + entry.offset, entry.nbytes}), entry.key);
  }
  EXPECT_EQ(segment->leaves().size(), 2u);
  EXPECT_EQ(segment->section(SectionKind::record).size(), std::string_view("the record").size());
  EXPECT_EQ(segment->section_offset(SectionKind::record) % 64, 0u);
  EXPECT_FALSE(segment->has_section(SectionKind::layout));
}

TEST_F(SegmentTest, PublishedFileIsTheOnlyOneAndStays) {
  write_segment();
  EXPECT_THAT(files(), ElementsAre("x.seg"));
}

TEST_F(SegmentTest, SegmentWithoutStoragesIsWhole) {
  SegmentWriter writer(base(), store_id);
  writer.reserve_placed();
  writer.add_section(SectionKind::storages, {});
  writer.add_section(SectionKind::structure, {});
  writer.seal(1);
  writer.publish(path(), true);
  const auto segment = Segment::open(path());
  EXPECT_THAT(segment->storages(), IsEmpty());
  EXPECT_THAT(segment->leaves(), IsEmpty());
  EXPECT_THAT(segment->section(SectionKind::structure), IsEmpty());
}

TEST_F(SegmentTest, MappingOutlivesItsName) {
  write_segment();
  const auto segment = Segment::open(path());
  remove_file(path());
  EXPECT_EQ(copy_of({segment->data() + segment->storages()[0].offset, 100}), pattern(100, 1));
}

TEST_F(SegmentTest, WriterMapsWhatItWroteBeforeSealing) {
  SegmentWriter writer(base(), store_id);
  const StorageEntry entry = place(writer, pattern(5000));
  const Mapping written = writer.map_written();
  EXPECT_EQ(copy_of(written.bytes().subspan(entry.offset, entry.nbytes)), pattern(5000));
}

TEST_F(SegmentTest, AbandonedWriterLeavesNothing) {
  {
    SegmentWriter writer(base(), store_id);
    place(writer, pattern(5000));
    EXPECT_EQ(files().size(), 1u);
  }
  EXPECT_THAT(files(), IsEmpty());
}

TEST_F(SegmentTest, TemporaryFileIsLockedWhileItsWriterLives) {
  auto writer = std::make_unique<SegmentWriter>(base(), store_id);
  const auto temporary = writer->temporary_path();
  EXPECT_TRUE(FileLock::is_locked(File::open(temporary)));
  const auto crashed = testing::run_in_child([&]() -> int {
    const SegmentWriter killed(base(), store_id);
    ::_exit(0);
  });
  EXPECT_EQ(crashed, testing::succeeded);
  for (const std::string& name : files()) {
    EXPECT_EQ(FileLock::is_locked(File::open(base() / name)), base() / name == temporary);
  }
  EXPECT_EQ(files().size(), 2u);
}

TEST_F(SegmentTest, PublishingReplacesNothing) {
  testing::write_file(path(), pattern(3));
  EXPECT_THAT(error_of([this] { write_segment(); }), IsError(ErrorKind::conflict, "already exists"));
  EXPECT_EQ(content_of_file(path()), pattern(3));
  EXPECT_THAT(files(), ElementsAre("x.seg"));
}

TEST_F(SegmentTest, MissingFileIsNotFound) { EXPECT_THAT(error_of_opening(), IsError(ErrorKind::not_found, "x.seg")); }

TEST_F(SegmentTest, CutAtAnyLengthIsCorrupt) {
  write_segment();
  const std::uint64_t size = std::filesystem::file_size(path());
  for (const std::uint64_t cut : {size - 1, size - 64, size - sizeof(SegmentFooter), std::uint64_t{1000},
                                  std::uint64_t{767}, std::uint64_t{1}, std::uint64_t{0}}) {
    std::filesystem::resize_file(path(), cut);
    EXPECT_THAT(error_of_opening(), IsError(ErrorKind::corrupt, "x.seg")) << cut;
  }
}

TEST_F(SegmentTest, LengthThatNoSegmentHasIsToldBeforeAFooterIsLookedAt) {
  write_segment();
  std::filesystem::resize_file(path(), std::filesystem::file_size(path()) - 3);
  EXPECT_THAT(error_of_opening(), IsError(ErrorKind::corrupt, "cut or has grown"));
}

TEST_F(SegmentTest, GrownFileIsCorrupt) {
  write_segment();
  testing::append_to_file(path(), pattern(64));
  EXPECT_THAT(error_of_opening(), IsError(ErrorKind::corrupt, "no footer"));
}

TEST_F(SegmentTest, FlipOfAnyByteOfHeaderOrFooterIsCorrupt) {
  write_segment();
  const Bytes whole = content_of_file(path());
  std::vector<std::uint64_t> offsets;
  for (std::uint64_t i = 0; i < sizeof(SegmentHeader); ++i) offsets.push_back(i);
  for (std::uint64_t i = footer_begin(); i < whole.size(); ++i) offsets.push_back(i);
  for (const std::uint64_t offset : offsets) {
    testing::overwrite_file(path(), offset, std::vector{whole[offset] ^ std::byte{1}});
    EXPECT_THAT(error_of_opening(), IsError(ErrorKind::corrupt, "")) << offset;
    testing::overwrite_file(path(), offset, std::vector{whole[offset]});
  }
  EXPECT_FALSE(error_of_opening());
}

TEST_F(SegmentTest, DamagedSectionIsToldWhenItIsAskedFor) {
  write_segment();
  const std::uint64_t record = Segment::open(path())->section_offset(SectionKind::record);
  testing::flip_byte(path(), record);
  const auto segment = Segment::open(path());
  const auto error = error_of([&] { segment->section(SectionKind::record); });
  EXPECT_THAT(error, IsError(ErrorKind::corrupt, "checksum differs"));
  EXPECT_EQ(error->facts().offset, record);
  EXPECT_FALSE(error_of([&] { segment->storages(); }));
  EXPECT_THAT(error_of([&] { segment->section(SectionKind::layout); }), IsError(ErrorKind::corrupt, "lacks section"));
}

TEST_F(SegmentTest, SectionsThatChangedPlacesAreNotTakenForEachOther) {
  write_segment();
  forge_footer([](SegmentFooter& f) { f.sections[2].kind = static_cast<std::uint32_t>(SectionKind::commit); });
  EXPECT_THAT(error_of([this] { Segment::open(path())->section(SectionKind::commit); }),
              IsError(ErrorKind::corrupt, "checksum differs"));
}

TEST_F(SegmentTest, ForgedFootersAreRefused) {
  struct Forgery {
    const char* says;
    std::function<void(SegmentFooter&)> change;
  };
  const Forgery all[] = {
      {"not as long as its footer says", [](SegmentFooter& f) { f.file_bytes += 64; }},
      {"different segments", [](SegmentFooter& f) { f.uuid.low ^= 1; }},
      {"different segments", [](SegmentFooter& f) { f.store_id.low ^= 1; }},
      {"counts more than there is", [](SegmentFooter& f) { f.data_bytes = f.file_bytes; }},
      {"counts more than there is", [](SegmentFooter& f) { f.section_count = 17; }},
      {"section lies outside", [](SegmentFooter& f) { f.sections[0].size = UINT64_MAX; }},
      {"section lies outside", [](SegmentFooter& f) { f.sections[0].offset = 0; }},
      {"section lies outside", [](SegmentFooter& f) { f.sections[0].offset = UINT64_MAX - 63; }},
      {"section lies outside", [](SegmentFooter& f) { f.sections[0].offset += 1; }},
  };
  for (const Forgery& forgery : all) {
    remove_file(path());
    write_segment();
    forge_footer(forgery.change);
    EXPECT_THAT(error_of_opening(), IsError(ErrorKind::corrupt, forgery.says));
  }
}

TEST_F(SegmentTest, ForgedStoragesAreRefused) {
  const auto storages_error = [this](const std::function<void(StorageEntry&)>& change) {
    remove_file(path());
    write_segment();
    const auto segment = Segment::open(path());
    Bytes table = copy_of(segment->section(SectionKind::storages));
    change(reinterpret_cast<StorageEntry*>(table.data())[1]);
    testing::overwrite_file(path(), segment->section_offset(SectionKind::storages), table);
    forge_footer([&](SegmentFooter& f) {
      f.sections[0].checksum = checksum_bytes(table, static_cast<std::uint64_t>(SectionKind::storages));
    });
    return error_of([this] { Segment::open(path())->storages(); });
  };
  const auto outside = IsError(ErrorKind::corrupt, "storage lies outside");
  EXPECT_FALSE(storages_error([](StorageEntry&) {}));
  EXPECT_THAT(storages_error([](StorageEntry& e) { e.offset = UINT64_MAX; }), outside);
  EXPECT_THAT(storages_error([](StorageEntry& e) { e.nbytes = UINT64_MAX; }), outside);
  EXPECT_THAT(storages_error([](StorageEntry& e) { e.first_leaf = 1; }), outside);
  EXPECT_THAT(storages_error([](StorageEntry& e) { e.first_leaf = UINT64_MAX; }), outside);
}

TEST_F(SegmentTest, AnotherSegmentInItsPlaceIsNoticed) {
  write_segment();
  format::SegmentReference wanted = Segment::open(path())->reference();
  EXPECT_FALSE(error_of([&] { Segment::open(path(), &wanted); }));
  wanted.uuid.low ^= 1;
  EXPECT_THAT(error_of([&] { Segment::open(path(), &wanted); }),
              IsError(ErrorKind::corrupt, "another segment is in this one's place"));
}

TEST_F(SegmentTest, LaterVersionIsTooNew) {
  write_segment();
  SegmentHeader header;
  File::open(path()).read_at(0, std::as_writable_bytes(std::span(&header, 1)));
  header.version = 2;
  header.checksum = format::seal_of(header);
  testing::overwrite_file(path(), 0, std::as_bytes(std::span(&header, 1)));
  EXPECT_THAT(error_of_opening(), IsError(ErrorKind::too_new, "later format"));
}

}  // namespace
}  // namespace tenon
