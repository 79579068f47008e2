#include <gtest/gtest.h>

#include <string>

#include "formats/latin1_text.h"
#include "formats/pickle.h"
#include "formats/pickle_text.h"
#include "tenon/error.h"

namespace tenon {
namespace {

// Every byte, many times, so that letters of one and of two bytes stand across all steps.
std::string all_bytes(std::size_t count) {
  std::string bytes;
  for (std::size_t i = 0; i < count; ++i) bytes.push_back(static_cast<char>(i * 7 + i / 251));
  return bytes;
}

std::string latin1_to_utf8(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) append_utf8(out, static_cast<unsigned char>(c));
  return out;
}

std::string read(const Latin1Text& text, std::uint64_t offset, std::size_t size) {
  std::string out(size, '\0');
  text.read(offset, std::as_writable_bytes(std::span(out)));
  return out;
}

TEST(Latin1Text, AnyRangeIsThatOfTheWhole) {
  const std::string bytes = all_bytes(300'000);
  const std::string utf8 = latin1_to_utf8(bytes);
  const Latin1Text text(utf8);
  EXPECT_EQ(read(text, 0, bytes.size()), bytes);
  for (const std::uint64_t offset : {1, 65'535, 65'536, 65'537, 131'071, 299'000}) {
    EXPECT_EQ(read(text, offset, 1000), bytes.substr(offset, 1000)) << offset;
  }
  EXPECT_EQ(read(text, bytes.size(), 0), "");
}

TEST(Latin1Text, LettersAreCountedAndThoseThatAreNoBytesRefused) {
  EXPECT_EQ(count_latin1(latin1_to_utf8(all_bytes(1000))), 1000u);
  EXPECT_EQ(count_latin1(""), 0u);
  EXPECT_EQ(count_latin1("\xC3\xBF"), 1u);
  EXPECT_EQ(count_latin1("abc\xC4\x80"), std::nullopt);
  EXPECT_EQ(count_latin1("\xE2\x82\xAC"), std::nullopt);
}

TEST(EncodedBytes, AreTheSameBytesWhenAskedForAndWrittenAsTheyWere) {
  const std::string bytes = all_bytes(100'000);
  PickleGraph graph;
  const NodeId string = graph.add_string(latin1_to_utf8(bytes));
  const NodeId id = graph.add_encoded_bytes(PickleKind::bytes, graph.text(string), bytes.size());
  EXPECT_EQ(graph.text_bytes(id), bytes.size());
  const auto written = write_pickle(graph, id);
  EXPECT_EQ(graph.text(id), bytes);
  PickleGraph plain;
  const NodeId same = plain.add_text(PickleKind::bytes, bytes);
  EXPECT_EQ(written, write_pickle(plain, same));
  const PickleGraph again = std::move(read_pickle(written).graph);
  EXPECT_TRUE(again.encoded_bytes(again.root).has_value());
  EXPECT_EQ(again.text(again.root), bytes);
}

TEST(DeferredBytes, AreWrittenAsIfTheyWereThere) {
  for (const std::size_t size : {0, 1, 65'536, 300'000}) {
    const std::string bytes = all_bytes(size);
    PickleGraph graph;
    PickleGraph plain;
    const NodeId deferred = graph.add_deferred_bytes(size, [&](const PickleGraph::Sink& sink) {
      const auto all = std::as_bytes(std::span(bytes));
      sink(all.first(size / 3));
      sink(all.subspan(size / 3));
    });
    EXPECT_EQ(write_pickle(graph, deferred), write_pickle(plain, plain.add_text(PickleKind::bytes, bytes)));
    EXPECT_EQ(graph.text_bytes(deferred), size);
    EXPECT_EQ(graph.text(deferred), bytes);
  }
}

TEST(DeferredBytes, ThatCannotBeReadAreAnErrorEachTime) {
  PickleGraph graph;
  const NodeId id = graph.add_deferred_bytes(
      3, [](const PickleGraph::Sink&) { throw Error(ErrorKind::corrupt, {.what = "damaged"}); });
  EXPECT_THROW(write_pickle(graph, id), Error);
  EXPECT_THROW(graph.text(id), Error);
  EXPECT_THROW(graph.text(id), Error);
}

TEST(BorrowedTexts, KeepTheirOwner) {
  auto pickle = std::make_shared<const std::vector<std::byte>>([] {
    PickleGraph graph;
    return write_pickle(graph, graph.add_string(std::string(100'000, 'x')));
  }());
  const std::weak_ptr<const std::vector<std::byte>> watched = pickle;
  PickleGraph graph = std::move(read_pickle(*pickle, {.owner = pickle}).graph);
  pickle.reset();
  EXPECT_FALSE(watched.expired());
  EXPECT_EQ(graph.text(graph.root), std::string(100'000, 'x'));
  graph = PickleGraph();
  EXPECT_TRUE(watched.expired());
}

}  // namespace
}  // namespace tenon
