#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "formats/zip_layout.h"
#include "formats/zip_reader.h"
#include "formats/zip_writer.h"

namespace tenon {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <typename T>
std::string le(T value) {
  return text_of(std::as_bytes(std::span(&value, 1)));
}
std::string u16(std::uint64_t value) { return le(static_cast<std::uint16_t>(value)); }
std::string u32(std::uint64_t value) { return le(static_cast<std::uint32_t>(value)); }
std::string u64(std::uint64_t value) { return le(value); }

std::string extra(std::uint16_t id, const std::string& content) { return u16(id) + u16(content.size()) + content; }

// Raw DEFLATE of 1,000 times 'a'.
const std::string deflated_a1000("\x4b\x4c\x1c\x05\xa3\x60\x14\x0c\x77\x00\x00", 11);
const std::string a1000(1000, 'a');

// One entry, well-formed unless a test changes a field. An optional one is what it must be until it is set.
struct RawEntry {
  std::string name = "m/a";
  std::string payload = "payload";  // as it lies in the file
  std::uint16_t flags = 0;
  std::uint16_t method = zip::method_stored;
  std::optional<std::uint32_t> crc{}, compressed{}, uncompressed{}, header_offset{};
  std::string central_extra{};
  std::uint16_t made_by = 0, disk = 0;
  std::uint32_t external = 0;

  std::optional<std::string> local_name{};
  std::optional<std::uint16_t> local_flags{}, local_method{};
  std::optional<std::uint32_t> local_crc{}, local_compressed{}, local_uncompressed{}, local_signature{};
  std::string local_extra{};
  std::string descriptor{};
};

RawEntry deflated_entry() {
  return {.payload = deflated_a1000,
          .method = zip::method_deflated,
          .crc = zip_crc32(0, bytes_of(a1000)),
          .uncompressed = 1000};
}

// The descriptor's values are left to it: the local header holds none.
RawEntry entry_with_descriptor(const std::string& descriptor) {
  return {.flags = zip::flag_descriptor,
          .local_crc = 0,
          .local_compressed = 0,
          .local_uncompressed = 0,
          .descriptor = descriptor};
}

struct RawEnd {
  std::uint64_t disk = 0, entries_here = 0, entries = 0, directory_bytes = 0, directory_offset = 0;
  std::string comment{};
};

class RawZip {
 public:
  RawZip& add(const RawEntry& e) {
    const std::uint32_t crc = e.crc.value_or(zip_crc32(0, bytes_of(e.payload)));
    const auto compressed = e.compressed.value_or(static_cast<std::uint32_t>(e.payload.size()));
    const auto uncompressed = e.uncompressed.value_or(compressed);
    const std::string local_name = e.local_name.value_or(e.name);
    const auto offset = e.header_offset.value_or(static_cast<std::uint32_t>(entries_.size()));
    entries_ += u32(e.local_signature.value_or(zip::local_signature)) + u16(20) + u16(e.local_flags.value_or(e.flags)) +
                u16(e.local_method.value_or(e.method)) + u32(0) + u32(e.local_crc.value_or(crc)) +
                u32(e.local_compressed.value_or(compressed)) + u32(e.local_uncompressed.value_or(uncompressed)) +
                u16(local_name.size()) + u16(e.local_extra.size()) + local_name + e.local_extra + e.payload +
                e.descriptor;
    directory_ += u32(zip::central_signature) + u16(e.made_by) + u16(20) + u16(e.flags) + u16(e.method) + u32(0) +
                  u32(crc) + u32(compressed) + u32(uncompressed) + u16(e.name.size()) + u16(e.central_extra.size()) +
                  u16(0) + u16(e.disk) + u16(0) + u32(e.external) + u32(offset) + e.name + e.central_extra;
    ++count_;
    return *this;
  }

  RawEnd end() const {
    return {.entries_here = count_,
            .entries = count_,
            .directory_bytes = directory_.size(),
            .directory_offset = entries_.size()};
  }
  std::string bytes() const { return bytes(end()); }
  std::string bytes(const RawEnd& end) const { return entries_ + directory_ + end_record(end); }
  // With zip64 end records; the plain one may say other things.
  std::string bytes64(const RawEnd& end64, const RawEnd& end) const {
    const std::uint64_t position = entries_.size() + directory_.size();
    return entries_ + directory_ + u32(zip::end64_signature) + u64(44) + u16(45) + u16(45) + u32(end64.disk) +
           u32(end64.disk) + u64(end64.entries_here) + u64(end64.entries) + u64(end64.directory_bytes) +
           u64(end64.directory_offset) + u32(zip::locator_signature) + u32(0) + u64(position) + u32(1) +
           end_record(end);
  }

