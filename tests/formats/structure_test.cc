#include "formats/structure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tenon/error.h"

namespace tenon {
namespace {

using std::string_literals::operator""s;
using testing::ElementsAre;
using testing::HasSubstr;

PickleGraph graph_of(const std::string& pickle) {
  return std::move(read_pickle(std::as_bytes(std::span(pickle))).graph);
}

// The names of all places that hold a row; K<n>Q stands for a tensor.
std::vector<std::string> names_in(const PickleGraph& graph) {
  std::vector<std::string> names;
  walk_structure(graph, [&](NodeId node, const std::string& name) {
    if (const auto row = structure_row(graph, node)) {
      names.push_back(name);
      return row->attributes;
    }
    return node;
  });
  return names;
}

std::vector<std::string> names_in(const std::string& pickle) { return names_in(graph_of(pickle)); }

TEST(StructureNames, FollowKeysAndIndexes) {
  EXPECT_THAT(names_in("K\0Q."s), ElementsAre(""));
  EXPECT_THAT(names_in("](K\0Q)K\1QK\2Q\x85"
                       "e."s),
              ElementsAre("0", "2", "3/0"));
  EXPECT_THAT(names_in("}(U\3a.bK\0QU\1a}U\1bK\1QsU\1"
                       "0K\2QK\0K\3Qu."s),
              ElementsAre("a.b", "a/b", "\"0\"", "0"));
}

TEST(StructureNames, SpellOtherKeysAsLiterals) {
  EXPECT_THAT(names_in("}(NK\0Q\x88K\1QG\x40\4\0\0\0\0\0\0K\2QK\1U\1a\x86K\3QC\1\xffK\4Qu."s),
              ElementsAre("<None>", "<True>", "<2.5>", "<(1, 'a')>", "<b'\\xff'>"));
}

TEST(StructureNames, ReachIntoObjects) {
  EXPECT_THAT(names_in("ccollections\nOrderedDict\n)R(U\1wK\0Qu}U\1mK\1Qsb."s), ElementsAre("w", "<state>/m"));
  EXPECT_THAT(names_in("cm\nC\n)\x81}U\1tK\0Qsb."s), ElementsAre("t"));
  EXPECT_THAT(names_in("cm\nf\nK\0Q\x85R."s), ElementsAre("<args>/0"));
  EXPECT_THAT(names_in("cm\nC\n)\x81(K\0Qe(K\0K\1Qu."s), ElementsAre("<item 0>", "0"));
}

TEST(StructureNames, OfKnownCallsAreThoseOfTheirParts) {
  const std::string layout = "ctorch.serialization\n_get_layout\nU\x0etorch.sparse_";
  const auto sparse = [&](const std::string& kind, const std::string& data) {
    std::string all = "ctorch._utils\n_rebuild_sparse_tensor\n(" + layout + kind + "\x85R(" + data + "ttR";
    all[all.find("U\x0e") + 1] = static_cast<char>(13 + kind.size());
    return all;
  };
  const std::string coo = sparse("coo", "K\0QK\1QK\7"s);
  EXPECT_THAT(names_in(coo + "."), ElementsAre("indices", "values"));
  EXPECT_THAT(names_in("}U\1w" + coo + "s."), ElementsAre("w.indices", "w.values"));
  EXPECT_THAT(names_in("}U\1w" + sparse("bsc", "K\0QK\1QK\2QK\7"s) + "s."),
              ElementsAre("w.ccol_indices", "w.row_indices", "w.values"));
  EXPECT_THAT(names_in("](ctorch._utils\n_rebuild_parameter\n(" + coo + "\x89NtRe."),
              ElementsAre("0.indices", "0.values"));
  EXPECT_THAT(names_in("ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_wrapper_subclass\ncm\nC\n"
                       "(cm\nC\nt}U\1aK\0QstR."s),
              ElementsAre("a"));
  EXPECT_THAT(names_in(sparse("new", "K\0QK\1QK\7"s) + "."), ElementsAre("<args>/1/0", "<args>/1/1"));
}

TEST(StructureNames, CoverTensorsThatAreKeys) {
  EXPECT_THAT(names_in("}(K\0QK\1Qu."s), ElementsAre("<key 0>", "<value 0>"));
}

TEST(StructureNames, GiveASharedContainerEveryPlace) {
  EXPECT_THAT(names_in("]q\0(}U\1wK\0Qsq\1h\1e."s), ElementsAre("0/w", "1/w"));
}

TEST(StructureNames, EndCycles) { EXPECT_THAT(names_in("]q\0(K\0Qh\0e."s), ElementsAre("0")); }

std::string doubled_often(std::string pickle) {
  for (int i = 0; i < 100; ++i) pickle += "q\1h\1\x86";
  return pickle + ".";
}

TEST(StructureNames, AreThereForEveryPlaceOfWhatIsShared) {
  EXPECT_THAT(names_in("K\0Q\x85q\1h\1h\1\x87."s), ElementsAre("0/0", "1/0", "2/0"));
}

TEST(StructureNames, AreRefusedWhereSharingMakesAbsurdlyMany) {
  try {
    names_in(doubled_often("K\0Q\x85"s));
    FAIL() << "was walked";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::limit);
  }
}

TEST(StructureNames, SharingOfWhatHoldsNoTensorCostsNothing) {
  EXPECT_THAT(names_in(doubled_often("K\0\x85"s)), ElementsAre());
}

TEST(StructureNames, OfCyclesAreNotLostWhereTheCycleIsEnteredElsewhere) {
  // root = [a, b], a = [b, tensor], b = [a]
  EXPECT_THAT(names_in("](]q\0(]q\1h\0aK\0Qeh\1e."s), ElementsAre("0/1", "1/0/1"));
}

TEST(StructureNames, RefuseAbsurdDepth) { EXPECT_THROW(names_in(")" + std::string(20'000, '\x85') + "."), Error); }

TEST(StructureFind, GivesTheNodeOfAName) {
  const PickleGraph graph = graph_of("}(U\1a}U\1bK\7QsU\1cK\1u."s);
  const auto node = find_in_structure(graph, "a/b");
  ASSERT_TRUE(node.has_value());
  EXPECT_EQ(structure_row(graph, *node)->row, 7u);
  EXPECT_EQ(graph.kind(find_in_structure(graph, "a").value()), PickleKind::dict);
  EXPECT_FALSE(find_in_structure(graph, "a/x").has_value());
}

TEST(StructureRows, SurviveEncodingWithClassAndAttributes) {
  PickleGraph graph;
  const NodeId plain = graph.add_container(PickleKind::list);
  const NodeId typed = graph.add_container(PickleKind::list);
  const NodeId storage = graph.add_container(PickleKind::list);
  graph.root = graph.add_tuple({plain, typed, storage});
  become_row(graph, plain, {.row = 0});
  become_row(graph, typed,
             {.row = 1, .type = graph.add_global("m", "Sub"), .attributes = graph.add_container(PickleKind::dict)});
  become_row(graph, storage, {.row = 2, .is_storage = true});

  const PickleGraph again = decode_structure(encode_structure(graph), 3, [](std::uint32_t row) { return row; });
  const auto items = again.items(again.root);
  EXPECT_EQ(structure_row(again, items[0])->row, 0u);
  const auto row = structure_row(again, items[1]);
  EXPECT_EQ(row->row, 1u);
  EXPECT_TRUE(again.is_global(row->type, "m", "Sub"));
  EXPECT_TRUE(again.is(row->attributes, PickleKind::dict));
  EXPECT_TRUE(structure_row(again, items[2])->is_storage);
}

TEST(StructureRows, KeepWhatAQuantizerHasForEachChannel) {
  PickleGraph graph = graph_of("}U\1w]s."s);
  const NodeId value = graph.items(graph.root)[1];
  const NodeId scales = graph.add_persistent(graph.add_integer(1));
  const NodeId points = graph.add_persistent(graph.add_integer(2));
  become_row(graph, value, {.row = 0, .scales = scales, .zero_points = points});
  const auto itself = [](std::uint32_t row) { return row; };
  const PickleGraph again = decode_structure(encode_structure(graph), 3, itself);
  const auto row = structure_row(again, again.items(again.root)[1]);
  ASSERT_TRUE(row);
  EXPECT_EQ(structure_row(again, row->scales)->row, 1u);
  EXPECT_EQ(structure_row(again, row->zero_points)->row, 2u);
  EXPECT_EQ(find_in_structure(again, "w.scales"), row->scales);
}

TEST(StructureRows, OfOneObjectBecomeOneNode) {
  const std::string pickle = "\x80\2](K\0QK\1QK\0Qe."s;
  const PickleGraph graph = decode_structure(std::as_bytes(std::span(pickle)), 2, [](std::uint32_t) { return 0u; });
  const auto items = graph.items(graph.root);
  EXPECT_EQ(items[0], items[1]);
  EXPECT_EQ(items[0], items[2]);
}

TEST(StructureRows, MustExist) {
  for (const std::string& pickle :
       {"K\2Q."s, "J\xff\xff\xff\xffQ."s, "U\1aQ."s, "ctenon.structure\ntensor\nK\0Q\x85R."s}) {
    const auto decode = [&] {
      const auto graph = decode_structure(std::as_bytes(std::span(pickle)), 2, [](std::uint32_t row) { return row; });
      structure_row(graph, graph.root);
    };
    EXPECT_THROW(decode(), Error);
  }
}

TEST(StructureText, IndentsAndShowsSharedContentOnce) {
  const PickleGraph graph = graph_of("}(U\1aq\1}q\2h\1K\0QsU\1bh\2U\1cK\3]\x86u."s);
  EXPECT_EQ(describe_graph(graph, [](std::uint32_t) { return "float32 [2]"s; }),
            "dict of 3\n"
            "  'a': dict of 1\n"
            "    'a': float32 [2]\n"
            "  'b': dict of 1 (as above)\n"
            "  'c': tuple of 2\n"
            "    3\n"
            "    []\n");
}

TEST(StructureText, EscapesAndShortens) {
  const PickleGraph graph = graph_of("}(X\5\0\0\0a\x1b[1mU\1xU\1yT\0\2\0\0"s + std::string(512, 'z') + "u.");
  const std::string text = describe_graph(graph, [](std::uint32_t) { return ""s; });
  EXPECT_THAT(text, HasSubstr("'a\\x1b[1m': 'x'"));
  EXPECT_THAT(text, HasSubstr("... (512 bytes)"));
}

TEST(StructureText, IsBoundedInDepth) {
  const PickleGraph graph = graph_of(")" + std::string(100'000, '\x85') + ".");
  EXPECT_LT(describe_graph(graph, [](std::uint32_t) { return ""s; }).size(), 100'000u);
}

}  // namespace
}  // namespace tenon
