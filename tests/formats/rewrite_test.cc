#include "tenon/rewrite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "formats/structure.h"
#include "tenon/error.h"

namespace tenon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// {"model": {"a": tensor 0, "b": tensor 1}, "list": [tensor 2], "tied": tensor 3, which is the object of row 1}
class RewriteTest : public ::testing::Test {
 protected:
  RewriteTest() {
    PickleGraph graph;
    const auto tensor = [&](std::int64_t row) { return graph.add_persistent(graph.add_integer(row)); };
    const NodeId b = tensor(1);
    const NodeId model = graph.add_container(PickleKind::dict);
    graph.mutable_items(model) = {graph.add_string("a"), tensor(0), graph.add_string("b"), b};
    const NodeId list = graph.add_container(PickleKind::list);
    graph.mutable_items(list) = {tensor(2)};
    graph.root = graph.add_container(PickleKind::dict);
    graph.mutable_items(graph.root) = {graph.add_string("model"), model, graph.add_string("list"), list,
                                       graph.add_string("tied"),  b};
    draft_.structure = encode_structure(graph);
    for (const char* name : {"model/a", "model/b", "list/0", "tied"}) {
      const auto row = static_cast<std::uint32_t>(draft_.tensors.size());
      draft_.tensors.push_back(
          {.name = name, .dtype = DType::uint8, .slot = row < 3 ? row : 1, .shape = {1}, .stride = {1}});
    }
    draft_.tensors[3].object = 1;
    draft_.tensors[2].param = "model/a";
    for (const std::byte& byte : bytes_) draft_.slots.push_back({.nbytes = 1, .source = {.memory = {&byte, 1}}});
  }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const TensorDraft& tensor : draft_.tensors) names.push_back(tensor.name);
    return names;
  }

  // "name=row" of each place in the structure.
  std::vector<std::string> places() const {
    const PickleGraph graph = decode_structure(draft_.structure, static_cast<std::uint32_t>(draft_.tensors.size()),
                                               [](std::uint32_t row) { return row; });
    std::vector<std::string> places;
    walk_structure(graph, [&](NodeId node, const std::string& name) {
      const auto row = structure_row(graph, node);
      if (!row) return node;
      places.push_back(name + "=" + std::to_string(row->row));
      return no_node;
    });
    return places;
  }

  std::vector<unsigned> slot_bytes() const {
    std::vector<unsigned> values;
    for (const TensorDraft& tensor : draft_.tensors) {
      values.push_back(std::to_integer<unsigned>(draft_.slots[tensor.slot].source.memory[0]));
    }
    return values;
  }

  const std::vector<std::byte> bytes_{std::byte{10}, std::byte{11}, std::byte{12}};
  Draft draft_;
};

TEST_F(RewriteTest, ADroppedTensorIsOutOfRowsStructureAndSlots) {
  EXPECT_EQ(drop_tensors(draft_, "model/a"), 1u);
  EXPECT_THAT(names(), ElementsAre("model/b", "list/0", "tied"));
  EXPECT_THAT(places(), ElementsAre("model/b=0", "list/0=1", "tied=0"));
  EXPECT_EQ(draft_.slots.size(), 2u);
  EXPECT_THAT(slot_bytes(), ElementsAre(11, 12, 11));
  EXPECT_EQ(draft_.tensors[2].object, 0u);
}

TEST_F(RewriteTest, OfATensorAtTwoPlacesTheOtherStays) {
  EXPECT_EQ(drop_tensors(draft_, "model/b"), 1u);
  EXPECT_THAT(names(), ElementsAre("model/a", "list/0", "tied"));
  EXPECT_THAT(places(), ElementsAre("model/a=0", "list/0=1", "tied=2"));
  EXPECT_THAT(slot_bytes(), ElementsAre(10, 12, 11));
  EXPECT_EQ(draft_.tensors[2].object, std::nullopt);
}

TEST_F(RewriteTest, ASubtreeGoesAsAWhole) {
  EXPECT_EQ(drop_tensors(draft_, "model"), 2u);
  EXPECT_THAT(names(), ElementsAre("list/0", "tied"));
  EXPECT_THAT(places(), ElementsAre("list/0=0", "tied=1"));
}

TEST_F(RewriteTest, WhatIsNotThereIsNoError) {
  EXPECT_EQ(drop_tensors(draft_, "mod"), 0u);
  EXPECT_EQ(rename_tensors(draft_, "mod", "x"), 0u);
  EXPECT_EQ(names().size(), 4u);
}

TEST_F(RewriteTest, ItemsOfListsStay) {
  try {
    drop_tensors(draft_, "list/0");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
    EXPECT_THAT(error.what(), HasSubstr("stands in no dict"));
  }
}

TEST_F(RewriteTest, ARenamedTensorIsRenamedEverywhere) {
  EXPECT_EQ(rename_tensors(draft_, "model/a", "model/first"), 1u);
  EXPECT_THAT(names(), ElementsAre("model/first", "model/b", "list/0", "tied"));
  EXPECT_THAT(places(), ElementsAre("model/first=0", "model/b=1", "list/0=2", "tied=1"));
  EXPECT_EQ(draft_.tensors[2].param, "model/first");
}

TEST_F(RewriteTest, ASubtreeIsRenamedByItsKey) {
  EXPECT_EQ(rename_tensors(draft_, "model", "net"), 2u);
  EXPECT_THAT(places(), ElementsAre("net/a=0", "net/b=1", "list/0=2", "tied=1"));
}

TEST_F(RewriteTest, OnlyTheLastKeyCanBeAnother) {
  for (const char* name : {"other/a", "a", "model/x/a"}) {
    try {
      rename_tensors(draft_, "model/a", name);
      FAIL() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::unsupported) << name;
    }
  }
  try {
    rename_tensors(draft_, "model/a", "model/b");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::conflict);
  }
}

TEST_F(RewriteTest, WithoutAStructureAnyNameWillDo) {
  draft_.structure.clear();
  EXPECT_EQ(rename_tensors(draft_, "model/a", "elsewhere/x"), 1u);
  EXPECT_EQ(drop_tensors(draft_, "list/0"), 1u);
  EXPECT_THAT(names(), ElementsAre("elsewhere/x", "model/b", "tied"));
}

}  // namespace
}  // namespace tenon