 private:
  static std::string end_record(const RawEnd& end) {
    return u32(zip::end_signature) + u16(end.disk) + u16(end.disk) + u16(end.entries_here) + u16(end.entries) +
           u32(end.directory_bytes) + u32(end.directory_offset) + u16(end.comment.size()) + end.comment;
  }
  std::string entries_;
  std::string directory_;
  std::uint64_t count_ = 0;
};

std::string archive_of(const RawEntry& entry) { return RawZip().add(entry).bytes(); }

class ZipTest : public ::testing::Test {
 protected:
  ZipTest() {
    std::string name = (std::filesystem::temp_directory_path() / "tenon-zip-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    directory_ = name;
    path_ = directory_ / "read.zip";
  }
  ~ZipTest() override { std::filesystem::remove_all(directory_); }

  ZipReader open_file(const std::filesystem::path& path) const {
    return ZipReader::open(std::make_shared<const File>(File::open(path)));
  }
  ZipReader open(std::string_view bytes) const {
    remove_file(path_);
    File::create(path_).write_at(0, bytes_of(bytes));
    return open_file(path_);
  }
  static std::string read(const ZipReader& zip, std::string_view name) {
    const ZipEntry* entry = zip.find(name);
    if (entry == nullptr) throw std::runtime_error("no entry " + std::string(name));
    return text_of(zip.read(*entry, 1 << 20));
  }
  // Everything that a reader can learn from the archive.
  std::vector<std::string> contents(std::string_view bytes) const {
    const ZipReader zip = open(bytes);
    std::vector<std::string> out;
    for (const ZipEntry& entry : zip.entries()) out.push_back(entry.name + "=" + read(zip, entry.name));
    return out;
  }
  void expect_refused(std::string_view bytes, ErrorKind kind, std::string_view message) const {
    try {
      contents(bytes);
      ADD_FAILURE() << "accepted; wanted: " << message;
    } catch (const Error& error) {
      EXPECT_EQ(error_kind_name(error.kind()), std::string(error_kind_name(kind))) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(std::string(message)));
      EXPECT_THAT(error.facts().file, HasSubstr(path_.string()));
      EXPECT_TRUE(error.facts().offset.has_value());
    }
  }
  void expect_corrupt(const RawEntry& entry, std::string_view message) const {
    expect_refused(archive_of(entry), ErrorKind::corrupt, message);
  }

  // What ZipWriter makes of the named records, under the folder "m".
  std::string written(const std::vector<std::pair<std::string, std::string>>& records) const {
    const auto path = directory_ / "written.zip";
    remove_file(path);
    File file = File::create(path);
    ZipWriter zip(file, "m");
    for (const auto& [name, content] : records) zip.add(name, bytes_of(content));
    zip.finish();
    EXPECT_EQ(zip.bytes_written(), file.size_bytes());
    return text_of(read_file(path, 1 << 26));
  }

