#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>

#include "file_fixture.h"
#include "formats/npy_header.h"
#include "formats/zip_reader.h"
#include "formats/zip_writer.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;
using std::string_literals::operator""s;
using testing::ElementsAre;
using testing::HasSubstr;

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string literal(const std::string& descr, const std::string& shape, const std::string& order = "False") {
  return fmt::format("{{'descr': {}, 'fortran_order': {}, 'shape': {}, }}", descr, order, shape);
}

// Version 1 has a length of two bytes, the others of four.
std::string npy(const std::string& header, const std::string& data = {}, char major = 1) {
  const std::string length = major == 1 ? data_of({static_cast<std::uint16_t>(header.size())})
                                        : data_of({static_cast<std::uint32_t>(header.size())});
  return "\x93NUMPY"s + major + '\0' + length + header + data;
}

const std::string four_floats = data_of({1.0f, 2.0f, 3.0f, 4.0f});

class Numpy : public FileFixture {
 protected:
  fs::path write_npz(const std::vector<std::pair<std::string, std::string>>& members, const std::string& top = "") {
    const fs::path path = directory_ / ("in" + std::to_string(files_++) + ".npz");
    File file = File::create(path);
    ZipWriter zip(file, top);
    for (const auto& [name, content] : members) zip.add(name, bytes_of(content));
    zip.finish();
    return path;
  }
  std::string npy_of(const Snapshot& snapshot, const std::string& prefix = {}) {
    const fs::path out = directory_ / ("out" + std::to_string(files_++) + ".npy");
    export_npy(snapshot, out, {.prefix = prefix, .sync = false});
    return read(out);
  }
  void expect_no_export(const Draft& draft, ErrorKind kind, const std::string& message) {
    const Snapshot snapshot = commit(draft);
    const fs::path out = directory_ / "refused.npz";
    const Error error = failure_of([&] { export_npz(snapshot, out); });
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(message));
    EXPECT_FALSE(fs::exists(out));
  }
};

TEST_F(Numpy, AnArrayIsOneTensorWithoutAName) {
  const ImportedFile file = ImportedFile::open(write(npy(literal("'<f4'", "(2, 2)"), four_floats)));
  EXPECT_EQ(file.format(), FileFormat::npy);
  EXPECT_THAT(names(file.draft()), ElementsAre("."));
  const TensorDraft& row = file.draft().tensors[0];
  EXPECT_EQ(row.dtype, DType::float32);
  EXPECT_THAT(row.shape, ElementsAre(2, 2));
  EXPECT_THAT(row.stride, ElementsAre(2, 1));
  EXPECT_EQ(contents(file.draft()), four_floats);
  EXPECT_EQ(describe_structure(commit(file.draft())), "float32 [2, 2]\n");
}

TEST_F(Numpy, AllVersionsAreRead) {
  for (const char major : {'\1', '\2', '\3'}) {
    EXPECT_EQ(contents(draft_of(npy(literal("'<f4'", "(4,)"), four_floats, major))), four_floats);
  }
  expect_refusal(npy(literal("'<f4'", "(4,)"), four_floats, 4), ErrorKind::unsupported, "4.0");
  expect_refusal(npy(literal("'<f4'", "(4,)"), four_floats, 0), ErrorKind::unsupported, "0.0");
}

TEST_F(Numpy, FortranOrderIsStrides) {
  const Draft draft = draft_of(npy(literal("'<f4'", "(2, 1, 2)", "True"), four_floats));
  EXPECT_THAT(draft.tensors[0].stride, ElementsAre(1, 2, 2));
  EXPECT_EQ(contents(draft), four_floats);
}

TEST_F(Numpy, BigEndianElementsAreSwappedAsUnits) {
  EXPECT_EQ(contents(draft_of(npy(literal("'>i4'", "(2,)"), "\0\0\0\1\0\0\0\2"s))), data_of({1, 2}));
  EXPECT_EQ(contents(draft_of(npy(literal("'>c8'", "()"), "\x3f\x80\0\0\x40\0\0\0"s))), data_of({1.0f, 2.0f}));
  EXPECT_EQ(contents(draft_of(npy(literal("'>u2'", "(3,)"), "\0\1\0\2\0\3"s)), 0, 1, 4), "\0\2\0\3"s);
  EXPECT_EQ(contents(draft_of(npy(literal("'>u1'", "(3,)"), "abc"))), "abc");
}

TEST_F(Numpy, ScalarsAndEmptyArraysAreTensors) {
  EXPECT_THAT(draft_of(npy(literal("'<f8'", "()"), std::string(8, 'x'))).tensors[0].shape, ElementsAre());
  const Draft empty = draft_of(npy(literal("'<f8'", "(0, 3)")));
  EXPECT_THAT(empty.tensors[0].shape, ElementsAre(0, 3));
  EXPECT_EQ(commit(empty).size(), 1u);
  EXPECT_EQ(commit(draft_of(npy(literal("'<f8'", "(0, 1099511627776, 4)", "True")))).size(), 1u);
  expect_refusal(npy(literal("'<f8'", "(0, 4611686018427387904, 4)")), ErrorKind::corrupt, "impossibly large");
}

