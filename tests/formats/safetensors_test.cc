#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "file_fixture.h"
#include "formats/safetensors_header.h"
#include "formats/safetensors_reader.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;
using std::string_literals::operator""s;
using testing::ElementsAre;
using testing::HasSubstr;

std::string length_of(std::uint64_t value) { return {reinterpret_cast<const char*>(&value), sizeof value}; }

// A file of this JSON, whatever it says.
std::string file_of(const std::string& json, const std::string& data = {}) {
  return length_of(json.size()) + json + data;
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape, std::uint64_t begin,
                  std::uint64_t end) {
  return fmt::format(R"("{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", name, dtype, shape, begin, end);
}

const std::string four_floats = data_of({1.0f, 2.0f, 3.0f, 4.0f});

class Safetensors : public FileFixture {
 protected:
  fs::path exported(const Snapshot& snapshot, const std::string& prefix = {}) {
    const fs::path out = directory_ / ("out" + std::to_string(files_++) + ".safetensors");
    export_safetensors(snapshot, out, {.prefix = prefix, .sync = false});
    return out;
  }
  // The JSON of a file.
  static std::string header(const fs::path& path) {
    const std::string content = read(path);
    std::uint64_t nbytes = 0;
    std::memcpy(&nbytes, content.data(), sizeof nbytes);
    return content.substr(8, nbytes);
  }
  static std::string data(const fs::path& path) { return read(path).substr(8 + header(path).size()); }
  void expect_no_export(const Draft& draft, ErrorKind kind, const std::string& message) {
    const Snapshot snapshot = commit(draft);
    const fs::path out = directory_ / "refused.safetensors";
    const Error error = failure_of([&] { export_safetensors(snapshot, out); });
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(message));
    EXPECT_FALSE(fs::exists(out));
    EXPECT_TRUE(std::ranges::none_of(fs::directory_iterator(directory_),
                                     [](const auto& file) { return file.path().extension() == ".tmp"; }));
  }
};

TEST_F(Safetensors, AreOneFlatDictInTheOrderOfTheHeader) {
  const ImportedFile file = ImportedFile::open(write(
      file_of("{" + entry("b.w", "F32", "2,1", 8, 16) + "," + entry("a/b", "I16", "4", 0, 8) + "}", four_floats)));
  EXPECT_EQ(file.format(), FileFormat::safetensors);
  const Draft& draft = file.draft();
  EXPECT_THAT(names(draft), ElementsAre("b.w", "\"a/b\""));
  EXPECT_EQ(draft.tensors[0].dtype, DType::float32);
  EXPECT_THAT(draft.tensors[0].shape, ElementsAre(2, 1));
  EXPECT_THAT(draft.tensors[0].stride, ElementsAre(1, 1));
  EXPECT_EQ(contents(draft, draft.tensors[0].slot), four_floats.substr(8));
  EXPECT_EQ(contents(draft, draft.tensors[1].slot, 2, 3), four_floats.substr(2, 3));
  EXPECT_EQ(describe_structure(commit(draft)), "dict of 2\n  'b.w': float32 [2, 1]\n  'a/b': int16 [4]\n");
}

TEST_F(Safetensors, EveryTypeOfTorchIsKnown) {
  for (const DTypeInfo& info : all_dtypes()) {
    const auto index = safetensors_type_index(info.dtype);
    if (!index) continue;
    const SafetensorsType& type = safetensors_type(*index);
    EXPECT_EQ(find_safetensors_type(type.name), &type);
    const std::string json = "{" + entry("w", std::string(type.name), "2", 0, 2u * type.bits / 8) + "}";
    const Draft draft = draft_of(file_of(json, std::string(2u * type.bits / 8, 'x')));
    EXPECT_EQ(draft.tensors[0].dtype, info.dtype);
    EXPECT_EQ(header(exported(commit(draft))).substr(0, json.size()), json);
  }
  EXPECT_FALSE(safetensors_type_index(DType::complex128));
  EXPECT_FALSE(safetensors_type_index(DType::qint8));
  EXPECT_FALSE(safetensors_type_index(DType::invalid));
}

TEST_F(Safetensors, FourBitElementsAreTwoInOneOfTorchs) {
  const Draft draft = draft_of(file_of("{" + entry("w", "F4", "3,4", 0, 6) + "}", "abcdef"));
  EXPECT_THAT(draft.tensors[0].shape, ElementsAre(3, 2));
  expect_refusal(file_of("{" + entry("w", "F4", "2,3", 0, 3) + "}", "abc"), ErrorKind::unsupported,
                 "odd last dimension");
  expect_refusal(file_of("{" + entry("w", "F4", "3", 0, 2) + "}", "ab"), ErrorKind::corrupt, "whole bytes");
}

TEST_F(Safetensors, TypesThatTorchLacksAreRefusedByName) {
  expect_refusal(file_of("{" + entry("w", "F6_E2M3", "4", 0, 3) + "}", "abc"), ErrorKind::unsupported, "F6_E2M3");
  expect_refusal(file_of("{" + entry("w", "F6_E3M2", "4", 0, 3) + "}", "abc"), ErrorKind::unsupported, "F6_E3M2");
  expect_refusal(file_of("{" + entry("w", "F31", "4", 0, 3) + "}", "abc"), ErrorKind::unsupported, "F31");
}

TEST_F(Safetensors, MetadataStandsInTheSnapshotsAndComesBack) {
  const std::string json = R"({"__metadata__":{"z":"é\n","format":"np"},)" + entry("w", "U8", "", 0, 1) + "}";
  const Draft draft = draft_of(file_of(json, "x"));
  EXPECT_EQ(draft.meta, R"({"safetensors":{"z":"é\n","format":"np"}})");
  EXPECT_EQ(header(exported(commit(draft))).substr(0, json.size()), json);
}

TEST_F(Safetensors, WithoutMetadataComeBackWithoutAndOtherSnapshotsSayThatTheyAreTorchs) {
  const std::string json = "{" + entry("w", "U8", "", 0, 1) + "}";
  Draft draft = draft_of(file_of(json, "x"));
  EXPECT_EQ(draft.meta, R"({"safetensors":{}})");
  EXPECT_EQ(header(exported(commit(draft))).substr(0, json.size()), json);
  draft.meta = R"({"lr":3e-4})";
  EXPECT_THAT(header(exported(commit(draft))), HasSubstr(R"({"__metadata__":{"format":"pt"},"w")"));
}

TEST_F(Safetensors, MetadataOfTheSnapshotThatIsNoObjectOfStringsIsRefused) {
  for (const std::string meta : {R"({"safetensors":"x"})", R"({"safetensors":{"a":1}})", R"({"safetensors":[]})",
                                 R"({"safetensors":{"a":{}}})", R"({"safetensors":{"a":null}})"}) {
    EXPECT_EQ(failure_of([&] { metadata_in(meta); }).kind(), ErrorKind::unsupported) << meta;
  }
  EXPECT_EQ(metadata_in(R"({"a":{"safetensors":{"x":"y"}},"b":["z"]})"), std::nullopt);
}

TEST_F(Safetensors, LengthsThatLieAreRefused) {
  const std::string json = "{}";
  for (const std::uint64_t lie : {std::uint64_t{3}, std::uint64_t{1000}, std::uint64_t{1} << 40}) {
    expect_refusal(length_of(lie) + json, ErrorKind::corrupt, "longer than its file");
  }
  for (const std::uint64_t lie : {std::uint64_t{1} << 63, UINT64_MAX}) {
    EXPECT_EQ(failure(write(length_of(lie) + json)).kind(), ErrorKind::corrupt);
  }
  for (const std::uint64_t lie : {0u, 1u}) EXPECT_EQ(failure(write(length_of(lie) + json)).kind(), ErrorKind::corrupt);
  EXPECT_EQ(draft_of(length_of(2) + json).tensors.size(), 0u);
}

TEST_F(Safetensors, RangesMustCoverTheDataOnceAndNoMore) {
  const auto two = [&](std::uint64_t begin, std::uint64_t end) {
    return file_of(
        "{" + entry("a", "U8", "8", 0, 8) + "," + entry("b", "U8", std::to_string(end - begin), begin, end) + "}",
        four_floats);
  };
  EXPECT_EQ(draft_of(two(8, 16)).tensors.size(), 2u);
  expect_refusal(two(7, 16), ErrorKind::corrupt, "overlap");
  expect_refusal(two(9, 16), ErrorKind::corrupt, "gap");
  expect_refusal(two(8, 15), ErrorKind::corrupt, "goes on after");
  expect_refusal(two(8, 17), ErrorKind::corrupt, "outside");
  expect_refusal(file_of("{" + entry("a", "U8", "8", 8, 16) + "}", four_floats), ErrorKind::corrupt, "gap");
  expect_refusal(file_of("{" + entry("a", "U8", "8", 8, 0) + "}", four_floats), ErrorKind::corrupt, "outside");
  expect_refusal(file_of("{}", "x"), ErrorKind::corrupt, "goes on after");
}

TEST_F(Safetensors, EmptyTensorsMayShareAnOffset) {
  const Draft draft =
      draft_of(file_of("{" + entry("a", "F32", "0,3", 0, 0) + "," + entry("b", "F32", "4", 0, 16) + "," +
                           entry("c", "F32", "0", 0, 0) + "," + entry("d", "F32", "0", 16, 16) + "}",
                       four_floats));
  EXPECT_EQ(commit(draft).size(), 4u);
  expect_refusal(file_of("{" + entry("b", "F32", "4", 0, 16) + "," + entry("c", "F32", "0", 8, 8) + "}", four_floats),
                 ErrorKind::corrupt, "overlap");
}

TEST_F(Safetensors, ShapesAreHeldToTheirRanges) {
  const auto one = [&](const std::string& shape) {
    return file_of("{" + entry("a", "F32", shape, 0, 16) + "}", four_floats);
  };
  EXPECT_EQ(draft_of(one("2,2")).tensors.size(), 1u);
  expect_refusal(one("3"), ErrorKind::corrupt, "does not fill");
  expect_refusal(one("5"), ErrorKind::corrupt, "does not fill");
  expect_refusal(one("4294967296,4294967296"), ErrorKind::corrupt, "impossibly large");
  expect_refusal(one("4611686018427387908"), ErrorKind::corrupt, "impossibly large");
  expect_refusal(one("9223372036854775808"), ErrorKind::corrupt, "impossibly large");
  expect_refusal(one("-4"), ErrorKind::corrupt, "negative");
  expect_refusal(one("4.0"), ErrorKind::corrupt, "4.0");
  expect_refusal(one("[4]"), ErrorKind::limit, "nested");
  expect_refusal(one("\"4\""), ErrorKind::corrupt, "a string");
  std::string many = "1";
  for (int i = 0; i < 64; ++i) many += ",1";
  expect_refusal(one(many), ErrorKind::limit, "dimensions");
}

TEST_F(Safetensors, FieldsAreThereOnceAndNoOthers) {
  const auto one = [](const std::string& fields) { return file_of("{\"a\":{" + fields + "}}", "x"); };
  const std::string sound = R"("dtype":"U8","shape":[1],"data_offsets":[0,1])";
  EXPECT_EQ(draft_of(one(sound)).tensors.size(), 1u);
  expect_refusal(one(R"("dtype":"U8","shape":[1])"), ErrorKind::corrupt, "lacks");
  expect_refusal(one(""), ErrorKind::corrupt, "lacks");
  expect_refusal(one(sound + R"(,"dtype":"U8")"), ErrorKind::corrupt, "twice");
  expect_refusal(one(sound + R"(,"more":1)"), ErrorKind::corrupt, "more");
  expect_refusal(one(R"("dtype":8,"shape":[1],"data_offsets":[0,1])"), ErrorKind::corrupt, "a number");
  expect_refusal(one(R"("dtype":"U8","shape":1,"data_offsets":[0,1])"), ErrorKind::corrupt, "a number");
  expect_refusal(one(R"("dtype":"U8","shape":[1],"data_offsets":[0])"), ErrorKind::corrupt, "two data offsets");
  expect_refusal(one(R"("dtype":"U8","shape":[1],"data_offsets":[0,1,1])"), ErrorKind::corrupt, "two data offsets");
  expect_refusal(one(R"("dtype":"U8","shape":[1],"data_offsets":[0,1e0])"), ErrorKind::corrupt, "1e0");
  expect_refusal(one(R"("dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551617])"), ErrorKind::corrupt,
                 "number");
}