  std::filesystem::path directory_;
  std::filesystem::path path_;  // of the archive that open() makes
};

// ---- reading what is well-formed

TEST_F(ZipTest, StoredAndDeflatedEntriesAreReadInDirectoryOrder) {
  RawEntry second = deflated_entry();
  second.name = "m/0";
  const ZipReader zip = open(RawZip().add({.name = "m/z"}).add(second).bytes());
  ASSERT_THAT(zip.entries(), SizeIs(2));
  EXPECT_EQ(zip.entries()[0].name, "m/z");
  EXPECT_EQ(zip.entries()[0].data_offset, 30u + 3u);
  EXPECT_TRUE(zip.entries()[0].is_stored);
  EXPECT_FALSE(zip.entries()[1].is_stored);
  EXPECT_EQ(zip.entries()[1].uncompressed_bytes, 1000u);
  EXPECT_EQ(read(zip, "m/z"), "payload");
  EXPECT_EQ(read(zip, "m/0"), a1000);
  EXPECT_EQ(zip.find("m/"), nullptr);
  EXPECT_EQ(zip.find("m/zz"), nullptr);
}

TEST_F(ZipTest, AnArchiveMayBeEmpty) { EXPECT_THAT(contents(RawZip().bytes()), IsEmpty()); }

TEST_F(ZipTest, IsRecognisedByItsFirstFourBytes) {
  EXPECT_TRUE(ZipReader::recognises(bytes_of("PK\3\4 and more")));
  EXPECT_FALSE(ZipReader::recognises(bytes_of("PK\3")));
  EXPECT_FALSE(ZipReader::recognises(bytes_of("PK\5\6....")));
}

TEST_F(ZipTest, PayloadBeginsWhereTheLocalHeaderEndsIt) {
  EXPECT_EQ(open(archive_of({.local_extra = extra(0x4246, "ZZZZZ")})).entries()[0].data_offset, 30u + 3u + 4u + 5u);
}

TEST_F(ZipTest, CommentsAndTrailingBytesAreTolerated) {
  RawZip zip;
  zip.add({});
  RawEnd end = zip.end();
  end.comment = "made by hand";
  EXPECT_THAT(contents(zip.bytes(end)), ElementsAre("m/a=payload"));
  EXPECT_THAT(contents(zip.bytes() + std::string(65535, 'x')), ElementsAre("m/a=payload"));
}

TEST_F(ZipTest, DescriptorsOfAllFourFormsAreUnderstood) {
  const std::uint32_t crc = zip_crc32(0, bytes_of("payload"));
  for (const std::string& signature : {u32(zip::descriptor_signature), std::string()}) {
    EXPECT_THAT(contents(archive_of(entry_with_descriptor(signature + u32(crc) + u32(7) + u32(7)))), SizeIs(1));
    EXPECT_THAT(contents(archive_of(entry_with_descriptor(signature + u32(crc) + u64(7) + u64(7)))), SizeIs(1));
  }
}

TEST_F(ZipTest, Zip64FieldsTakeThePlaceOfThoseThatReferToThem) {
  RawEntry entry{.compressed = zip::see_zip64_32, .header_offset = zip::see_zip64_32};
  entry.crc = zip_crc32(0, bytes_of(entry.payload));
  entry.central_extra = extra(0xCAFE, "other") + extra(zip::zip64_extra_id, u64(7) + u64(7) + u64(0));
  entry.local_extra = extra(zip::zip64_extra_id, u64(7) + u64(7));
  EXPECT_THAT(contents(archive_of(entry)), ElementsAre("m/a=payload"));
}

TEST_F(ZipTest, Zip64EndRecordTakesThePlaceOfThePlainOne) {
  RawZip zip;
  zip.add({});
  EXPECT_THAT(contents(zip.bytes64(zip.end(), zip.end())), ElementsAre("m/a=payload"));
  const RawEnd refers{.disk = 0xFFFF,
                      .entries_here = 0xFFFF,
                      .entries = 0xFFFF,
                      .directory_bytes = zip::see_zip64_32,
                      .directory_offset = zip::see_zip64_32};
  EXPECT_THAT(contents(zip.bytes64(zip.end(), refers)), ElementsAre("m/a=payload"));
}

TEST_F(ZipTest, ACrcOfZeroIsUnknownAndNotChecked) {
  EXPECT_THAT(contents(archive_of({.crc = 0})), ElementsAre("m/a=payload"));
}

// ---- reading what is not

TEST_F(ZipTest, TheLastEndRecordDecidesWithoutASecondTry) {
  const std::string whole = archive_of({});
  expect_refused(whole + "PK\5\6 is a comment, says who wrote it", ErrorKind::corrupt, "archive comment runs past");
  expect_refused(whole + whole, ErrorKind::corrupt, "does not end at the end record");
  EXPECT_THAT(contents(whole + "PK\5\6 is too short"), ElementsAre("m/a=payload"));
}

TEST_F(ZipTest, EveryTruncationIsRefused) {
  RawEntry second = entry_with_descriptor(u32(zip_crc32(0, bytes_of("payload"))) + u32(7) + u32(7));
  second.name = "m/b";
  RawZip zip;
  zip.add(deflated_entry()).add(second);
  for (const std::string& whole : {zip.bytes(), zip.bytes64(zip.end(), zip.end())}) {
    for (std::size_t n = 0; n < whole.size(); ++n) {
      EXPECT_THROW(contents(whole.substr(0, n)), Error) << n << " of " << whole.size() << " bytes";
    }
  }
}

TEST_F(ZipTest, AFlippedBitIsRefusedOrChangesNothing) {
  RawEntry second = entry_with_descriptor(u32(zip_crc32(0, bytes_of("payload"))) + u32(7) + u32(7));
  second.name = "m/b";
  RawZip zip;
  zip.add(deflated_entry()).add(second);
  const std::string whole = zip.bytes64(zip.end(), zip.end());
  const auto wanted = contents(whole);
  int refused = 0;
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    try {
      EXPECT_EQ(contents(flipped), wanted) << "bit " << bit;
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, static_cast<int>(whole.size()) * 4);
}

TEST_F(ZipTest, BytesBeforeTheArchiveAreRefused) {
  const std::string whole = archive_of({});
  expect_refused("#!/bin/sh\n" + whole, ErrorKind::corrupt, "does not end at the end record");
  // Even if every offset allows for them.
  RawZip shifted;
  shifted.add({.payload = "", .header_offset = 40, .local_signature = 0x41414141, .local_extra = "1234567"});
  std::string bytes = shifted.bytes();
  bytes.insert(0, 40, '#');
  RawEnd end = shifted.end();
  end.directory_offset += 40;
  bytes = bytes.substr(0, bytes.size() - zip::end_bytes) + RawZip().bytes(end);
  bytes.replace(40, 4, u32(zip::local_signature));
  expect_refused(bytes, ErrorKind::corrupt, "does not begin with an entry");
}

TEST_F(ZipTest, LocalHeadersMustAgreeWithTheDirectory) {
  expect_corrupt({.local_name = "m/b"}, "disagree on the name");
  expect_corrupt({.local_name = "m/ab"}, "disagree on the name");
  expect_corrupt({.local_flags = zip::flag_utf8}, "disagree on the flags");
  expect_corrupt({.local_method = zip::method_deflated}, "disagree on the method");
  expect_corrupt({.local_crc = 1}, "disagree on the CRC");
  expect_corrupt({.local_compressed = 6}, "disagree on the compressed size");
  expect_corrupt({.local_uncompressed = 6}, "disagree on the size");
  expect_corrupt({.local_crc = 0}, "disagree on the CRC");
  expect_corrupt({.local_signature = 0}, "no local header where");
}

TEST_F(ZipTest, DescriptorsMustAgreeWithTheDirectory) {
  const std::uint32_t crc = zip_crc32(0, bytes_of("payload"));
  expect_corrupt(entry_with_descriptor(u32(zip::descriptor_signature) + u32(crc) + u32(7) + u32(8)), "data descriptor");
  expect_corrupt(entry_with_descriptor(u32(zip::descriptor_signature) + u32(crc + 1) + u32(7) + u32(7)),
                 "data descriptor");
  expect_corrupt(entry_with_descriptor(u32(crc) + u32(7)), "data descriptor");
  expect_corrupt(entry_with_descriptor(""), "data descriptor");
  RawEntry entry = entry_with_descriptor(u32(crc) + u32(7) + u32(7));
  entry.local_uncompressed = 8;
  expect_corrupt(entry, "disagree on the size");
}

TEST_F(ZipTest, WhatIsNotOursIsUnsupported) {
  expect_refused(archive_of({.flags = 1}), ErrorKind::unsupported, "encrypted");
  expect_refused(archive_of({.flags = 0x40}), ErrorKind::unsupported, "unknown flags");
  expect_refused(archive_of({.flags = 0x2000}), ErrorKind::unsupported, "unknown flags");
  expect_refused(archive_of({.method = 93}), ErrorKind::unsupported, "unknown compression method");
  expect_refused(archive_of({.disk = 1}), ErrorKind::unsupported, "another disk");
  expect_refused(archive_of({.made_by = 0x0314, .external = 0xA1FF0000}), ErrorKind::unsupported, "symbolic link");
}

TEST_F(ZipTest, ArchivesOfSeveralDisksAreUnsupported) {
  RawZip zip;
  zip.add({});
  RawEnd end = zip.end();
  end.disk = 1;
  expect_refused(zip.bytes(end), ErrorKind::unsupported, "several disks");
  expect_refused(zip.bytes64(end, zip.end()), ErrorKind::unsupported, "several disks");
  end = zip.end();
  end.entries_here = 0;
  expect_refused(zip.bytes(end), ErrorKind::unsupported, "several disks");
}

TEST_F(ZipTest, OverlappingEntriesAreRefused) {
  RawEntry again{.name = "m/b", .payload = "", .header_offset = 0};
  expect_refused(RawZip().add({}).add(again).bytes(), ErrorKind::corrupt, "overlap");
  // A whole entry quoted in the payload of another.
  const std::string inner = archive_of({.name = "m/b"}).substr(0, 30 + 3 + 7);
  RawEntry quoted{.name = "m/b", .header_offset = 33};
  expect_refused(RawZip().add({.payload = inner}).add(quoted).bytes(), ErrorKind::corrupt, "overlap");
}

TEST_F(ZipTest, NamesThatCouldMeanTwoThingsAreRefused) {
  expect_refused(RawZip().add({}).add({}).bytes(), ErrorKind::corrupt, "two entries of one name");
  expect_refused(RawZip().add({.name = ""}).add({.name = "m/long"}).bytes(), ErrorKind::corrupt, "name is empty");
  expect_corrupt({.name = "/m/a"}, "absolute");
  expect_corrupt({.name = "m\\a"}, "backslash");
  expect_corrupt({.name = std::string("m/a\0b", 5)}, "NUL");
  expect_corrupt({.name = "m/../a"}, "climbs");
  expect_corrupt({.name = ".."}, "climbs");
  expect_corrupt({.name = "m/."}, "climbs");
  EXPECT_THAT(contents(archive_of({.name = "m/..a/.b"})), SizeIs(1));
}

TEST_F(ZipTest, SizesThatTheFileCannotHoldAreRefused) {
  expect_corrupt({.compressed = 1000}, "larger than the archive");
  expect_corrupt({.compressed = 7, .uncompressed = 8}, "two sizes");
  RawEntry bomb = deflated_entry();
  bomb.uncompressed = static_cast<std::uint32_t>(max_inflate_ratio * bomb.payload.size() + 1);
  expect_corrupt(bomb, "more than DEFLATE can hold");
  bomb.uncompressed = *bomb.uncompressed - 1;
  expect_corrupt(bomb, "does not inflate");
}

TEST_F(ZipTest, HugeZip64ValuesAreRefused) {
  for (const std::uint64_t huge : {~0ull, ~0ull - 40, 1ull << 63, 1ull << 32}) {
    RawEntry entry{.compressed = zip::see_zip64_32};
    entry.central_extra = extra(zip::zip64_extra_id, u64(huge) + u64(huge));
    expect_corrupt(entry, "larger than the archive");
    RawEntry offset{.header_offset = zip::see_zip64_32};
    offset.central_extra = extra(zip::zip64_extra_id, u64(huge));
    expect_corrupt(offset, huge == 0 ? "overlap" : "does not begin with an entry");
  }
}

TEST_F(ZipTest, MalformedExtraFieldsAreRefused) {
  RawEntry entry{.header_offset = zip::see_zip64_32};
  entry.central_extra = "";
  expect_corrupt(entry, "too short");
  entry.central_extra = extra(zip::zip64_extra_id, "1234567");
  expect_corrupt(entry, "too short");
  entry.central_extra = extra(zip::zip64_extra_id, u64(0)).substr(0, 11);
  expect_corrupt(entry, "runs past its header");
  entry.central_extra = extra(zip::zip64_extra_id, u64(0)) + "xyz";
  expect_corrupt(entry, "cut short");
  entry.central_extra = extra(zip::zip64_extra_id, u64(0)) + extra(zip::zip64_extra_id, u64(1));
  expect_corrupt(entry, "two zip64");
}

TEST_F(ZipTest, EndRecordsThatLieAreRefused) {
  RawZip zip;
  zip.add({});
  const auto refused = [&](std::function<void(RawEnd&)> change, std::string_view message) {
    RawEnd end = zip.end();
    change(end);
    expect_refused(zip.bytes(end), ErrorKind::corrupt, message);
    expect_refused(zip.bytes64(end, end), ErrorKind::corrupt, message);
  };
  refused([](RawEnd& end) { end.directory_offset -= 1; }, "does not end at the end record");
  refused([](RawEnd& end) { end.directory_bytes += 1; }, "does not end at the end record");
  refused([](RawEnd& end) { end.directory_offset += 1, end.directory_bytes -= 1; }, "lacks its signature");
  refused([](RawEnd& end) { end.entries = end.entries_here = 0; }, "holds more than its entries");
  refused([](RawEnd& end) { end.entries = end.entries_here = 2; }, "more entries than");
  RawEnd other = zip.end();
  other.entries = other.entries_here = 7;
  expect_refused(zip.bytes64(zip.end(), other), ErrorKind::corrupt, "two end records disagree");
  RawEnd huge = zip.end();
  huge.entries = huge.entries_here = ~0ull;
  const RawEnd refers{.entries_here = 0xFFFF,
                      .entries = 0xFFFF,
                      .directory_bytes = huge.directory_bytes,
                      .directory_offset = huge.directory_offset};
  expect_refused(zip.bytes64(huge, refers), ErrorKind::corrupt, "more entries than");
  std::string bytes = zip.bytes64(zip.end(), zip.end());
  bytes[bytes.size() - zip::end_bytes - 12] ^= 1;
  expect_refused(bytes, ErrorKind::corrupt, "locator points elsewhere");
}

TEST_F(ZipTest, DamagedPayloadsAreFoundByTheirCrc) {
  expect_corrupt({.crc = 12345}, "CRC of the record differs");
  RawEntry deflated = deflated_entry();
  deflated.crc = 12345;
  expect_corrupt(deflated, "CRC of the record differs");
}

TEST_F(ZipTest, AStreamThatEndsElsewhereDoesNotInflate) {
  RawEntry entry = deflated_entry();
  entry.uncompressed = 999;
  expect_corrupt(entry, "does not inflate");
  entry.uncompressed = 1001;
  expect_corrupt(entry, "does not inflate");
  entry = deflated_entry();
  entry.payload += "x";
  expect_corrupt(entry, "does not inflate");
}

TEST_F(ZipTest, ReadingKeepsToTheCallersLimit) {
  const ZipReader zip = open(archive_of(deflated_entry()));
  EXPECT_THAT(zip.read(zip.entries()[0], 1000), SizeIs(1000));
  try {
    zip.read(zip.entries()[0], 999);
    ADD_FAILURE() << "read beyond its limit";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::limit);
    EXPECT_THAT(error.facts().file, HasSubstr("(m/a)"));
  }
}

