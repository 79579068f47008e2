#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "formats/torchscript_v1_model.h"
#include "formats/zip_writer.h"
#include "tests/formats/file_fixture.h"

namespace tenon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

V1Model model_of(std::string_view json) { return read_v1_model(std::as_bytes(std::span(json)), "m.pt(m/model.json)"); }

class TorchScriptV1 : public FileFixture {
 protected:
  std::filesystem::path write_archive(const std::string& json, const std::map<std::string, std::string>& more) {
    const std::filesystem::path path = write("");
    File file = File::create(path.string() + ".pt");
    ZipWriter zip(file, "m");
    for (const auto& [name, data] : more) zip.add(name, std::as_bytes(std::span(data)));
    zip.add("model.json", std::as_bytes(std::span(json)));
    zip.add("version", std::as_bytes(std::span(std::string_view("1\n"))));
    zip.finish();
    return path.string() + ".pt";
  }
};

TEST_F(TorchScriptV1, RecordsThatAreNoStorageOfARowAreAttachments) {
  const std::string json = R"({"protoVersion":"5","mainModule":{"parameters":[{"tensorId":"0","name":"w"}]},
    "tensors":[{"dims":["2"],"strides":["1"],"offset":"0","dataType":"FLOAT","data":{"key":"tensors/0"},
                "device":"cpu"}]})";
  const auto path = write_archive(json, {{"tensors/0", data_of<float>({1, 2})},
                                         {"tensors/1", "nobody's"},
                                         {"attributes.pkl", "\x80\x02)."},
                                         {"code/m.py", "op_version_set = 1\n"}});
  const ImportedFile imported = ImportedFile::open(path);
  EXPECT_EQ(imported.format(), FileFormat::torchscript);
  const Draft& draft = imported.draft();
  EXPECT_THAT(names(draft), ElementsAre("w"));
  EXPECT_EQ(draft.tensors[0].kind, TensorKind::parameter);
  EXPECT_EQ(contents(draft), data_of<float>({1, 2}));
  std::vector<std::string> attached;
  for (const AttachmentDraft& one : draft.attachments) attached.push_back(one.name);
  EXPECT_THAT(attached, UnorderedElementsAre("tensors/1", "attributes.pkl", "code/m.py", "model.json", "version"));
}

TEST_F(TorchScriptV1, AnArchiveWithConstantsIsOneOfLaterVersions) {
  const auto path = write_archive("no JSON", {{"data.pkl", "\x80\x02N."}, {"constants.pkl", "\x80\x02)."}});
  EXPECT_THAT(names(ImportedFile::open(path).draft()), ElementsAre());
}

TEST(V1Model, UnknownFieldsMeanNothingWhateverTheyHold) {
  const V1Model model = model_of(
      R"({"future":{"a":[[{"name":1}],2.5,null]},"mainModule":{"name":"M","optimize":true,"caffe2Nets":[{"name":[1]}],
          "torchscriptArena":{"key":1}},"protoVersion":3})");
  EXPECT_EQ(model.version, 3);
  ASSERT_EQ(model.modules.size(), 1u);
  EXPECT_EQ(model.modules[0].name, "M");
}

TEST(V1Model, NullIsAsIfTheFieldWereNotThere) {
  const V1Model model = model_of(R"({"mainModule":{"name":null,"submodules":null},"tensors":null,"protoVersion":"4"})");
  EXPECT_EQ(model.modules[0].name, "");
  EXPECT_TRUE(model.tensors.empty());
}

TEST(V1Model, ModulesKnowTheirOwn) {
  const V1Model model = model_of(
      R"({"mainModule":{"submodules":[{"name":"a","submodules":[{"name":"b","attributes":[{"name":"x","id":"2"}]}],
          "parameters":[{"name":"p","tensorId":"0"}]},{"name":"c"}]}})");
  ASSERT_EQ(model.modules.size(), 4u);
  EXPECT_THAT(model.modules[0].submodules, ElementsAre(1, 3));
  EXPECT_THAT(model.modules[1].submodules, ElementsAre(2));
  EXPECT_EQ(model.modules[1].parameters.at(0).name, "p");
  EXPECT_EQ(model.modules[2].attributes.at(0).value, 2);
  EXPECT_EQ(model.modules[3].name, "c");
}

TEST(V1Model, AFlawIsNamedWithItsPlace) {
  const std::string json = R"({"mainModule":{"name":true}})";
  try {
    model_of(json);
    FAIL() << "was read";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::corrupt);
    EXPECT_THAT(error.what(), HasSubstr("m.pt(m/model.json)"));
    EXPECT_THAT(error.what(), HasSubstr("true for name"));
    EXPECT_THAT(error.what(), HasSubstr("at offset 2"));
  }
}

}  // namespace
}  // namespace tenon
