#include "store/binding.h"

#include "tests/store/store_fixture.h"

namespace tenon {
namespace {

using format::BindingHeader;
using format::Extent;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::IsEmpty;
using testing::IsError;

constexpr format::SegmentReference self{{1, 1}, 0, 0};
constexpr format::SegmentReference older{{2, 2}, 5, 4096};
constexpr format::SegmentReference oldest{{3, 3}, 1, 8192};

// Slot 0 in one piece, slot 1 in three, slot 2 without bytes, slot 3 in two.
BindingDraft some_binding() {
  return {.segments = {self, older, oldest},
          .slots = {{{1, 0, 640, 100}},
                    {{0, 0, 4096, 65536}, {2, 0, 131072, 65536}, {1, 0, 0, 10}},
                    {},
                    {{2, 0, 4096, 4096}, {2, 0, 65536, 1}}},
          .layout_segment = 2,
          .structure_segment = 1};
}

std::vector<std::tuple<std::uint32_t, std::uint64_t, std::uint64_t>> tuples(std::span<const Extent> extents) {
  std::vector<std::tuple<std::uint32_t, std::uint64_t, std::uint64_t>> all;
  for (const Extent& e : extents) all.emplace_back(e.segment, e.offset, e.size);
  return all;
}

TEST(BindingTest, OffsetPastWhatAPlacementHoldsIsALimit) {
  BindingDraft draft = some_binding();
  draft.slots[0][0].offset = (std::uint64_t{1} << 46) - 64;
  EXPECT_EQ(Binding::open(encode_binding(draft), "f", 0).offset(0), (std::uint64_t{1} << 46) - 64);
  draft.slots[0][0].offset = std::uint64_t{1} << 46;
  EXPECT_THAT(error_of([&] { encode_binding(draft); }), IsError(ErrorKind::limit, "64 TiB"));
}

TEST(BindingTest, ReadsBackAsWritten) {
  const auto bytes = encode_binding(some_binding());
  const Binding binding = Binding::open(bytes, "f", 0);
  ASSERT_EQ(binding.slot_count(), 4u);
  EXPECT_EQ(binding.layout_segment(), 2u);
  EXPECT_EQ(binding.structure_segment(), 1u);
  ASSERT_EQ(binding.segments().size(), 3u);
  EXPECT_EQ(binding.segments()[1].uuid, older.uuid);
  EXPECT_EQ(binding.segments()[1].sequence, older.sequence);
  EXPECT_EQ(binding.segments()[2].file_bytes, oldest.file_bytes);

  EXPECT_FALSE(binding.is_stitched(0));
  EXPECT_EQ(binding.segment(0), 1u);
  EXPECT_EQ(binding.offset(0), 640u);
  ASSERT_TRUE(binding.is_stitched(1));
  EXPECT_THAT(tuples(binding.extents(1)),
              ElementsAre(std::tuple(0, 4096, 65536), std::tuple(2, 131072, 65536), std::tuple(1, 0, 10)));
  EXPECT_FALSE(binding.is_stitched(2));
  ASSERT_TRUE(binding.is_stitched(3));
  EXPECT_THAT(tuples(binding.extents(3)), ElementsAre(std::tuple(2, 4096, 4096), std::tuple(2, 65536, 1)));
}

TEST(BindingTest, HoldsTheLargestPlacementOfOnePiece) {
  constexpr std::uint64_t last_offset = ((std::uint64_t{1} << 40) - 1) * 64;
  const auto bytes = encode_binding({.segments = {self, older}, .slots = {{{1, 0, last_offset, 1}}}});
  const Binding binding = Binding::open(bytes, "f", 0);
  EXPECT_EQ(binding.segment(0), 1u);
  EXPECT_EQ(binding.offset(0), last_offset);
}

TEST(BindingTest, BindingWithoutSlotsIsWhole) {
  const auto bytes = encode_binding({.segments = {self}, .slots = {}});
  EXPECT_EQ(Binding::open(bytes, "f", 0).slot_count(), 0u);
}

TEST(BindingDraftTest, SegmentsAreListedOnce) {
  BindingDraft draft{.segments = {self}, .slots = {}};
  EXPECT_EQ(draft.segment_index(older), 1u);
  EXPECT_EQ(draft.segment_index(oldest), 2u);
  EXPECT_EQ(draft.segment_index(older), 1u);
  EXPECT_EQ(draft.segments.size(), 3u);
}

TEST(BindingDraftTest, TooManySegmentsAreRefused) {
  BindingDraft draft;
  draft.segments.resize(format::placement_segments_max + 1, self);
  EXPECT_THAT(error_of([&] { encode_binding(draft); }), IsError(ErrorKind::limit, "too many segments"));
}

class DamagedBindingTest : public ::testing::Test {
 protected:
  static constexpr std::size_t placements_at = sizeof(BindingHeader) + 3 * sizeof(format::SegmentReference);
  static constexpr std::size_t extents_at = placements_at + 4 * sizeof(std::uint64_t);

