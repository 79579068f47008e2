#include "store/dedupe.h"

#include <atomic>
#include <map>

#include "store/store_state.h"
#include "tests/store/store_fixture.h"

namespace tenon {
namespace {

using Kind = SlotOrigin::Kind;
using testing::Bytes;
using testing::copy_of;
using testing::DraftBuilder;
using ::testing::IsEmpty;
using testing::one_tensor;
using testing::pattern;

// What the catalog would say: chosen by each test, so that also false hints can be given.
class DedupeTest : public testing::StoreTest {
 protected:
  DedupeTest() { make(); }

  CommitResult commit(const Draft& draft) { return open().commit(draft); }
  std::shared_ptr<const SnapshotState> tip() const { return StoreState::open(path())->open_snapshot("main", {}); }

  DedupeResult find(const Draft& draft, const SnapshotState* parent) {
    const auto hints = [this](std::span<const std::uint64_t> sketches) {
      ++hints_calls_;
      return std::vector<std::vector<StorageHint>>(sketches.size(), hints_);
    };
    const auto segment = [this](std::uint64_t sequence) -> std::shared_ptr<const Segment> {
      ++segment_calls_[sequence];
      return file_exists(this->segment(sequence)) ? Segment::open(this->segment(sequence)) : nullptr;
    };
    return find_stored_slots({draft, parent, hints, segment, [this](std::uint64_t n) { progress_ += n; }});
  }

  static void expect_stored(const SlotOrigin& origin, const Bytes& bytes) {
    ASSERT_EQ(origin.kind, Kind::stored);
    EXPECT_EQ(origin.key, digest_storage(bytes));
    EXPECT_EQ(copy_of({origin.data, bytes.size()}), bytes);
    std::uint64_t size = 0;
    for (const StoredExtent& extent : origin.extents) size += extent.size;
    EXPECT_EQ(size, bytes.size());
  }