TEST_F(ZipTest, ManyEntriesTakeFewReads) {
  RawZip raw;
  for (int i = 0; i < 5000; ++i) raw.add({.name = "m/data/" + std::to_string(i)});
  RawEnd end = raw.end();
  const ZipReader zip = open(raw.bytes(end));
  EXPECT_THAT(zip.entries(), SizeIs(5000));
  EXPECT_EQ(read(zip, "m/data/4999"), "payload");
}

TEST_F(ZipTest, EntriesBeyondFourGibibytesAreFound) {
  constexpr std::uint64_t large = 5ull << 30;
  const auto local = [](const std::string& name, const std::string& sizes, const std::string& extras) {
    return u32(zip::local_signature) + u16(45) + u16(0) + u16(0) + u32(0) + u32(0) + sizes + u16(name.size()) +
           u16(extras.size()) + name + extras;
  };
  const auto central = [](const std::string& name, const std::string& sizes, std::uint32_t offset,
                          const std::string& extras) {
    return u32(zip::central_signature) + u16(45) + u16(45) + u16(0) + u16(0) + u32(0) + u32(0) + sizes +
           u16(name.size()) + u16(extras.size()) + u16(0) + u16(0) + u16(0) + u32(0) + u32(offset) + name + extras;
  };
  const std::string refers = u32(zip::see_zip64_32) + u32(zip::see_zip64_32);
  const std::string first = local("m/a", refers, extra(1, u64(large) + u64(large)));
  const std::uint64_t second_offset = first.size() + large;
  const std::string second = local("m/b", u32(4) + u32(4), "") + "tail";
  const std::string directory = central("m/a", refers, 0, extra(1, u64(large) + u64(large))) +
                                central("m/b", u32(4) + u32(4), zip::see_zip64_32, extra(1, u64(second_offset)));
  const std::uint64_t directory_offset = second_offset + second.size();
  const RawEnd end{
      .entries_here = 2, .entries = 2, .directory_bytes = directory.size(), .directory_offset = directory_offset};
  std::string end_records = RawZip().bytes64(
      end,
      {.entries_here = 2, .entries = 2, .directory_bytes = directory.size(), .directory_offset = zip::see_zip64_32});
  end_records.replace(zip::end64_bytes + 8, 8, u64(directory_offset + directory.size()));
  File file = File::create(path_);  // sparse: the payload is a hole
  file.write_at(0, bytes_of(first));
  file.write_at(second_offset, bytes_of(second + directory + end_records));

  const ZipReader zip = open_file(path_);
  EXPECT_EQ(zip.find("m/a")->uncompressed_bytes, large);
  EXPECT_EQ(zip.find("m/b")->data_offset, second_offset + 33);
  EXPECT_EQ(read(zip, "m/b"), "tail");
}