  BindingHeader& header() { return *reinterpret_cast<BindingHeader*>(bytes_.data()); }
  std::uint64_t& placement(std::size_t slot) {
    return reinterpret_cast<std::uint64_t*>(bytes_.data() + placements_at)[slot];
  }
  Extent& extent(std::size_t index) { return reinterpret_cast<Extent*>(bytes_.data() + extents_at)[index]; }
  std::optional<Error> error() {
    return error_of([this] { Binding::open(bytes_, "x.seg", 500); });
  }

  std::vector<std::byte> bytes_ = encode_binding(some_binding());
};

TEST_F(DamagedBindingTest, CutAnywhereIsCorrupt) {
  ASSERT_FALSE(error());
  while (!bytes_.empty()) {
    bytes_.pop_back();
    EXPECT_THAT(error(), IsError(ErrorKind::corrupt, bytes_.size() < sizeof(BindingHeader) ? "shorter" : "size does"));
  }
}

TEST_F(DamagedBindingTest, CountsMustMakeUpTheSize) {
  header().slot_count = 0xFFFFFFFF;
  EXPECT_THAT(error(), IsError(ErrorKind::corrupt, "size does not follow"));
  bytes_ = encode_binding(some_binding());
  header().segment_count = 0xFFFFFFFF;
  EXPECT_THAT(error(), IsError(ErrorKind::corrupt, "size does not follow"));
  bytes_ = encode_binding(some_binding());
  header().extent_count = 0xFFFFFFFF;
  EXPECT_THAT(error(), IsError(ErrorKind::corrupt, "size does not follow"));
}

TEST_F(DamagedBindingTest, SegmentsMustBeInTheTable) {
  header().layout_segment = 3;
  EXPECT_THAT(error(), IsError(ErrorKind::corrupt, "not in its table"));
  header().layout_segment = 0;
  header().structure_segment = 3;
  EXPECT_THAT(error(), IsError(ErrorKind::corrupt, "not in its table"));
  header().structure_segment = 0;
  extent(4).segment = 3;
  EXPECT_THAT(error(), IsError(ErrorKind::corrupt, "extent in no segment"));
  EXPECT_EQ(error()->facts().offset, 500 + extents_at + 4 * sizeof(Extent));
}

TEST_F(DamagedBindingTest, TableWithoutTheSegmentItselfIsCorrupt) {
  BindingHeader empty{};
  bytes_.resize(sizeof empty);
  std::memcpy(bytes_.data(), &empty, sizeof empty);
  EXPECT_THAT(error(), IsError(ErrorKind::corrupt, "not in its table"));
}

TEST_F(DamagedBindingTest, PlacementsMustBeInTheTables) {
  placement(0) = std::uint64_t{3} << 40;
  EXPECT_THAT(error(), IsError(ErrorKind::corrupt, "places slot 0"));
  EXPECT_EQ(error()->facts().offset, 500 + placements_at);
  placement(0) = 0;
  placement(3) += std::uint64_t{1} << 32;  // one extent more than there is
  EXPECT_THAT(error(), IsError(ErrorKind::corrupt, "places slot 3"));
  placement(3) = format::placement_stitched | 0xFFFFFFFFu | std::uint64_t{0x7FFFFFFF} << 32;
  EXPECT_THAT(error(), IsError(ErrorKind::corrupt, "places slot 3"));
}

}  // namespace
}  // namespace tenon