  std::vector<StorageHint> hints_;  // given for every sketch
  int hints_calls_ = 0;
  std::map<std::uint64_t, int> segment_calls_;
  std::atomic<std::uint64_t> progress_ = 0;
};

TEST_F(DedupeTest, SameBytesAtTheSamePathAreTheParents) {
  commit(DraftBuilder{}.slot(pattern(100, 1)).tensor("a").slot(pattern(3 << 20, 2)).tensor("b"));
  const auto parent = tip();
  const DedupeResult result =
      find(DraftBuilder{}.slot(pattern(3 << 20, 2)).tensor("b").slot(pattern(100, 1)).tensor("a"), parent.get());
  expect_stored(result.slots[0], pattern(3 << 20, 2));
  expect_stored(result.slots[1], pattern(100, 1));
  EXPECT_EQ(result.slots[0].base_slot, 1u);
  EXPECT_EQ(result.slots[1].base_slot, 0u);
  EXPECT_EQ(result.slots[0].extents[0].segment.sequence, 1u);
  EXPECT_EQ(hints_calls_, 0);  // the catalog is not asked for what is known
  EXPECT_EQ(progress_, 100u + (3 << 20));
}

TEST_F(DedupeTest, OneByteAnywhereMakesAShortSlotFresh) {
  const Bytes bytes = pattern(900'000);
  commit(one_tensor(bytes));
  const auto parent = tip();
  for (const std::size_t at : {std::size_t{0}, bytes.size() / 2, bytes.size() - 1}) {
    const DedupeResult result = find(one_tensor(testing::with_byte_flipped(bytes, at)), parent.get());
    EXPECT_EQ(result.slots[0].kind, Kind::fresh) << at;
    EXPECT_EQ(result.slots[0].base_slot, std::nullopt) << at;
  }
}

TEST_F(DedupeTest, OneByteAnywhereMakesAGranuleOfALongSlotNew) {
  const Bytes bytes = pattern((3 << 20) + 1);
  commit(one_tensor(bytes));
  const auto parent = tip();
  for (const std::size_t at : {std::size_t{0}, bytes.size() / 2, bytes.size() - 1}) {
    const DedupeResult result = find(one_tensor(testing::with_byte_flipped(bytes, at)), parent.get());
    ASSERT_EQ(result.slots[0].kind, Kind::stitched) << at;
    EXPECT_EQ(bytes_to_write(result.slots[0].pieces), at + 1 == bytes.size() ? 1 : leaf_bytes) << at;
    EXPECT_EQ(result.slots[0].base_slot, 0u) << at;
  }
}

TEST_F(DedupeTest, LongerOrShorterBytesAtTheSamePathAreFresh) {
  commit(one_tensor(pattern(100)));
  const auto parent = tip();
  EXPECT_EQ(find(one_tensor(pattern(99)), parent.get()).slots[0].kind, Kind::fresh);
  EXPECT_EQ(find(one_tensor(pattern(101)), parent.get()).slots[0].kind, Kind::fresh);
}

TEST_F(DedupeTest, AnyTensorOfASlotMayLeadToTheParents) {
  commit(DraftBuilder{}.slot(pattern(100)).tensor("kept"));
  const auto parent = tip();
  const DedupeResult result =
      find(DraftBuilder{}.slot(pattern(100)).tensor("new").tensor("kept").tensor("newer"), parent.get());
  EXPECT_EQ(result.slots[0].base_slot, 0u);
}

TEST_F(DedupeTest, MovedBytesAreFoundByHint) {
  commit(DraftBuilder{}.slot(pattern(100, 1)).tensor("a").slot(pattern(100, 2)).tensor("b"));
  hints_ = {{1, 0}, {1, 1}};
  const DedupeResult result = find(DraftBuilder{}.slot(pattern(100, 2)).tensor("moved"), nullptr);
  expect_stored(result.slots[0], pattern(100, 2));
  EXPECT_EQ(result.slots[0].base_slot, std::nullopt);
  EXPECT_EQ(result.slots[0].extents[0].segment.uuid, Segment::open(segment(1))->uuid());
}

TEST_F(DedupeTest, HintsAreNeverTrusted) {
  commit(one_tensor(pattern(100, 1)));
  const Bytes other = testing::with_byte_flipped(pattern(100, 1), 99);
  hints_ = {{1, 0}, {1, 1}, {1, UINT64_MAX}, {99, 0}};
  EXPECT_EQ(find(one_tensor(other), nullptr).slots[0].kind, Kind::fresh);
  EXPECT_EQ(find(one_tensor(pattern(99, 1)), nullptr).slots[0].kind, Kind::fresh);
  hints_.push_back({1, 0});
  expect_stored(find(one_tensor(pattern(100, 1)), nullptr).slots[0], pattern(100, 1));
}

TEST_F(DedupeTest, ASegmentIsOpenedOnceHoweverManyHintsLeadThere) {
  commit(one_tensor(pattern(100, 1)));
  hints_ = {{1, 0}, {99, 0}};
  DraftBuilder draft;
  for (std::uint64_t i = 1; i < 50; ++i) draft.slot(pattern(100, i)).tensor("t" + std::to_string(i));
  find(draft, nullptr);
  EXPECT_EQ(hints_calls_, 1);
  EXPECT_EQ(segment_calls_[1], 1);
  EXPECT_EQ(segment_calls_[99], 1);
}

TEST_F(DedupeTest, EqualSlotsOfOneDraftAreWrittenOnce) {
  const DedupeResult result = find(DraftBuilder{}
                                       .slot(pattern(100, 1))
                                       .tensor("a")
                                       .slot(pattern(100, 2))
                                       .tensor("b")
                                       .slot(pattern(100, 1))
                                       .tensor("c")
                                       .slot(pattern(100, 1))
                                       .tensor("d"),
                                   nullptr);
  EXPECT_EQ(result.slots[0].kind, Kind::fresh);
  EXPECT_EQ(result.slots[1].kind, Kind::fresh);
  for (const std::size_t slot : {2, 3}) {
    EXPECT_EQ(result.slots[slot].kind, Kind::same_as_slot);
    EXPECT_EQ(result.slots[slot].same_slot, 0u);
  }
}

TEST_F(DedupeTest, SlotsThatDifferOnlyWhereNoSketchLooksAreFresh) {
  const Bytes bytes = pattern(20 * leaf_bytes);
  const auto sketched = sketch_leaves(bytes.size());
  ASSERT_EQ(std::count(sketched.begin(), sketched.end(), 1u), 0);
  const Bytes other = testing::with_byte_flipped(bytes, leaf_bytes + 5);
  const DedupeResult result = find(DraftBuilder{}.slot(bytes).tensor("a").slot(other).tensor("b"), nullptr);
  EXPECT_EQ(result.slots[0].sketch, result.slots[1].sketch);
  EXPECT_EQ(result.slots[1].kind, Kind::fresh);
}

TEST_F(DedupeTest, SlotsWithoutBytesAreNobodys) {
  commit(one_tensor({}));
  const auto parent = tip();
  hints_ = {{1, 0}};
  const DedupeResult result = find(DraftBuilder{}.slot(Bytes{}).tensor("w").slot(Bytes{}).tensor("v"), parent.get());
  EXPECT_EQ(result.slots[0].kind, Kind::fresh);
  EXPECT_EQ(result.slots[1].kind, Kind::fresh);
  EXPECT_EQ(hints_calls_, 0);
}

TEST_F(DedupeTest, ReadersAreComparedLikeMemory) {
  const Bytes bytes = pattern((2 << 20) + 7);
  commit(one_tensor(bytes));
  const auto parent = tip();
  const auto read = [&](std::uint64_t offset, std::span<std::byte> out) {
    std::memcpy(out.data(), bytes.data() + offset, out.size());
  };
  DraftBuilder draft;
  draft.slot(bytes.size(), read).tensor("w").slot(bytes.size(), read).tensor("x").slot(bytes).tensor("y");
  const DedupeResult result = find(draft, parent.get());
  expect_stored(result.slots[0], bytes);
  EXPECT_EQ(result.slots[1].kind, Kind::fresh);
  EXPECT_EQ(result.slots[2].kind, Kind::same_as_slot);
  EXPECT_EQ(result.slots[2].same_slot, 1u);
}

TEST_F(DedupeTest, WhatIsReusedStaysMappedWhenItsFileGoes) {
  const Bytes bytes = pattern(5000);
  commit(one_tensor(bytes));
  hints_ = {{1, 0}};
  const DedupeResult result = find(DraftBuilder{}.slot(bytes).tensor("moved"), nullptr);
  remove_file(segment(1));
  expect_stored(result.slots[0], bytes);
}

}  // namespace
}  // namespace tenon