// ---- writing

TEST_F(ZipTest, WhatIsWrittenIsReadBack) {
  const std::string large(3 * 1024 * 1024 + 5, 'x');
  const std::string bytes = written({{"data.pkl", "pickle"}, {"data/0", large}, {"data/1", ""}});
  const ZipReader zip = open(bytes);
  EXPECT_THAT(zip.entries(), SizeIs(4));
  EXPECT_EQ(read(zip, "m/data.pkl"), "pickle");
  EXPECT_EQ(text_of(zip.read(*zip.find("m/data/0"), 1 << 26)), large);
  EXPECT_EQ(read(zip, "m/data/1"), "");
  const std::string id = read(zip, "m/.data/serialization_id");
  EXPECT_THAT(id, SizeIs(40));
  EXPECT_EQ(id.find_first_not_of("0123456789"), std::string::npos);
}

TEST_F(ZipTest, EveryPayloadBeginsOnAMultipleOf64) {
  for (std::size_t n = 0; n < 130; ++n) {
    const ZipReader zip = open(written({{"a", std::string(n, 'x')}, {std::string(n + 1, 'n'), "y"}}));
    for (const ZipEntry& entry : zip.entries()) EXPECT_EQ(entry.data_offset % 64, 0u) << entry.name << " after " << n;
  }
}

