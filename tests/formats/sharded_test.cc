#include <fmt/format.h>

#include <string>

#include "file_fixture.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

// Tensors of one byte each.
std::string shard_of(const std::vector<std::string>& keys, const std::string& metadata = {}) {
  std::string json = "{" + metadata;
  std::string data;
  for (const std::string& key : keys) {
    if (json.size() > 1) json += ',';
    json +=
        fmt::format(R"("{}":{{"dtype":"U8","shape":[1],"data_offsets":[{},{}]}})", key, data.size(), data.size() + 1);
    data += key.back();
  }
  json += "}";
  const std::uint64_t nbytes = json.size();
  return std::string(reinterpret_cast<const char*>(&nbytes), sizeof nbytes) + json + data;
}

class Sharded : public FileFixture {
 protected:
  Sharded() {
    write(shard_of({"layers.0", "layers.1"}, R"("__metadata__":{"format":"pt"})"), "m-1.safetensors");
    write(shard_of({"layers.2"}), "m-2.safetensors");
  }
  fs::path index(const std::string& json, const std::string& name = "m.safetensors.index.json") {
    return write(json, name);
  }
  void expect_index_refusal(const std::string& json, ErrorKind kind, const std::string& message) {
    const Error error = failure(index(json));
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(message));
  }
};

const std::string sound =
    R"({"metadata":{"total_size":3},"weight_map":{"layers.2":"m-2.safetensors","layers.0":"m-1.safetensors",)"
    R"("layers.1":"m-1.safetensors"}})";

TEST_F(Sharded, AreOneFlatDictInTheOrderOfTheIndexsFiles) {
  const ImportedFile file = ImportedFile::open(index(sound));
  EXPECT_EQ(file.format(), FileFormat::sharded);
  EXPECT_THAT(names(file.draft()), ElementsAre("layers.2", "layers.0", "layers.1"));
  EXPECT_EQ(contents(file.draft(), file.draft().tensors[2].slot), "1");
  EXPECT_EQ(describe_structure(commit(file.draft())),
            "dict of 3\n  'layers.2': uint8 [1]\n  'layers.0': uint8 [1]\n  'layers.1': uint8 [1]\n");
}

TEST_F(Sharded, KeepTheMetadataOfTheFirst) {
  EXPECT_EQ(ImportedFile::open(index(sound)).draft().meta, R"({"safetensors":{}})");
  const std::string other = R"({"weight_map":{"layers.0":"m-1.safetensors","layers.1":"m-1.safetensors"}})";
  EXPECT_EQ(ImportedFile::open(index(other)).draft().meta, R"({"safetensors":{"format":"pt"}})");
}

TEST_F(Sharded, AFolderStandsForTheOneIndexInIt) {
  EXPECT_EQ(failure(directory_).kind(), ErrorKind::not_found);
  index(sound);
  EXPECT_EQ(ImportedFile::open(directory_).draft().tensors.size(), 3u);
  index(sound, "m.bin.index.json");
  const Error error = failure(directory_);
  EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
  EXPECT_THAT(error.what(), HasSubstr("m.bin.index.json, m.safetensors.index.json"));
}

TEST_F(Sharded, AMissingShardIsNamed) {
  const fs::path path = index(sound);
  fs::remove(directory_ / "m-2.safetensors");
  const Error error = failure(path);
  EXPECT_EQ(error.kind(), ErrorKind::not_found);
  EXPECT_EQ(error.facts().file, (directory_ / "m-2.safetensors").string());
}

TEST_F(Sharded, TensorsAreWhereTheIndexHasThemAndNowhereElse) {
  expect_index_refusal(
      R"({"weight_map":{"layers.0":"m-2.safetensors","layers.2":"m-2.safetensors","layers.1":"m-1.safetensors"}})",
      ErrorKind::corrupt, "wanted it in m-2.safetensors");
  expect_index_refusal(R"({"weight_map":{"layers.0":"m-1.safetensors"}})", ErrorKind::corrupt, "got layers.1");
  expect_index_refusal(
      R"({"weight_map":{"layers.0":"m-1.safetensors","layers.1":"m-1.safetensors","layers.9":"m-1.safetensors"}})",
      ErrorKind::corrupt, "its shard lacks");
}

TEST_F(Sharded, AShardIsNoIndexInTurn) {
  expect_index_refusal(R"({"weight_map":{"a":"m.safetensors.index.json"}})", ErrorKind::unsupported, "index in turn");
}

TEST_F(Sharded, ADamagedShardIsNamed) {
  const fs::path path = index(sound);
  fs::resize_file(directory_ / "m-1.safetensors", 20);
  EXPECT_THAT(failure(path).what(), HasSubstr("m-1.safetensors"));
}

TEST_F(Sharded, ShardsThatAreNoFlatDictAreRefused) {
  const std::string literal = "{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }";
  write("\x93NUMPY\1" + std::string{'\0', static_cast<char>(literal.size()), '\0'} + literal + "x", "a.npy");
  expect_index_refusal(R"({"weight_map":{"a":"a.npy"}})", ErrorKind::unsupported, "no flat dict");
}

TEST_F(Sharded, NothingOutsideOfTheFolderIsOpened) {
  for (const std::string name : {"../m", "/etc/passwd", "a/b", "..", ".", "", "a\\\\b", "a\\u0000b"}) {
    expect_index_refusal(R"({"weight_map":{"a":")" + name + R"("}})", ErrorKind::unsupported, "not beside it");
  }
}

TEST_F(Sharded, OtherJsonIsNoIndex) {
  expect_index_refusal("{}", ErrorKind::unsupported, "no index");
  expect_index_refusal(R"({"a":{"weight_map":{"a":"b"}}})", ErrorKind::unsupported, "no index");
  expect_index_refusal(R"({"weight_map":[]})", ErrorKind::corrupt, "malformed weight_map");
  expect_index_refusal(R"({"weight_map":"a"})", ErrorKind::corrupt, "malformed weight_map");
  expect_index_refusal(R"({"weight_map":{"a":1}})", ErrorKind::corrupt, "malformed weight_map");
  expect_index_refusal(R"({"weight_map":{"a":{"b":"c"}}})", ErrorKind::corrupt, "malformed weight_map");
  expect_index_refusal(R"({"weight_map":{"a":"b","a":"b"}})", ErrorKind::corrupt, "twice");
  expect_index_refusal(R"({"weight_map":{},"weight_map":{}})", ErrorKind::corrupt, "twice");
  expect_index_refusal("{", ErrorKind::corrupt, "not valid JSON");
  expect_index_refusal("{\"a\":" + std::string(100'000, '['), ErrorKind::limit, "nested too deeply");
}

TEST_F(Sharded, AnIndexNamesNoMoreThanItsSizeAccountsFor) {
  std::string json = R"({"weight_map":{)";
  for (int i = 0; i < 400'000; ++i) json += fmt::format(R"("{}":"a",)", i);
  json.back() = '}';
  expect_index_refusal(json + "}", ErrorKind::limit, "more tensors than its size accounts for");
}

}  // namespace
}  // namespace tenon
