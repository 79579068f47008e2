#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "formats/record_source.h"
#include "formats/zip_reader.h"
#include "formats/zip_writer.h"
#include "tenon/error.h"
#include "tenon/formats.h"
#include "tenon/store.h"
#include "tests/formats/pickles.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

// An archive as torch.save makes it, any part of which can be made wrong.
struct Archive {
  std::string object;
  std::map<std::string, std::string> storages{};
  std::string version = "3\n";
  std::string byte_order = "little";
  std::map<std::string, std::string> more{};
};

class TorchFiles : public testing::Test {
 protected:
  TorchFiles() {
    std::string pattern = (fs::temp_directory_path() / "torch_test.XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~TorchFiles() override { fs::remove_all(directory_); }

  fs::path write(const Archive& archive) {
    const fs::path path = directory_ / ("in" + std::to_string(files_++) + ".pt");
    File file = File::create(path);
    ZipWriter zip(file, "in");
    zip.add("data.pkl", bytes_of("\x80\2" + archive.object + "."));
    if (!archive.byte_order.empty()) zip.add("byteorder", bytes_of(archive.byte_order));
    for (const auto& [key, data] : archive.storages) zip.add("data/" + key, bytes_of(data));
    for (const auto& [name, data] : archive.more) zip.add(name, bytes_of(data));
    if (!archive.version.empty()) zip.add("version", bytes_of(archive.version));
    zip.finish();
    return path;
  }
  fs::path write_raw(const std::string& content) {
    const fs::path path = directory_ / ("raw" + std::to_string(files_++));
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  ImportedFile import(const Archive& archive) { return ImportedFile::open(write(archive)); }

  Error failure(const fs::path& path) {
    try {
      ImportedFile::open(path);
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "was read";
    return Error(ErrorKind::io, {});
  }
  ErrorKind failure_kind(const Archive& archive) { return failure(write(archive)).kind(); }

  Snapshot commit(const Draft& draft) {
    Store store = Store::init(directory_ / ("store" + std::to_string(files_++)), {.durability = Durability::relaxed});
    store.commit(draft);
    return store.snapshot();
  }
  // Imports what was exported.
  ImportedFile exported(const Snapshot& snapshot, const ExportOptions& options = {.sync = false}) {
    out_ = directory_ / ("out" + std::to_string(files_++) + ".pt");
    export_torch(snapshot, out_, options);
    return ImportedFile::open(out_);
  }
  ImportedFile round_trip(const Archive& archive) {
    const ImportedFile imported = import(archive);
    return exported(commit(imported.draft()));
  }
  std::string record(const fs::path& path, const std::string& name) {
    const auto zip = ZipReader::open(std::make_shared<const File>(File::open(path)));
    const ZipEntry* entry = zip.find(name);
    if (entry == nullptr) return "(none)";
    const auto bytes = zip.read(*entry, 1 << 20);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  fs::path directory_;
  fs::path out_;
  int files_ = 0;
};

std::string contents(const Draft& draft, std::uint32_t slot, std::uint64_t offset = 0,
                     std::uint64_t size = UINT64_MAX) {
  std::string out(std::min(size, draft.slots[slot].nbytes - offset), '\0');
  draft.slots[slot].source.read(offset, std::as_writable_bytes(std::span(out)));
  return out;
}

std::vector<std::string> names(const Draft& draft) {
  std::vector<std::string> out;
  for (const TensorDraft& row : draft.tensors) out.push_back(row.name);
  return out;
}

const std::string four_floats = data_of<float>({1, 2, 3, 4});
const Geometry all_four{0, {4}, {1}};

TEST_F(TorchFiles, GiveEveryTensorARow) {
  const Archive archive{"}(" + text("w") + tensor(floats("0", 4), {1, {3}, {1}}) + text("b") +
                            parameter(tensor(floats("1", 4), {0, {2, 2}, {1, 2}})) + "u",
                        {{"0", four_floats}, {"1", data_of<float>({5, 6, 7, 8})}}};
  const ImportedFile file = import(archive);
  const Draft& draft = file.draft();
  EXPECT_THAT(names(draft), ElementsAre("w", "b"));
  EXPECT_EQ(draft.tensors[0].dtype, DType::float32);
  EXPECT_EQ(draft.tensors[0].storage_offset_bytes, 4u);
  EXPECT_EQ(draft.tensors[1].kind, TensorKind::parameter);
  EXPECT_TRUE(draft.tensors[1].requires_grad);
  EXPECT_THAT(draft.tensors[1].stride, ElementsAre(1, 2));
  EXPECT_EQ(draft.slots[0].storage_dtype, DType::float32);
  EXPECT_EQ(contents(draft, 0), four_floats);
}

TEST_F(TorchFiles, KeepViewsOfOneStorageInOneSlot) {
  const Archive archive{"](" + tensor(floats("0", 4), all_four) + tensor(floats("0", 4), {1, {2}, {2}}) + "e",
                        {{"0", four_floats}}};
  const ImportedFile file = round_trip(archive);
  ASSERT_EQ(file.draft().slots.size(), 1u);
  EXPECT_EQ(file.draft().tensors[1].storage_offset_bytes, 4u);
  EXPECT_FALSE(file.draft().tensors[1].object.has_value());
}

TEST_F(TorchFiles, KeepOneObjectAtTwoPlacesOneObject) {
  const Archive archive{"](" + tensor(floats("0", 4), all_four) + "q\1h\1e", {{"0", four_floats}}};
  const ImportedFile file = round_trip(archive);
  EXPECT_THAT(names(file.draft()), ElementsAre("0", "1"));
  EXPECT_EQ(file.draft().tensors[1].object, 0u);
}

TEST_F(TorchFiles, KeepEqualButSeparateTensorsApart) {
  const Archive archive{"](" + tensor(floats("0", 4), all_four) + tensor(floats("1", 4), all_four) + "e",
                        {{"0", four_floats}, {"1", four_floats}}};
  EXPECT_EQ(round_trip(archive).draft().slots.size(), 2u);
}

TEST_F(TorchFiles, AreWrittenInTheLayoutOfTorch) {
  round_trip({"](" + tensor(floats("x", 4), all_four) + "e", {{"x", four_floats}}});
  const std::string top = out_.stem().string();
  EXPECT_EQ(record(out_, top + "/version"), "3\n");
  EXPECT_EQ(record(out_, top + "/byteorder"), "little");
  EXPECT_EQ(record(out_, top + "/.format_version"), "1");
  EXPECT_EQ(record(out_, top + "/.storage_alignment"), "64");
  EXPECT_EQ(record(out_, top + "/data/0"), four_floats);
  EXPECT_EQ(record(out_, top + "/.data/serialization_id").size(), 40u);
}

TEST_F(TorchFiles, AreAFixedPointOfImportAndExport) {
  const Archive archive{"}(" + text("a") + tensor(floats("0", 4), all_four) + "q\1" + text("b") + "h\1" + text("c") +
                            "](K\1\x88NG" + "\x40\4\0\0\0\0\0\0"s + text("s") + "e" + text("bare") + floats("0", 4) +
                            "u",
                        {{"0", four_floats}}};
  round_trip(archive);
  const std::string once = record(out_, out_.stem().string() + "/data.pkl");
  exported(commit(ImportedFile::open(out_).draft()));
  EXPECT_EQ(record(out_, out_.stem().string() + "/data.pkl"), once);
}

TEST_F(TorchFiles, KeepTypesThatHaveNoTypedStorage) {
  const Archive archive{tensor_v3(storage("torch.storage\nUntypedStorage", "0", 4), {1, {3}, {1}}, "float8_e5m2"),
                        {{"0", "abcd"}}};
  const ImportedFile file = round_trip(archive);
  EXPECT_EQ(file.draft().tensors[0].dtype, DType::float8_e5m2);
  EXPECT_EQ(file.draft().slots[0].storage_dtype, DType::invalid);
  EXPECT_THAT(names(file.draft()), ElementsAre("."));
}

TEST_F(TorchFiles, ShareAStorageBetweenTypes) {
  const std::string both =
      "](" + tensor(floats("0", 4), all_four) + tensor(storage("torch\nIntStorage", "0", 4), all_four) + "e";
  const ImportedFile file = round_trip({both, {{"0", four_floats}}});
  ASSERT_EQ(file.draft().slots.size(), 1u);
  EXPECT_EQ(file.draft().tensors[0].dtype, DType::float32);
  EXPECT_EQ(file.draft().tensors[1].dtype, DType::int32);
}

TEST_F(TorchFiles, KeepAttributesClassesAndFlags) {
  const std::string base = "ctorch._utils\n_rebuild_tensor_v2\ncm\nSub\n(" +
                           view_arguments(storage("torch\nComplexFloatStorage", "0", 2), {0, {2}, {1}}) + "}" +
                           text("conj") + "\x88st";
  const std::string attributes = "}" + text("t") + tensor(floats("1", 4), all_four) + "s";
  const Archive archive{"ctorch._tensor\n_rebuild_from_type_v2\n(" + base + attributes + "tR",
                        {{"0", four_floats}, {"1", four_floats}}};
  const ImportedFile file = round_trip(archive);
  EXPECT_THAT(names(file.draft()), ElementsAre(".", "t"));
  EXPECT_EQ(file.draft().tensors[0].wrapper, "m.Sub");
  EXPECT_TRUE(file.draft().tensors[0].is_conj);
}

TEST_F(TorchFiles, KeepTensorsThatHaveNoBytes) {
  const ImportedFile file = round_trip({"ctorch._utils\n_rebuild_meta_tensor_no_storage\n(ctorch\nfloat32\n" +
                                        tuple({2, 3}) + tuple({3, 1}) + "\x89tR"});
  EXPECT_EQ(file.draft().tensors[0].slot, no_slot);
  EXPECT_THAT(file.draft().tensors[0].shape, ElementsAre(2, 3));
}

TEST_F(TorchFiles, LeaveUnknownObjectsAsTheyAre) {
  const Archive archive{"}" + text("q") + "cm\nrebuild\n" + storage("torch\nQInt8Storage", "0", 4) +
                            tensor(floats("1", 4), all_four) + "\x86Rs",
                        {{"0", "abcd"}, {"1", four_floats}}};
  const ImportedFile file = round_trip(archive);
  EXPECT_THAT(names(file.draft()), ElementsAre("q/<args>/0", "q/<args>/1"));
  EXPECT_EQ(file.draft().slots[0].storage_dtype, DType::qint8);
}

TEST_F(TorchFiles, ExportASubtreeWithoutItsPrefix) {
  const std::string layers =
      "}(" + text("l.1.w") + tensor(floats("0", 4), all_four) + text("l.10.w") + tensor(floats("1", 4), all_four) + "u";
  const ImportedFile imported =
      import({"}(" + text("m") + layers + text("e") + "K\1u", {{"0", four_floats}, {"1", four_floats}}});
  const Snapshot snapshot = commit(imported.draft());
  EXPECT_THAT(names(exported(snapshot, {.prefix = "m", .sync = false}).draft()), ElementsAre("l.1.w", "l.10.w"));
  EXPECT_THAT(names(exported(snapshot, {.prefix = "m/l.1", .sync = false}).draft()), ElementsAre("w"));
  EXPECT_THAT(names(exported(snapshot, {.prefix = "m/l.1.w", .sync = false}).draft()), ElementsAre("."));
  EXPECT_THROW(exported(snapshot, {.prefix = "m/x", .sync = false}), Error);
}

TEST_F(TorchFiles, ExportAPlainMapping) {
  Draft draft;
  draft.slots.push_back({.nbytes = 16, .source = {.memory = bytes_of(four_floats)}});
  draft.tensors.push_back({.name = "a.b", .dtype = DType::float32, .slot = 0, .shape = {4}, .stride = {1}});
  draft.tensors.push_back({.name = "\"7\"", .dtype = DType::float32, .slot = 0, .shape = {2}, .stride = {1}});
  const ImportedFile file = exported(commit(draft));
  EXPECT_THAT(names(file.draft()), ElementsAre("a.b", "\"7\""));
  EXPECT_EQ(file.draft().slots[0].storage_dtype, DType::float32);
}

TEST_F(TorchFiles, LeaveNothingBehindWhenExportFails) {
  const ImportedFile imported = import({tensor(floats("0", 4), all_four), {{"0", four_floats}}});
  const Snapshot snapshot = commit(imported.draft());
  fs::create_directories(directory_ / "taken.pt" / "x");
  EXPECT_THROW(export_torch(snapshot, directory_ / "taken.pt"), Error);
  for (const auto& entry : fs::directory_iterator(directory_))
    EXPECT_NE(entry.path().extension(), ".tmp") << entry.path();
}

TEST_F(TorchFiles, SwapTheBytesOfBigEndianFiles) {
  const Archive archive{"](" + tensor(storage("torch\nShortStorage", "0", 3), {0, {3}, {1}}) +
                            tensor(storage("torch\nComplexFloatStorage", "1", 1), {0, {1}, {1}}) + "e",
                        {{"0", "\1\2\3\4\5\6"}, {"1", "abcdefgh"}},
                        "3\n",
                        "big"};
  const ImportedFile file = import(archive);
  EXPECT_EQ(contents(file.draft(), 0), "\2\1\4\3\6\5");
  EXPECT_EQ(contents(file.draft(), 0, 1, 3), "\1\4\3");
  EXPECT_EQ(contents(file.draft(), 1), "dcbahgfe");
}

TEST_F(TorchFiles, RefuseUntypedStoragesOfBigEndianFiles) {
  const Archive archive{tensor_v3(storage("torch.storage\nUntypedStorage", "0", 4), {0, {2}, {1}}, "uint16"),
                        {{"0", "abcd"}},
                        "3\n",
                        "big"};
  EXPECT_EQ(failure_kind(archive), ErrorKind::unsupported);
}

TEST_F(TorchFiles, AreReadWithoutByteOrderAsLittleEndian) {
  const ImportedFile file = import({tensor(floats("0", 4), all_four), {{"0", four_floats}}, "3\n", ""});
  EXPECT_EQ(contents(file.draft(), 0), four_floats);
}

TEST_F(TorchFiles, RefuseADamagedPayloadWhenItIsRead) {
  const fs::path path = write({tensor(floats("0", 4), all_four), {{"0", four_floats}}});
  const auto zip = ZipReader::open(std::make_shared<const File>(File::open(path)));
  std::fstream(path, std::ios::in | std::ios::out | std::ios::binary)
      .seekp(static_cast<std::streamoff>(zip.find("in/data/0")->data_offset))
      .put('!');
  const ImportedFile file = ImportedFile::open(path);
  contents(file.draft(), 0, 8, 8);
  EXPECT_THROW(contents(file.draft(), 0, 0, 8), Error);
}

TEST_F(TorchFiles, ThatContradictThemselvesAreCorrupt) {
  const auto with = [](const std::string& object) { return Archive{object, {{"0", four_floats}}}; };
  const std::int64_t huge = std::int64_t{1} << 62;
  const std::vector<std::pair<const char*, std::string>> objects{
      {"one element past the end", tensor(floats("0", 4), {1, {4}, {1}})},
      {"stride past the end", tensor(floats("0", 4), {0, {2}, {4}})},
      {"negative size", tensor(floats("0", 4), {0, {-1}, {1}})},
      {"negative stride", tensor(floats("0", 4), {0, {2}, {-1}})},
      {"negative offset", tensor(floats("0", 4), {-1, {1}, {1}})},
      {"numel overflows", tensor(floats("0", 4), {0, {huge, 4}, {0, 0}})},
      {"reach overflows", tensor(floats("0", 4), {0, {3}, {huge}})},
      {"rank differs", tensor(floats("0", 4), {0, {2, 2}, {1}})},
      {"numel times size wraps", tensor(floats("0", 0x4000000000000001), {0, {1}, {1}})},
      {"record too short", tensor(floats("0", 5), {0, {1}, {1}})},
      {"record too long", tensor(floats("0", 3), {0, {1}, {1}})},
      {"second use with other length",
       "](" + tensor(floats("0", 4), all_four) + tensor(floats("0", 3), {0, {1}, {1}}) + "e"},
      {"missing record", tensor(floats("9", 4), all_four)},
      {"negative numel", floats("0", -1)},
      {"numel is no integer", "(" + text("storage") + "ctorch\nFloatStorage\n" + text("0") + text("cpu") + "NtQ"},
      {"shape is no tuple", "ctorch._utils\n_rebuild_tensor\n(" + floats("0", 4) + "K\0NNtR"s},
      {"data after the pickle", tensor(floats("0", 4), all_four) + ".N"},
      {"set item of a tuple", ")NNs"},
  };
  for (const auto& [what, object] : objects) EXPECT_EQ(failure_kind(with(object)), ErrorKind::corrupt) << what;
}

TEST_F(TorchFiles, BeyondWhatWeKnowAreRefusedByName) {
  EXPECT_EQ(failure_kind({"N", {}, "11\n"}), ErrorKind::unsupported);
  EXPECT_EQ(failure_kind({"N", {}, "x"}), ErrorKind::corrupt);
  EXPECT_EQ(failure_kind({"N", {}, ""}), ErrorKind::corrupt);
  EXPECT_EQ(failure_kind({"N", {}, "3\n", "middle"}), ErrorKind::corrupt);
  EXPECT_EQ(failure_kind({"K\7Q"}), ErrorKind::unsupported);
  EXPECT_EQ(failure_kind({storage("torch\nFancyStorage", "0", 4)}), ErrorKind::unsupported);
  EXPECT_EQ(failure_kind({"ctenon.structure\ntensor\n)R"}), ErrorKind::unsupported);
}

TEST_F(TorchFiles, AcceptWhatIsOddButLegal) {
  const auto import_one = [&](const Geometry& view) {
    return import({tensor(floats("0", 4), view), {{"0", four_floats}}});
  };
  EXPECT_NO_THROW(import_one({3, {1}, {1}}));
  EXPECT_NO_THROW(import_one({0, {}, {}}));
  EXPECT_NO_THROW(import_one({0, {std::int64_t{1} << 40, 4}, {0, 1}}));
  EXPECT_NO_THROW(import_one({0, {0, 1 << 20}, {1 << 20, 1}}));
  EXPECT_NO_THROW(import({tensor(floats("0", 0), {0, {0}, {1}}), {}}));
}

TEST_F(TorchFiles, OfOldTorchHoldInstancesThatAreGivenTheirState) {
  const std::string state = "(" + floats("0", 4) + number(1) + tuple({3}) + tuple({1}) + "t";
  const std::string built = "ctorch\nFloatTensor\n)\x81" + state + "b";
  const std::string parameter = "ctorch.nn.parameter\nParameter\n" + tensor(floats("0", 4), all_four) + "\x85R";
  const ImportedFile file =
      import({"(" + built + parameter + parameter + "(\x89\x89NtbctorchX\nFloatTensor\n)\x81t", {{"0", four_floats}}});
  const auto& rows = file.draft().tensors;
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].storage_offset_bytes, 4u);
  EXPECT_EQ(rows[1].kind, TensorKind::parameter);
  EXPECT_TRUE(rows[1].requires_grad);
  EXPECT_FALSE(rows[2].requires_grad);
  EXPECT_NO_THROW(import({"ctorch\nFloatTensor\n)\x81", {}}));  // empty, and no tensor that a row could be
}

TEST_F(TorchFiles, OfOtherKindsAreNamed) {
  const auto what = [&](const fs::path& path) {
    const Error error = failure(path);
    EXPECT_EQ(error.kind(), ErrorKind::unsupported) << error.what();
    return std::string(error.what());
  };
  EXPECT_THAT(what(write({"N", {}, "3\n", "little", {{".data/extern_modules", ""}}})), HasSubstr("torch.package"));
  EXPECT_THAT(what(write_raw("\x24\0\0\0PTMF\0\0\0\0"s)), HasSubstr("flatbuffer"));
  EXPECT_THAT(what(write_raw("\x80\2cos\nsystem\nU\2id\x85R.")), HasSubstr("os.system"));
  EXPECT_THAT(what(write_raw("(lp0\nVa\np1\na.")), HasSubstr("pickle"));
}

TEST_F(TorchFiles, OfNoKindAreCorrupt) {
  for (const std::string& content :
       {""s, "abc"s, "\x89PNG\r\n\x1a\n"s, "PK\3\4"s, "\x80\2"s, "\xff\0\0\0\0\0\0\0{}"s}) {
    EXPECT_EQ(failure(write_raw(content)).kind(), ErrorKind::corrupt) << content;
  }
  EXPECT_EQ(failure(directory_ / "absent").kind(), ErrorKind::not_found);
}

TEST_F(TorchFiles, CutAnywhereGiveATypedError) {
  const fs::path path = write({tensor(floats("0", 4), all_four), {{"0", four_floats}}});
  std::ifstream in(path, std::ios::binary);
  const std::string whole{std::istreambuf_iterator<char>(in), {}};
  for (std::size_t length = 0; length < whole.size(); length += 7) {
    EXPECT_THROW(ImportedFile::open(write_raw(whole.substr(0, length))), Error) << length;
  }
}

TEST_F(TorchFiles, DescribeTheirStructure) {
  const ImportedFile imported =
      import({"}" + text("w") + tensor(floats("0", 4), {0, {2, 2}, {2, 1}}) + "s", {{"0", four_floats}}});
  EXPECT_EQ(describe_structure(commit(imported.draft())), "dict of 1\n  'w': float32 [2, 2]\n");
}

TEST(CombineCrc, EqualsTheCrcOfTheWhole) {
  const std::string whole = "the quick brown fox";
  for (std::size_t cut = 0; cut <= whole.size(); ++cut) {
    const std::uint32_t a = zip_crc32(0, bytes_of(whole).first(cut));
    const std::uint32_t b = zip_crc32(0, bytes_of(whole).subspan(cut));
    EXPECT_EQ(combine_crc32(a, b, whole.size() - cut), zip_crc32(0, bytes_of(whole)));
  }
}

TEST(CrcTrackerTest, JudgesOnceEveryByteWasSeen) {
  const std::string data = "0123456789";
  const std::uint32_t crc = zip_crc32(0, bytes_of(data));
  const auto add = [&](CrcTracker& tracker, std::size_t from, std::size_t size, std::uint32_t wanted) {
    return tracker.add_and_mismatches(from, bytes_of(data).subspan(from, size), wanted);
  };
  CrcTracker good(data.size());
  CrcTracker bad(data.size());
  for (const auto& [from, size] : {std::pair{4, 2}, {8, 2}, {3, 4}, {0, 1}, {0, 10}}) {
    const bool is_last = size == 10;
    EXPECT_FALSE(add(good, static_cast<std::size_t>(from), static_cast<std::size_t>(size), crc));
    EXPECT_EQ(add(bad, static_cast<std::size_t>(from), static_cast<std::size_t>(size), crc ^ 1), is_last);
  }
}

}  // namespace
}  // namespace tenon