TEST_F(ZipTest, LocalHeadersAreThoseOfTorchsWriter) {
  const std::string bytes = written({{"a", "abc"}, {"e", ""}});
  const std::string first = "PK\3\4" + u16(0) + u16(0x0808) + u16(0) + std::string(16, '\0') + u16(3) + u16(31) +
                            "m/a" + "FB" + u16(27) + std::string(27, 'Z') + "abc" + "PK\7\10" +
                            u32(zip_crc32(0, bytes_of("abc"))) + u32(3) + u32(3);
  EXPECT_EQ(bytes.substr(0, first.size()), first);
  const std::string empty = "PK\3\4" + u16(0) + u16(0x0800) + u16(0) + std::string(16, '\0') + u16(3) + u16(12) +
                            "m/e" + "FB" + u16(8) + std::string(8, 'Z') + "PK\3\4";
  EXPECT_EQ(bytes.substr(first.size(), empty.size()), empty);
}

TEST_F(ZipTest, Zip64EndRecordsAreAlwaysWritten) {
  const std::string bytes = written({});
  const std::string end64 = bytes.substr(bytes.size() - 98, 56);
  EXPECT_EQ(end64.substr(0, 24), "PK\6\6" + u64(44) + u16(0x031E) + u16(45) + u64(0));
  EXPECT_EQ(bytes.substr(bytes.size() - 42, 4), "PK\6\7");
  EXPECT_EQ(bytes.substr(bytes.size() - 22, 4), "PK\5\6");
}