TEST_F(Numpy, EveryTypeThatTorchSharesComesBackAsItWas) {
  for (const DTypeInfo& info : all_dtypes()) {
    if (npy_type(info.dtype).empty()) continue;
    const std::string data(3u * item_bytes(info.dtype), 'x');
    const auto header = make_npy_header(info.dtype, false, std::array<std::int64_t, 1>{3});
    const std::string file = std::string(reinterpret_cast<const char*>(header.data()), header.size()) + data;
    EXPECT_EQ(file.size() - data.size(), 64u + (file.size() > 64 + data.size() ? 64 : 0));
    const Draft draft = draft_of(file);
    EXPECT_EQ(draft.tensors[0].dtype, info.dtype);
    EXPECT_EQ(npy_of(commit(draft)), file);
  }
}

TEST_F(Numpy, TypesThatTorchLacksAreRefusedByName) {
  const auto expect = [&](const std::string& descr, const std::string& message) {
    expect_refusal(npy(literal(descr, "(1,)"), std::string(8, 'x')), ErrorKind::unsupported, message);
  };
  expect("'|O'", "Python objects");
  expect("'|S8'", "byte strings");
  expect("'<U2'", "text");
  expect("'|V8'", "void");
  expect("'<M8[ns]'", "dates");
  expect("'<m8[s]'", "time spans");
  expect("'<f16'", "extended precision");
  expect("'<c32'", "extended precision");
  expect("'<x4'", "unknown type");
  expect("[('a', '<i4'), ('b', '<f4')]", "structured");
  expect("('<f4', (2,))", "structured");
}

TEST_F(Numpy, HeadersAreLiteralsOfThreeKeysAndNothingElse) {
  const auto expect = [&](const std::string& header, const std::string& message) {
    expect_refusal(npy(header, four_floats), ErrorKind::corrupt, message);
  };
  expect("", "malformed");
  expect("{}", "lacks a key");
  expect("{'descr': '<f4', 'shape': (4,)}", "lacks a key");
  expect("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (4,)}", "twice");
  expect("{'descr': '<f4', 'fortran_order': False, 'shape': (4,), 'x': 1}", "unknown key");
  expect(literal("'<f4'", "(4,)") + "1", "nothing more");
  expect(literal("'<f4'", "(4,)", "0"), "True or False");
  expect(literal("'<f4'", "(4,)", "__import__('os').system('x')"), "True or False");
  expect(literal("'<f4'", "(4)"), "a tuple");
  expect(literal("'<f4'", "[4]"), "malformed");
  expect(literal("'<f4'", "(2 2)"), "',' or ')'");
  expect(literal("'<f4'", "(,)"), "whole number");
  expect(literal("'<f4'", "(-4,)"), "whole number");
  expect(literal("'<f4'", "(4.0,)"), "malformed");
  expect(literal("'<f4'", "(04,)"), "whole number");
  expect(literal("'<f4'", "(0x4,)"), "malformed");
  expect(literal("'<f4'", "(2+2,)"), "malformed");
  expect(literal("'<f4'", "(9223372036854775808,)"), "impossibly large");
  expect(literal("'<f4'", "(4294967296, 4294967296)"), "impossibly large");
  expect(literal("f4", "(4,)"), "a string");
  expect(literal("b'<f4'", "(4,)"), "a string");
  expect(literal("'<f\\x34'", "(4,)"), "escapes");
  expect("{'descr': '<f4", "a string that ends");
  expect(literal("''", "(4,)"), "element type");
  expect(literal("'<'", "(4,)"), "element type");
  expect(literal("'f4'", "(4,)"), "byte order");
  expect(literal("'|f4'", "(4,)"), "byte order");
  expect("{'descr'\0: '<f4'"s, "malformed");
  std::string many = "(1";
  for (int i = 0; i < 64; ++i) many += ", 1";
  expect_refusal(npy(literal("'<f4'", many + ")"), four_floats), ErrorKind::limit, "dimensions");
}

TEST_F(Numpy, OldSpellingsAreRead) {
  EXPECT_THAT(draft_of(npy(R"({"shape":(2L,2L),"fortran_order":False,"descr":"<f4"})"
                           "\n",
                           four_floats))
                  .tensors[0]
                  .shape,
              ElementsAre(2, 2));
  EXPECT_EQ(draft_of(npy(literal("'=f4'", "(4,)"), four_floats)).tensors[0].dtype, DType::float32);
}