TEST_F(Safetensors, NamesAreThereOnce) {
  const std::string a = entry("a", "U8", "0", 0, 0);
  expect_refusal(file_of("{" + a + "," + a + "}"), ErrorKind::corrupt, "two tensors of one name");
  expect_refusal(file_of(R"({"__metadata__":{},"__metadata__":{}})"), ErrorKind::corrupt, "twice");
  expect_refusal(file_of(R"({"__metadata__":{"a":"b","a":"b"}})"), ErrorKind::corrupt, "twice");
  expect_refusal(file_of(R"({"__metadata__":{"a":1}})"), ErrorKind::corrupt, "strings in the metadata");
  expect_refusal(file_of(R"({"__metadata__":[]})"), ErrorKind::corrupt, "an array");
  expect_refusal(file_of("{" + entry("__metadata__", "U8", "0", 0, 0) + "}"), ErrorKind::corrupt, "metadata");
  expect_refusal(file_of(R"({"a":"b"})"), ErrorKind::corrupt, "a string");
  expect_refusal(file_of("{\"a\":1}"), ErrorKind::corrupt, "a number");
}

TEST_F(Safetensors, HoldNoMoreTensorsThanTheirSizeAccountsFor) {
  std::string json = "{";
  for (int i = 0; i < 100'000; ++i) json += entry(std::to_string(i), "U8", "0", 0, 0) + ",";
  json.back() = '}';
  expect_refusal(file_of(json), ErrorKind::limit, "more tensors than its size accounts for");
}

TEST_F(Safetensors, MetadataIsLimited) {
  std::string json = R"({"__metadata__":{)";
  for (int i = 0; i < 100'000; ++i) json += fmt::format(R"("{}":"",)", i);
  json.back() = '}';
  expect_refusal(file_of(json + "}"), ErrorKind::limit, "metadata is too large");
  expect_refusal(file_of(R"({"__metadata__":{"a":")" + std::string(5'000'000, 'x') + "\"}}"), ErrorKind::limit,
                 "too long");
}

TEST_F(Safetensors, ShortenedAfterTheyWereOpenedAreCorruptWhenRead) {
  const fs::path path = write(file_of("{" + entry("a", "F32", "4", 0, 16) + "}", four_floats));
  const ImportedFile file = ImportedFile::open(path);
  fs::resize_file(path, fs::file_size(path) - 1);
  EXPECT_EQ(failure_of([&] { contents(file.draft()); }).kind(), ErrorKind::corrupt);
}

TEST_F(Safetensors, AreWrittenLargestTypesFirstThenByName) {
  Draft draft;
  const std::string bytes(16, 'x');
  draft.slots.push_back(slot_over(bytes));
  draft.tensors = {row_of("b", DType::uint8, {3}, {1}), row_of("z", DType::float32, {1}, {1}),
                   row_of("a", DType::uint8, {2}, {1}), row_of("d", DType::float64, {}, {})};
  EXPECT_THAT(header(exported(commit(draft))),
              HasSubstr(entry("d", "F64", "", 0, 8) + "," + entry("z", "F32", "1", 8, 12) + "," +
                        entry("a", "U8", "2", 12, 14) + "," + entry("b", "U8", "3", 14, 17) + "}"));
}

TEST_F(Safetensors, ViewsAndTiesAreWrittenInFullForEachName) {
  Draft draft;
  draft.slots.push_back(slot_over(four_floats));
  draft.tensors = {row_of("a", DType::float32, {2, 2}, {2, 1}), row_of("b", DType::float32, {2, 2}, {1, 2}),
                   row_of("c", DType::float32, {2}, {0}, 12),   row_of("d", DType::float32, {2}, {2}, 4),
                   row_of("e", DType::float32, {2, 2}, {2, 1}), row_of("f", DType::float32, {0, 2}, {2, 1})};
  draft.tensors[4].object = 0;
  EXPECT_EQ(data(exported(commit(draft))), four_floats + data_of({1.0f, 3.0f, 2.0f, 4.0f}) + data_of({4.0f, 4.0f}) +
                                               data_of({2.0f, 4.0f}) + four_floats);
}

TEST_F(Safetensors, LargeStridedTensorsAreGatheredPieceByPiece) {
  constexpr std::int64_t rows = 700;
  constexpr std::int64_t columns = 901;
  std::vector<std::int32_t> values(rows * columns);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int32_t>(i);
  const std::string bytes(reinterpret_cast<const char*>(values.data()), values.size() * 4);
  Draft draft;
  draft.slots.push_back(slot_over(bytes));
  draft.tensors = {row_of("t", DType::int32, {columns, rows}, {1, columns}),
                   row_of("u", DType::int32, {rows - 1, columns}, {columns, 1}, columns * 4)};
  const std::string written = data(exported(commit(draft)));
  ASSERT_EQ(written.size(), bytes.size() + bytes.size() - columns * 4);
  for (std::int64_t i = 0; i < rows * columns; ++i) {
    std::int32_t value = 0;
    std::memcpy(&value, written.data() + i * 4, sizeof value);
    ASSERT_EQ(value, i % rows * columns + i / rows);
  }
  EXPECT_EQ(written.substr(bytes.size()), bytes.substr(columns * 4));
}

TEST_F(Safetensors, NamesOfANestAreItsPathsUntilAPrefixSelectsAFlatPart) {
  const std::string bytes = "abc";
  Draft draft;
  draft.slots.push_back(slot_over(bytes));
  draft.tensors = {row_of("model/fc.w", DType::uint8, {1}, {1}), row_of("model/\"x/y\"", DType::uint8, {2}, {1}),
                   row_of("step", DType::uint8, {3}, {1})};
  const Snapshot snapshot = commit(draft);
  const std::string all = header(exported(snapshot));
  for (const char* name : {R"("model/fc.w":)", R"("model/\"x/y\"":)", R"("step":)"}) EXPECT_THAT(all, HasSubstr(name));
  const std::string part = header(exported(snapshot, "model"));
  for (const char* name : {R"("fc.w":)", R"("x/y":)"}) EXPECT_THAT(part, HasSubstr(name));
  EXPECT_THAT(part, Not(HasSubstr("step")));
  EXPECT_THAT(header(exported(snapshot, "model/fc")), HasSubstr(R"("w":)"));
  EXPECT_EQ(failure_of([&] { exported(snapshot, "mod"); }).kind(), ErrorKind::not_found);
}

TEST_F(Safetensors, WhatTheyCannotSayIsRefusedByNameAndNothingIsWritten) {
  const std::string bytes(16, 'x');
  const auto one = [&](TensorDraft row) {
    Draft draft;
    draft.slots.push_back(slot_over(bytes));
    draft.tensors.push_back(std::move(row));
    return draft;
  };
  expect_no_export(one(row_of("w", DType::complex128, {1}, {1})), ErrorKind::unsupported,
                   "tensor w has an element type");
  expect_no_export(one(row_of("w", DType::complex32, {1}, {1})), ErrorKind::unsupported, "complex32");
  expect_no_export(one(row_of("w", DType::bits8, {1}, {1})), ErrorKind::unsupported, "bits8");
  expect_no_export(one(row_of("w", DType::qint8, {1}, {1})), ErrorKind::unsupported, "quantized");
  expect_no_export(one(row_of("w", DType::quint4x2, {1}, {1})), ErrorKind::unsupported, "quantized");
  expect_no_export(one(row_of("w", DType::uint4, {1}, {1})), ErrorKind::unsupported, "uint4");
  TensorDraft conj = row_of("w", DType::complex64, {1}, {1});
  conj.is_conj = true;
  expect_no_export(one(conj), ErrorKind::unsupported, "conjugated");
  TensorDraft neg = row_of("w", DType::float32, {1}, {1});
  neg.is_neg = true;
  expect_no_export(one(neg), ErrorKind::unsupported, "negated");
  Draft meta = one(row_of("w", DType::float32, {1}, {1}));
  meta.tensors[0].slot = no_slot;
  expect_no_export(meta, ErrorKind::unsupported, "has no data");
  expect_no_export(one(row_of("__metadata__", DType::uint8, {1}, {1})), ErrorKind::unsupported, "__metadata__");
  expect_no_export(one(row_of("w", DType::uint8, {1 << 20, 1 << 20}, {0, 0})), ErrorKind::limit, "repeats its storage");
  Draft alike = one(row_of("a/b", DType::uint8, {1}, {1}));
  alike.tensors.push_back(row_of("\"a/b\"", DType::uint8, {1}, {1}));
  expect_no_export(alike, ErrorKind::unsupported, "name of another");
}

TEST_F(Safetensors, ExportReplacesAFileAndCountsItsProgress) {
  Draft draft;
  draft.slots.push_back(slot_over(four_floats));
  draft.tensors = {row_of("a", DType::float32, {4}, {1}), row_of("b", DType::float32, {4}, {1})};
  const Snapshot snapshot = commit(draft);
  const fs::path out = write("what was there before", "out.safetensors");
  Progress last;
  export_safetensors(snapshot, out, {.sync = true, .progress = [&](const Progress& now) { last = now; }});
  EXPECT_EQ(data(out), four_floats + four_floats);
  EXPECT_EQ(last.done, 32u);
  EXPECT_EQ(last.total, 32u);
}

}  // namespace
}  // namespace tenon
