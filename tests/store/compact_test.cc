#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "store_fixture.h"
#include "tenon/draft.h"

namespace tenon {
namespace {

using testing::Bytes;
using testing::DraftBuilder;
using testing::error_of;
using testing::pattern;

std::size_t offset(const Draft& draft, std::size_t row) { return draft.tensors[row].storage_offset_bytes; }

TEST(Compact, KeepsOnlyWhatASliceReaches) {
  const Bytes bytes = pattern(999 * 4);
  DraftBuilder builder;
  builder.slot(bytes).tensor("small", DType::float32, {5}, {.offset_bytes = 40});
  Draft draft = builder.draft();
  compact(draft);
  ASSERT_EQ(draft.slots.size(), 1u);
  EXPECT_EQ(draft.slots[0].nbytes, 20u);
  EXPECT_EQ(offset(draft, 0), 0u);
  EXPECT_TRUE(std::ranges::equal(draft.slots[0].source.memory, std::span(bytes).subspan(40, 20)));
}

TEST(Compact, SplitsWhereTensorsDoNotOverlapAndKeepsThoseThatDoTogether) {
  DraftBuilder builder;
  builder.slot(pattern(400))
      .tensor("a", DType::float32, {10})
      .tensor("b", DType::float32, {10}, {.offset_bytes = 20})
      .tensor("c", DType::float32, {2}, {.offset_bytes = 60});
  Draft draft = builder.draft();
  compact(draft);
  ASSERT_EQ(draft.slots.size(), 2u);
  EXPECT_EQ(draft.slots[0].nbytes, 60u);
  EXPECT_EQ(draft.slots[1].nbytes, 8u);
  EXPECT_EQ(draft.tensors[0].slot, draft.tensors[1].slot);
  EXPECT_EQ(offset(draft, 1), 20u);
  EXPECT_EQ(draft.tensors[2].slot, 1u);
}

TEST(Compact, AStridedViewKeepsItsStride) {
  DraftBuilder builder;
  builder.slot(pattern(64)).tensor("evens", DType::float32, {3}, {.stride = {2}, .offset_bytes = 4});
  Draft draft = builder.draft();
  compact(draft);
  EXPECT_EQ(draft.slots[0].nbytes, 20u);
  EXPECT_EQ(draft.tensors[0].stride, std::vector<std::int64_t>{2});
}

TEST(Compact, EveryTypeStillBeginsAtAWholeElement) {
  DraftBuilder builder;
  builder.slot(pattern(64))
      .tensor("narrow", DType::float32, {3}, {.offset_bytes = 12})
      .tensor("wide", DType::float64, {1}, {.offset_bytes = 16});
  Draft draft = builder.draft();
  compact(draft);
  ASSERT_EQ(draft.slots.size(), 1u);
  EXPECT_EQ(offset(draft, 1) % 8, 0u);
  EXPECT_EQ(draft.slots[0].nbytes, 16u);
}

TEST(Compact, TensorsWithoutElementsKeepASlotOfNoBytes) {
  DraftBuilder builder;
  builder.slot(pattern(64)).tensor("empty", DType::float32, {0, 3}, {.offset_bytes = 32});
  Draft draft = builder.draft();
  compact(draft);
  ASSERT_EQ(draft.slots.size(), 1u);
  EXPECT_EQ(draft.slots[0].nbytes, 0u);
  EXPECT_EQ(offset(draft, 0), 0u);
}

TEST(Compact, ReadsThePartThatItKeepsFromWhereItWas) {
  std::vector<std::pair<std::uint64_t, std::size_t>> reads;
  DraftBuilder builder;
  builder.slot(100, [&](std::uint64_t at, std::span<std::byte> out) { reads.emplace_back(at, out.size()); })
      .tensor("part", DType::uint8, {10}, {.offset_bytes = 30});
  Draft draft = builder.draft();
  compact(draft);
  Bytes out(10);
  draft.slots[0].source.read(0, out);
  EXPECT_THAT(reads, ::testing::ElementsAre(std::pair(30u, 10u)));
}

TEST(Compact, ReadsTheRestOnceWhereASourceMustBeReadAsAWhole) {
  std::uint64_t read_bytes = 0;
  DraftBuilder builder;
  builder.slot(100, [&](std::uint64_t, std::span<std::byte> out) { read_bytes += out.size(); })
      .tensor("part", DType::uint8, {10}, {.offset_bytes = 30});
  Draft draft = builder.draft();
  compact(draft, true);
  Bytes out(10);
  draft.slots[0].source.read(0, out);
  draft.slots[0].source.read(0, out);
  EXPECT_EQ(read_bytes, 110u);
}

TEST(Compact, RefusesATensorOutsideItsSlot) {
  DraftBuilder builder;
  builder.slot(pattern(16)).tensor("w", DType::float32, {5});
  const auto error = error_of([&] { compact(builder.draft()); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind(), ErrorKind::invalid_argument);
}

TEST(MergeOverlapping, SlotsOverTheSameMemoryBecomeOne) {
  const Bytes bytes = pattern(100);
  Draft draft;
  draft.slots = {
      {.nbytes = 60, .source = {.memory = std::span(bytes).subspan(40, 60)}, .storage_dtype = DType::float32},
      {.nbytes = 50, .source = {.memory = std::span(bytes).first(50)}, .storage_dtype = DType::uint8}};
  draft.tensors = {{.name = "late", .dtype = DType::float32, .slot = 0, .shape = {15}, .stride = {1}},
                   {.name = "early", .dtype = DType::uint8, .slot = 1, .shape = {50}, .stride = {1}}};
  merge_overlapping(draft);
  ASSERT_EQ(draft.slots.size(), 1u);
  EXPECT_EQ(draft.slots[0].nbytes, 100u);
  EXPECT_EQ(draft.slots[0].storage_dtype, DType::invalid);
  EXPECT_EQ(offset(draft, 0), 40u);
  EXPECT_EQ(offset(draft, 1), 0u);
}

TEST(MergeOverlapping, SlotsThatOnlyTouchStayApart) {
  const Bytes bytes = pattern(100);
  Draft draft;
  draft.slots = {{.nbytes = 50, .source = {.memory = std::span(bytes).first(50)}},
                 {.nbytes = 50, .source = {.memory = std::span(bytes).subspan(50)}}};
  merge_overlapping(draft);
  EXPECT_EQ(draft.slots.size(), 2u);
}

}  // namespace
}  // namespace tenon