TEST_F(Numpy, LengthsThatLieAreRefused) {
  const std::string sound = npy(literal("'<f4'", "(4,)"), four_floats);
  EXPECT_EQ(draft_of(sound).tensors.size(), 1u);
  expect_refusal(sound + "x", ErrorKind::corrupt, "goes on after");
  expect_refusal(sound.substr(0, sound.size() - 1), ErrorKind::corrupt, "cut short");
  for (const std::size_t length : {6u, 7u, 8u, 9u}) {
    expect_refusal(sound.substr(0, length), ErrorKind::corrupt, "cut short");
  }
  expect_refusal(sound.substr(0, 30), ErrorKind::corrupt, "longer than its file");
  expect_refusal("\x93NUMPY\2\0\xff\xff\xff\xff"s, ErrorKind::corrupt, "longer than its file");
  expect_refusal(npy(literal("'<f4'", "(4,)") + std::string(70'000, ' '), four_floats, 2), ErrorKind::limit,
                 "too long");
}

TEST_F(Numpy, AnArchiveIsOneFlatDict) {
  const std::string floats = npy(literal("'<f4'", "(4,)"), four_floats);
  const ImportedFile file = ImportedFile::open(write_npz({{"w.npy", floats}, {"a/b.npy", floats}, {".npy", floats}}));
  EXPECT_EQ(file.format(), FileFormat::npz);
  EXPECT_THAT(names(file.draft()), ElementsAre("w", "\"a/b\"", "\"\""));
  EXPECT_EQ(contents(file.draft(), 1), four_floats);
}

TEST_F(Numpy, MembersOfAnArchiveThatAreNoArraysAreRefusedByName) {
  const std::string floats = npy(literal("'<f4'", "(4,)"), four_floats);
  const auto refusal = [&](const std::vector<std::pair<std::string, std::string>>& members) {
    return failure(write_npz(members));
  };
  const Error other = refusal({{"w.npy", floats}, {"readme.txt", "hello"}});
  EXPECT_EQ(other.kind(), ErrorKind::unsupported);
  EXPECT_THAT(other.what(), HasSubstr("(readme.txt)"));
  const Error no_array = refusal({{"w.npy", "hello, this is no array"}});
  EXPECT_EQ(no_array.kind(), ErrorKind::corrupt);
  EXPECT_THAT(no_array.what(), HasSubstr("(w.npy)"));
  EXPECT_EQ(refusal({{"w.npy", ""}}).kind(), ErrorKind::corrupt);
  EXPECT_EQ(refusal({{"w.npy", floats.substr(0, floats.size() - 1)}}).kind(), ErrorKind::corrupt);
  EXPECT_EQ(refusal({{"w.npy", npy(literal("'|O'", "(4,)"), "xxxx")}}).kind(), ErrorKind::unsupported);
}

TEST_F(Numpy, ADamagedMemberIsCorruptWhenItIsRead) {
  const std::string floats = npy(literal("'<f4'", "(4,)"), four_floats);
  const fs::path path = write_npz({{"w.npy", floats}});
  std::string content = read(path);
  content[content.find(four_floats)] ^= 1;
  const Draft draft = draft_of(content);
  EXPECT_THAT(failure_of([&] { contents(draft); }).what(), HasSubstr("CRC"));
}

TEST_F(Numpy, AnArchiveComesBackWithItsOrders) {
  const auto padded = [](bool is_fortran, std::vector<std::int64_t> shape) {
    const auto header = make_npy_header(DType::float32, is_fortran, shape);
    return std::string(reinterpret_cast<const char*>(header.data()), header.size()) + four_floats;
  };
  const fs::path in = write_npz({{"c.npy", padded(false, {2, 2})}, {"a/f.npy", padded(true, {2, 2})}});
  const fs::path out = directory_ / "out.npz";
  export_npz(commit(ImportedFile::open(in).draft()), out);
  EXPECT_EQ(read(out), read(in));
}

TEST_F(Numpy, ViewsAreWrittenInFull) {
  Draft draft;
  draft.slots.push_back(slot_over(four_floats));
  draft.tensors = {row_of("a", DType::float32, {2}, {2}, 4), row_of("b", DType::float32, {2, 3}, {1, 0}, 8)};
  const Snapshot snapshot = commit(draft);
  EXPECT_THAT(npy_of(snapshot, "a"), testing::EndsWith(data_of({2.0f, 4.0f})));
  EXPECT_THAT(npy_of(snapshot, "b"), testing::EndsWith(data_of({3.0f, 3.0f, 3.0f, 4.0f, 4.0f, 4.0f})));
  EXPECT_EQ(failure_of([&] { npy_of(snapshot); }).kind(), ErrorKind::invalid_argument);
}

TEST_F(Numpy, WhatItCannotSayIsRefusedByNameAndNothingIsWritten) {
  const std::string bytes(16, 'x');
  for (const DType dtype : {DType::bfloat16, DType::float8_e5m2, DType::complex32, DType::qint8, DType::bits8}) {
    Draft draft;
    draft.slots.push_back(slot_over(bytes));
    draft.tensors.push_back(row_of("w", dtype, {1}, {1}));
    expect_no_export(draft, ErrorKind::unsupported, std::string(dtype_info(dtype).name));
  }
  Draft climbs;
  climbs.slots.push_back(slot_over(bytes));
  climbs.tensors.push_back(row_of("../w", DType::uint8, {1}, {1}));
  expect_no_export(climbs, ErrorKind::invalid_argument, "climbs");
}

}  // namespace
}  // namespace tenon