TEST_F(ZipTest, OneContentGivesTheSameBytesEachTime) {
  EXPECT_EQ(written({{"a", "1"}, {"b", "2"}}), written({{"a", "1"}, {"b", "2"}}));
  EXPECT_NE(written({{"a", "1"}, {"b", "2"}}), written({{"a", "1"}, {"c", "2"}}));
}

TEST_F(ZipTest, PiecesOfAnySizeMakeTheSameEntry) {
  const std::string whole(2 * 1024 * 1024, 'q');
  const auto path = directory_ / "pieces.zip";
  File file = File::create(path);
  ZipWriter zip(file, "m");
  zip.add("a", whole.size(), [&](const ZipWriter::Sink& sink) {
    for (std::size_t at = 0, n = 1; at < whole.size(); at += n, n = n * 2 + 1) {
      n = std::min(n, whole.size() - at);
      sink({});
      sink(bytes_of(whole).subspan(at, n));
    }
  });
  zip.finish();
  EXPECT_EQ(text_of(read_file(path, 1 << 26)), written({{"a", whole}}));
}

TEST_F(ZipTest, AFilledEntryIsTheSameAsOneGivenWhole) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1000}, (std::size_t{9} << 20) + 123}) {
    std::string whole(size, '\0');
    for (std::size_t i = 0; i < size; ++i) whole[i] = static_cast<char>((i * 2654435761u) >> 13);
    const auto written = [&](const std::string& name, const std::function<void(ZipWriter&)>& add) {
      File file = File::create(directory_ / name);
      ZipWriter zip(file, "m");
      zip.add("before", bytes_of("1"));
      add(zip);
      zip.add("after", bytes_of("2"));
      zip.finish();
      file.close();
      return text_of(read_file(directory_ / name, std::uint64_t{1} << 30));
    };
    const std::string plain =
        written(std::to_string(size) + ".whole", [&](ZipWriter& zip) { zip.add("a", bytes_of(whole)); });
    const std::string filled = written(std::to_string(size) + ".filled", [&](ZipWriter& zip) {
      zip.add_filled("a", size, [&](std::uint64_t offset, std::span<std::byte> out) {
        EXPECT_EQ(offset % (64 << 10), 0u);
        std::copy_n(bytes_of(whole).begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
      });
    });
    EXPECT_TRUE(plain == filled) << size;
  }
}

