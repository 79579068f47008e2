#include "formats/pickle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/error.h"

namespace tenon {
namespace {

using std::string_literals::operator""s;
using testing::ElementsAre;
using testing::HasSubstr;

PickleReadResult read(const std::string& pickle, const PickleReadOptions& options = {.file = "test.pkl"}) {
  return read_pickle(std::as_bytes(std::span(pickle)), options);
}

PickleGraph graph_of(const std::string& pickle) { return read(pickle).graph; }

ErrorKind failure_of(const std::string& pickle) {
  try {
    read(pickle);
  } catch (const Error& error) {
    return error.kind();
  }
  ADD_FAILURE() << "was read";
  return {};
}

std::string written(const PickleGraph& graph) {
  const auto bytes = write_pickle(graph, graph.root);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string rewritten(const std::string& pickle) { return written(graph_of(pickle)); }

std::int64_t integer_of(const std::string& pickle) {
  const PickleGraph graph = graph_of(pickle);
  EXPECT_EQ(graph.kind(graph.root), PickleKind::integer);
  return graph.integer(graph.root);
}

std::string text_of(const std::string& pickle, PickleKind kind) {
  const PickleGraph graph = graph_of(pickle);
  EXPECT_EQ(graph.kind(graph.root), kind);
  return std::string(graph.text(graph.root));
}

TEST(PickleReader, ReadsIntegersOfEveryWidth) {
  EXPECT_EQ(integer_of("K\xff."), 255);
  EXPECT_EQ(integer_of("M\xff\xff."), 65535);
  EXPECT_EQ(integer_of("J\xff\xff\xff\xff."), -1);
  EXPECT_EQ(integer_of("\x8a\x00."s), 0);
  EXPECT_EQ(integer_of("\x8a\x01\xff."), -1);
  EXPECT_EQ(integer_of("\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80."s), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(integer_of("\x8a\x09\xff\xff\xff\xff\xff\xff\xff\x7f\x00."s), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(integer_of("I-42\n."), -42);
  EXPECT_EQ(integer_of("L9223372036854775807L\n."), std::numeric_limits<std::int64_t>::max());
}

TEST(PickleReader, KeepsIntegersBeyondSixtyFourBits) {
  EXPECT_EQ(text_of("L18446744073709551616L\n.", PickleKind::big_integer), "\0\0\0\0\0\0\0\0\x01"s);
  EXPECT_EQ(text_of("L-9223372036854775809L\n.", PickleKind::big_integer), "\xff\xff\xff\xff\xff\xff\xff\x7f\xff"s);
}

TEST(PickleReader, ReadsFloatsAndBooleans) {
  const PickleGraph graph = graph_of(
      "(G\x40\x04\x00\x00\x00\x00\x00\x00"
      "F-1e400\nI01\n\x89t."s);
  const auto items = graph.items(graph.root);
  ASSERT_EQ(items.size(), 4u);
  EXPECT_EQ(graph.floating(items[0]), 2.5);
  EXPECT_EQ(graph.floating(items[1]), -std::numeric_limits<double>::infinity());
  EXPECT_TRUE(graph.boolean(items[2]));
  EXPECT_FALSE(graph.boolean(items[3]));
}

TEST(PickleReader, ReadsStringsOfEveryProtocol) {
  EXPECT_EQ(text_of("X\x02\x00\x00\x00\xc3\xa9."s, PickleKind::string), "é");
  EXPECT_EQ(text_of("\x8c\x01z.", PickleKind::string), "z");
  EXPECT_EQ(text_of("V\\u00e9\\U0001d11e\xe9\n.", PickleKind::string), "é𝄞é");
  EXPECT_EQ(text_of("S'a\\n\\x41\\101\\''\n.", PickleKind::string), "a\nAA'");
  EXPECT_EQ(text_of("U\x02\xff\xfe.", PickleKind::bytes), "\xff\xfe");
  EXPECT_EQ(text_of("C\x02\xff\x00."s, PickleKind::bytes), "\xff\0"s);
  EXPECT_EQ(text_of("\x96\x01\0\0\0\0\0\0\0q."s, PickleKind::bytearray), "q");
}

TEST(PickleReader, KnowsTheSpellingsOfOldProtocols) {
  EXPECT_EQ(text_of("c_codecs\nencode\n(X\x02\0\0\0\xc3\xbfX\x06\0\0\0latin1tR."s, PickleKind::bytes), "\xff");
  const PickleGraph set = graph_of(
      "c__builtin__\nset\n](K\x01K\x02"
      "e\x85R.");
  EXPECT_EQ(set.kind(set.root), PickleKind::set);
  EXPECT_EQ(set.items(set.root).size(), 2u);
}

TEST(PickleReader, SharesWhatTheMemoShares) {
  const PickleGraph graph = graph_of(
      "]q\x00(]q\x01h\x01h\x00"
      "e."s);
  const auto items = graph.items(graph.root);
  ASSERT_EQ(items.size(), 3u);
  EXPECT_EQ(items[0], items[1]);
  EXPECT_EQ(items[2], graph.root);
}

TEST(PickleReader, NamesGlobalsWithoutResolvingThem) {
  const PickleGraph graph = graph_of("cos\nsystem\nX\x04\0\0\0true\x85R."s);
  ASSERT_EQ(graph.kind(graph.root), PickleKind::object);
  EXPECT_TRUE(graph.is_global(graph.object(graph.root).callable, "os", "system"));
}

TEST(PickleReader, CollectsItemsAndStateOfAnObject) {
  const PickleGraph graph = graph_of(
      "cm\nC\n)\x81(K\x01"
      "e(K\x02K\x03u}b.");
  const PickleObject& object = graph.object(graph.root);
  EXPECT_TRUE(object.is_newobj);
  EXPECT_EQ(object.list_items.size(), 1u);
  EXPECT_EQ(object.dict_items.size(), 2u);
  EXPECT_NE(object.state, no_node);
}

TEST(PickleReader, ReadsProtocolFour) {
  const PickleGraph graph =
      graph_of("\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x01m\x94\x8c\x01n\x94\x93\x94)R\x94h\x02\x86."s);
  EXPECT_TRUE(graph.is_global(graph.items(graph.root)[1], "m", "n"));
}

TEST(PickleReader, TellsOfGlobalsAlsoBeforeAFlaw) {
  std::string told;
  const PickleReadOptions options{.on_global = [&](std::string_view module, std::string_view name) {
    told += std::string(module) + "." + std::string(name) + " ";
  }};
  EXPECT_THROW(read("cm\nA\n(im\nB\n\x8c\1m\x8c\1C\x93\xff.", options), Error);
  EXPECT_EQ(told, "m.A m.B m.C ");
}

TEST(PickleReader, FilledOrderedDictsOfPython2AreObjectsWithItems) {
  const PickleGraph graph = graph_of("ccollections\nOrderedDict\n](](U\1aK\1e](U\1bK\2ee\x85R.");
  ASSERT_EQ(graph.kind(graph.root), PickleKind::object);
  EXPECT_EQ(graph.object(graph.root).dict_items.size(), 4u);
  EXPECT_TRUE(graph.items(graph.object(graph.root).args).empty());
}

TEST(PickleWriter, NestedClassNamesAreWrittenAsProtocolFourHasThem) {
  const PickleGraph graph = graph_of("\x80\4\x8c\1m\x8c\3A.B\x93\x8c\1x\x86.");
  const auto bytes = write_pickle(graph, graph.root);
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  EXPECT_THAT(text, HasSubstr("\x80\4X\1\0\0\0mX\3\0\0\0A.B\x93\x80\2"s));
  const PickleGraph again = read_pickle(bytes).graph;
  EXPECT_TRUE(again.is_global(again.items(again.root)[0], "m", "A.B"));
}

TEST(PickleReader, ReportsHowMuchItConsumed) { EXPECT_EQ(read("N.rest").consumed_bytes, 2u); }

TEST(PickleReader, NamesFileAndOffset) {
  try {
    read("NN\xff.", {.file = "a.pt(a/data.pkl)", .base_offset = 100});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.facts().offset, 102u);
    EXPECT_THAT(error.what(), HasSubstr("a.pt(a/data.pkl)"));
    EXPECT_THAT(error.what(), HasSubstr("0xff"));
  }
}

struct Hostile {
  const char* name;
  std::string pickle;
  ErrorKind kind = ErrorKind::corrupt;
};

class HostilePickle : public testing::TestWithParam<Hostile> {};

TEST_P(HostilePickle, IsRefused) { EXPECT_EQ(failure_of(GetParam().pickle), GetParam().kind); }

const std::vector<Hostile> hostile_pickles{
    {"empty", ""},
    {"stop_on_empty_stack", "."},
    {"no_stop", "N"},
    {"pop_empty", "0."},
    {"pop_below_mark", "N(R."},
    {"duplicate_nothing", "2."},
    {"tuple_below_mark", "K\x01(\x85."},
    {"no_mark", "Nt."},
    {"append_to_dict", "}Na."},
    {"append_to_tuple", ")Na."},
    {"appends_to_none", "N(Ne."},
    {"set_item_of_list", "]NNs."},
    {"set_items_of_tuple", ")(NNu."},
    {"key_without_value", "}(Nu."},
    {"add_to_list", "](N\x90."},
    {"build_on_dict", "}}b."},
    {"reduce_without_tuple", "cm\nn\n]R."},
    {"memo_never_set", "h\x05."},
    {"text_memo_malformed", "Ngx\n."},
    {"string_longer_than_file",
     "X\xff\xff\xff\xff"
     "a."},
    {"string_of_2_64",
     "\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
     "a."},
    {"bytes_of_2_63",
     "\x8e\xff\xff\xff\xff\xff\xff\xff\x7f"
     "a."},
    {"bytearray_of_2_40", "\x96\0\0\0\0\0\x01\0\0."s},
    {"long_longer_than_file",
     "\x8b\xff\xff\xff\x7f"
     "a."},
    {"frame_longer_than_file", "\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff."},
    {"invalid_utf8", "X\x01\0\0\0\xff."s},
    {"unterminated_line", "cos"},
    {"empty_global", "c\nn\n."},
    {"bad_integer", "I12x\n."},
    {"bad_float", "F1.5x\n."},
    {"bad_quote", "S'abc\n."},
    {"unknown_opcode", "\xfe."},
    {"stack_global_of_int", "K\x01K\x02\x93."},
    {"line_feed_in_module", "\x80\4\x8c\3m\nn\x8c\1a\x93."},
    {"line_feed_in_name", "\x80\4\x8c\1m\x8c\3a\nb\x93."},
    {"obj_without_class", "(o."},
    {"protocol_six", "\x80\x06N.", ErrorKind::unsupported},
    {"extension", "\x82\x01.", ErrorKind::unsupported},
    {"out_of_band", "\x97.", ErrorKind::unsupported},
    {"dotted_global",
     "\x8c\x01m\x8c\x03"
     "a.b\x93.",
     ErrorKind::unsupported},
    {"dotted_global_line", "\x80\2cm\na.b\n.", ErrorKind::unsupported},
    {"state_twice", "cm\nC\n)\x81}b}b.", ErrorKind::unsupported},
    {"memo_of_2_32", "Nr\xff\xff\xff\xff.", ErrorKind::limit},
};

INSTANTIATE_TEST_SUITE_P(All, HostilePickle, testing::ValuesIn(hostile_pickles),
                         [](const auto& instance) { return std::string(instance.param.name); });

TEST(PickleLimits, CountNodesAndMarks) {
  EXPECT_THROW(read(std::string(100, ']') + ".", {.max_nodes = 50}), Error);
  EXPECT_THROW(read(std::string(100, '(') + ".", {.max_marks = 50}), Error);
}

TEST(PickleLimits, SharingDoesNotMultiplyWork) {
  std::string laughs = "]";
  for (int i = 0; i < 60; ++i)
    laughs +=
        "q\x01]h\x01"
        "ah\x01"
        "a";
  const PickleGraph graph = graph_of(laughs + ".");
  EXPECT_EQ(graph.size(), 61u);
  EXPECT_LT(written(graph).size(), 1000u);
}

TEST(PickleLimits, CopiesOfOneListIntoManySetsAreBounded) {
  std::string pickle = "](";
  pickle += std::string(10'000, 'N');
  pickle +=
      "e\x85q\x01"
      "c__builtin__\nset\nq\x02";
  for (int i = 0; i < 1000; ++i) pickle += "h\x02h\x01R";
  EXPECT_EQ(failure_of(pickle + "."), ErrorKind::limit);
}

TEST(PickleLimits, DepthNeedsNoCallStack) {
  constexpr int depth = 300'000;
  std::string tuples = ")";
  std::string lists;
  for (int i = 0; i < depth; ++i) tuples += "\x85";
  for (int i = 0; i < depth; ++i) lists += "](";
  for (int i = 0; i < depth; ++i) lists += "e";
  EXPECT_EQ(graph_of(rewritten(tuples + ".")).size(), depth + 1u);
  const PickleReadOptions options{.max_marks = depth};
  EXPECT_EQ(read(lists + ".", options).graph.size(), static_cast<std::size_t>(depth));
}

const std::string specimen =
    "\x80\x02}q\x00(X\x01\0\0\0aq\x01]q\x02(K\x01M\x00\x01J\xff\xff\xff\xff\x8a\x09\0\0\0\0\0\0\0\0\x01G@"
    "\x04\0\0\0\0\0\0"
    "\x88\x89Neh\x01h\x02\x86q\x03h\x03h\x03"
    "ccollections\nOrderedDict\n)R(h\x01h\x02u}h\x01h\x00sbK\x07Qh\x01u."s;

TEST(PickleReader, SurvivesTruncationAtEveryByte) {
  EXPECT_NO_THROW(read(specimen));
  for (std::size_t length = 0; length < specimen.size(); ++length) {
    EXPECT_THROW(read(specimen.substr(0, length)), Error) << length;
  }
}

TEST(PickleReader, SurvivesEveryFlippedBit) {
  for (std::size_t bit = 0; bit < 8 * specimen.size(); ++bit) {
    std::string damaged = specimen;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    try {
      const PickleGraph graph = graph_of(damaged);
      EXPECT_NO_THROW(graph_of(written(graph))) << bit;
    } catch (const Error& error) {
      EXPECT_NE(error.kind(), ErrorKind::io);
    }
  }
}

TEST(PickleWriter, IsStableAfterOneRound) {
  const std::string once = rewritten(specimen);
  EXPECT_EQ(rewritten(once), once);
}

TEST(PickleWriter, ChoosesTheShortestInteger) {
  const auto of = [](std::int64_t value) {
    PickleGraph graph;
    graph.root = graph.add_integer(value);
    return written(graph).substr(2);
  };
  EXPECT_EQ(of(0), "K\0."s);
  EXPECT_EQ(of(256), "M\0\x01."s);
  EXPECT_EQ(of(65536), "J\0\0\x01\0."s);
  EXPECT_EQ(of(-1), "J\xff\xff\xff\xff."s);
  EXPECT_EQ(of(std::int64_t{1} << 31), "\x8a\x05\0\0\0\x80\0."s);
  EXPECT_EQ(of(std::numeric_limits<std::int64_t>::min()), "\x8a\x08\0\0\0\0\0\0\0\x80."s);
}

TEST(PickleWriter, WritesBytesAndSetsAsProtocolTwoDoes) {
  PickleGraph graph;
  graph.root = graph.add_text(PickleKind::bytes, "\xff");
  EXPECT_EQ(written(graph),
            "\x80\x02"
            "c_codecs\nencode\nX\x02\0\0\0\xc3\xbfX\x06\0\0\0latin1\x86R."s);
  graph.root = graph.add_container(PickleKind::set);
  EXPECT_EQ(written(graph),
            "\x80\x02"
            "c__builtin__\nset\n]\x85R.");
}

TEST(PickleWriter, SplitsLongContainersIntoBatches) {
  PickleGraph graph;
  graph.root = graph.add_container(PickleKind::list);
  for (int i = 0; i < 2500; ++i) {
    const NodeId item = graph.add_none();
    graph.mutable_items(graph.root).push_back(item);
  }
  const std::string pickle = written(graph);
  EXPECT_EQ(std::count(pickle.begin(), pickle.end(), 'e'), 3);
  const PickleGraph again = graph_of(pickle);
  EXPECT_EQ(again.items(again.root).size(), 2500u);
}

// t = ([t, t],) and an object whose state holds the tuple that holds the object.
TEST(PickleWriter, WritesCyclesThroughTuples) {
  const PickleGraph list =
      graph_of(rewritten("]q\x00h\x00\x85q\x01"
                         "0h\x00(h\x01h\x01"
                         "e0h\x01."s));
  const NodeId inner = list.items(list.root)[0];
  ASSERT_EQ(list.kind(inner), PickleKind::list);
  EXPECT_THAT(list.items(inner), ElementsAre(list.root, list.root));

  const PickleGraph object =
      graph_of(rewritten("cm\nC\n)\x81q\x00h\x00\x85q\x01"
                         "0h\x00h\x01"
                         "b0h\x01."s));
  const NodeId instance = object.items(object.root)[0];
  EXPECT_EQ(object.object(instance).state, object.root);
}

TEST(PickleWriter, RefusesCyclesThatNothingCloses) {
  const PickleGraph graph = graph_of(
      "\x8fq\x01\x85q\x02"
      "0h\x01(h\x02\x90.");
  EXPECT_THROW(written(graph), Error);
}

TEST(PickleGraphTest, BecomeChangesANodeForAllWhoReferToIt) {
  PickleGraph graph;
  const NodeId child = graph.add_container(PickleKind::list);
  graph.root = graph.add_tuple({child, child});
  graph.become(child, graph.add_string("seven"));
  EXPECT_EQ(graph.text(graph.items(graph.root)[0]), "seven");
  EXPECT_EQ(graph.text(graph.items(graph.root)[1]), "seven");
}

TEST(PickleGraphTest, SmallValuesAreInTheirIds) {
  PickleGraph graph;
  for (const std::int64_t value : {0, 1, -1, (1 << 29) - 1, -(1 << 29)}) {
    const NodeId id = graph.add_integer(value);
    EXPECT_TRUE(graph.is(id, PickleKind::integer));
    EXPECT_EQ(graph.integer(id), value);
    EXPECT_TRUE(graph.items(id).empty());
    EXPECT_FALSE(graph.is_container(id));
  }
  EXPECT_TRUE(graph.is(graph.add_none(), PickleKind::none));
  EXPECT_TRUE(graph.boolean(graph.add_boolean(true)));
  EXPECT_FALSE(graph.boolean(graph.add_boolean(false)));
  EXPECT_EQ(graph.floating(graph.add_floating(-0.5)), -0.5);
  EXPECT_EQ(graph.size(), 0u);
  EXPECT_FALSE(graph.is(no_node, PickleKind::boolean));
}

TEST(PickleGraphTest, OtherIntegersAreNodes) {
  PickleGraph graph;
  for (const std::int64_t value : {std::int64_t{1} << 29, -(std::int64_t{1} << 29) - 1, std::int64_t{INT64_MIN}}) {
    const NodeId id = graph.add_integer(value);
    EXPECT_TRUE(graph.is(id, PickleKind::integer));
    EXPECT_EQ(graph.integer(id), value);
  }
  EXPECT_EQ(graph.size(), 3u);
}

TEST(PickleLimits, MemoryIsBoundedAndTheHintSaysHowToGetMore) {
  const std::string lists = "](" + std::string(100'000, ']') + "e.";
  EXPECT_NO_THROW(read(lists, {.max_memory_bytes = 4'000'000}));
  try {
    read(lists, {.max_memory_bytes = 1'000'000, .memory_hint = "ask for more"});
    FAIL() << "was read";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::limit);
    EXPECT_EQ(error.facts().hint, "ask for more");
    EXPECT_TRUE(error.facts().offset.has_value());
  }
}

TEST(PickleGraphTest, NodesBecomeValuesOfEveryKind) {
  PickleGraph graph;
  const NodeId values[] = {graph.add_none(), graph.add_boolean(true), graph.add_boolean(false), graph.add_integer(-7),
                           graph.add_floating(2.5)};
  std::vector<NodeId> nodes;
  for (const NodeId value : values) {
    nodes.push_back(graph.add_container(PickleKind::list));
    graph.become(nodes.back(), value);
    EXPECT_EQ(graph.kind(nodes.back()), graph.kind(value));
  }
  EXPECT_TRUE(graph.boolean(nodes[1]));
  EXPECT_FALSE(graph.boolean(nodes[2]));
  EXPECT_EQ(graph.integer(nodes[3]), -7);
  EXPECT_EQ(graph.floating(nodes[4]), 2.5);
}

}  // namespace
}  // namespace tenon