TEST_F(ZipTest, PiecesMustSumUpToTheSizeThatWasSaid) {
  File file = File::create(directory_ / "sum.zip");
  ZipWriter zip(file, "m");
  const auto add = [&](const std::string& name, std::string_view piece) {
    zip.add(name, 3, [&](const ZipWriter::Sink& sink) { sink(bytes_of(piece)); });
  };
  EXPECT_THROW(add("short", "ab"), Error);
  EXPECT_THROW(add("long", "abcd"), Error);
}

TEST_F(ZipTest, NamesThatAReaderWouldRefuseAreNotWritten) {
  File file = File::create(directory_ / "names.zip");
  ZipWriter zip(file, "m");
  zip.add("a", bytes_of("1"));
  EXPECT_THROW(zip.add("a", bytes_of("1")), Error);
  EXPECT_THROW(zip.add("../a", bytes_of("1")), Error);
  EXPECT_THROW(zip.add("a\\b", bytes_of("1")), Error);
  EXPECT_THROW(zip.add(std::string(65534, 'n'), bytes_of("1")), Error);
}

// Writes 4 GiB and more, so only when asked to: TENON_TEST_LARGE=1 with TMPDIR on a file system that can hold it.
TEST_F(ZipTest, EntriesBeyondFourGibibytesAreWritten) {
  if (std::getenv("TENON_TEST_LARGE") == nullptr) GTEST_SKIP() << "TENON_TEST_LARGE is not set";
  constexpr std::uint64_t large = (4ull << 30) + 7;
  const std::vector<std::byte> zeros(8 << 20);
  const auto path = directory_ / "large.zip";
  File file = File::create(path);
  ZipWriter writer(file, "m");
  writer.add("a", large, [&](const ZipWriter::Sink& sink) {
    for (std::uint64_t left = large; left != 0; left -= std::min<std::uint64_t>(left, zeros.size())) {
      sink(std::span(zeros).first(std::min<std::uint64_t>(left, zeros.size())));
    }
  });
  writer.add("b", bytes_of("tail"));
  writer.finish();
  const ZipReader zip = open_file(path);
  EXPECT_EQ(zip.find("m/a")->uncompressed_bytes, large);
  EXPECT_EQ(zip.find("m/b")->data_offset % 64, 0u);
  EXPECT_GT(zip.find("m/b")->data_offset, large);
  EXPECT_EQ(read(zip, "m/b"), "tail");
}

TEST(ZipCrc, ContinuesFromWhereItWas) {
  EXPECT_EQ(zip_crc32(0, bytes_of("123456789")), 0xCBF43926u);
  EXPECT_EQ(zip_crc32(zip_crc32(zip_crc32(0, bytes_of("1234")), {}), bytes_of("56789")), 0xCBF43926u);
}

}  // namespace
}  // namespace tenon
