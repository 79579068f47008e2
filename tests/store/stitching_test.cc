#include "store/stitching.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "store/binding.h"
#include "store_fixture.h"

namespace tenon {
namespace {

using testing::Bytes;
using testing::copy_of;
using testing::DraftBuilder;
using ::testing::IsEmpty;
using testing::one_tensor;
using testing::pattern;
using ::testing::SizeIs;

constexpr std::uint64_t granule = format::granule_bytes;
constexpr std::uint64_t mib = 1 << 20;

StoredExtent extent(std::uint64_t number, std::uint64_t offset, std::uint64_t size) {
  return {{{number, number}, number, 1 << 30}, offset, size};
}

std::vector<std::uint8_t> all_equal_but(std::uint64_t nbytes, const std::vector<std::uint64_t>& changed) {
  std::vector<std::uint8_t> flags((nbytes + granule - 1) / granule, 1);
  for (const std::uint64_t at : changed) flags[at] = 0;
  return flags;
}

// In order, without gap or overlap, and each stored piece where the old extents have those bytes.
void expect_sound(const std::vector<StitchedPiece>& pieces, std::uint64_t nbytes) {
  std::uint64_t at = 0;
  for (const StitchedPiece& piece : pieces) {
    EXPECT_EQ(piece.begin, at);
    EXPECT_GT(piece.size, 0u);
    if (piece.stored) {
      EXPECT_EQ(piece.stored->size, piece.size);
      EXPECT_EQ(piece.stored->offset % granule, 0u);
    }
    at = piece.end();
  }
  EXPECT_EQ(at, nbytes);
}

TEST(PlanPieces, OneChangedGranuleIsTheOnlyOneWritten) {
  const auto pieces = plan_pieces(4 * mib, all_equal_but(4 * mib, {10}), std::vector{extent(1, 0, 4 * mib)});
  expect_sound(pieces, 4 * mib);
  ASSERT_THAT(pieces, SizeIs(3));
  EXPECT_FALSE(pieces[1].stored);
  EXPECT_EQ(pieces[1].begin, 10 * granule);
  EXPECT_EQ(pieces[2].stored->offset, 11 * granule);
  EXPECT_EQ(bytes_to_write(pieces), granule);
}

TEST(PlanPieces, OldPiecesAreCutAndFollowEachOtherWhereTheyDo) {
  const std::vector old{extent(1, 0, mib), extent(2, 5 * mib, mib), extent(1, 2 * mib, 2 * mib + 100)};
  const auto pieces = plan_pieces(4 * mib + 100, all_equal_but(4 * mib + 100, {16}), old);
  expect_sound(pieces, 4 * mib + 100);
  ASSERT_THAT(pieces, SizeIs(4));
  EXPECT_EQ(pieces[2].stored->segment.sequence, 2u);
  EXPECT_EQ(pieces[2].stored->offset, 5 * mib + granule);
  EXPECT_EQ(pieces[3].size, 2 * mib + 100);
}

TEST(PlanPieces, ShortOrMostlyChangedStoragesAreWrittenWhole) {
  EXPECT_THAT(plan_pieces(mib - 1, all_equal_but(mib - 1, {}), std::vector{extent(1, 0, mib - 1)}), IsEmpty());
  std::vector<std::uint8_t> none(64, 0);
  EXPECT_THAT(plan_pieces(4 * mib, none, std::vector{extent(1, 0, 4 * mib)}), IsEmpty());
  none[3] = none[40] = 1;
  EXPECT_THAT(plan_pieces(4 * mib, none, std::vector{extent(1, 0, 4 * mib)}), IsEmpty());
}

TEST(PlanPieces, PiecesThatCouldNotBeMappedOnLargePagesAreWrittenAgain) {
  EXPECT_THAT(plan_pieces(4 * mib, all_equal_but(4 * mib, {1}), std::vector{extent(1, 4096, 4 * mib)}), IsEmpty());
}

TEST(PlanPieces, ScatteredChangesKeepToTheNumberOfPieces) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    const std::uint64_t nbytes = (1 + random() % 64) * mib + random() % mib;
    std::vector<std::uint8_t> flags((nbytes + granule - 1) / granule);
    const std::uint64_t share = 1 + random() % 100;
    for (std::uint8_t& flag : flags) flag = random() % 100 >= share;
    const auto pieces = plan_pieces(nbytes, flags, std::vector{extent(1, 0, nbytes)});
    if (pieces.empty()) continue;
    expect_sound(pieces, nbytes);
    EXPECT_LE(pieces.size(), nbytes * pieces_per_mib_max / mib);
    for (const StitchedPiece& piece : pieces) {
      if (!piece.stored) continue;
      for (std::uint64_t at = piece.begin; at < piece.end(); at += granule) EXPECT_EQ(flags[at / granule], 1);
    }
  }
}

class StitchingTest : public testing::StoreTest {
 protected:
  static Bytes with_run_changed(Bytes bytes, std::size_t begin, std::size_t size, std::uint64_t number) {
    const Bytes run = pattern(size, number);
    std::copy(run.begin(), run.end(), bytes.begin() + static_cast<std::ptrdiff_t>(begin));
    return bytes;
  }
  static void expect_in_every_mode(const Store& store, std::string_view rev, const Bytes& wanted) {
    for (const Mode mode : {Mode::shared, Mode::private_, Mode::copy}) {
      const Snapshot snapshot = store.snapshot(rev, {.mode = mode});
      EXPECT_TRUE(copy_of(snapshot["w"].bytes()) == wanted) << rev << " in mode " << static_cast<int>(mode);
      Bytes verified;
      snapshot.read_verified(0, [&](auto piece) { verified.insert(verified.end(), piece.begin(), piece.end()); });
      EXPECT_TRUE(verified == wanted) << rev;
      EXPECT_EQ(snapshot.slot(0).key, digest_storage(wanted)) << rev;
    }
  }
};

TEST_F(StitchingTest, ACommitWritesTheGranulesThatChanged) {
  Store store = make();
  const Bytes first = pattern(8 * mib + 4242);
  const Bytes second = with_run_changed(first, 3 * mib + 17, 100, 5);
  store.commit(one_tensor(first));
  const CommitResult result = store.commit(one_tensor(second));
  EXPECT_EQ(result.written_bytes, granule);
  EXPECT_EQ(result.reused_bytes, first.size() - granule);
  EXPECT_EQ(result.written_storages, 1u);
  expect_in_every_mode(store, "main", second);
  expect_in_every_mode(store, "main~1", first);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(StitchingTest, StatisticsAreThoseOfTheWholeTensor) {
  std::vector<float> values(2 * mib);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 1000);
  const auto draft = [](const std::vector<float>& v) {
    return DraftBuilder{}
        .slot(testing::bytes_of(v))
        .tensor("w", DType::float32, {static_cast<std::int64_t>(v.size())})
        .tensor("gaps", DType::float32, {static_cast<std::int64_t>(v.size() / 2)}, {.stride = {2}});
  };
  Store store = make();
  store.commit(draft(values));
  values[5] = -7;
  values[6] = -8;
  store.commit(draft(values));
  const auto stitched = store.snapshot().statistics(0);
  const auto gaps = store.snapshot().statistics(1);
  Store other = Store::init(base() / "other.tenon", {.durability = Durability::relaxed});
  other.commit(draft(values));
  const auto whole = other.snapshot().statistics(0);
  ASSERT_TRUE(stitched && whole && gaps);
  EXPECT_EQ(stitched->min, -8);
  EXPECT_EQ(stitched->max, whole->max);
  EXPECT_EQ(stitched->zero_count, whole->zero_count);
  EXPECT_DOUBLE_EQ(stitched->sum, whole->sum);
  EXPECT_EQ(gaps->min, -8);
}

TEST_F(StitchingTest, ALongerTensorReusesItsPrefix) {
  Store store = make();
  const Bytes first = pattern(4 * mib + 1000);
  Bytes grown = first;
  const Bytes more = pattern(200'000, 9);
  grown.insert(grown.end(), more.begin(), more.end());
  store.commit(one_tensor(first));
  EXPECT_EQ(store.commit(one_tensor(grown)).reused_bytes, 4 * mib);
  expect_in_every_mode(store, "main", grown);
  store.commit(one_tensor(first));
  expect_in_every_mode(store, "main", first);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(StitchingTest, SourcesThatAreReadAreStitchedToo) {
  Store store = make();
  const Bytes first = pattern(4 * mib);
  const Bytes second = with_run_changed(first, 2 * mib, 1000, 3);
  store.commit(one_tensor(first));
  const auto read = [&](std::uint64_t offset, std::span<std::byte> out) {
    std::memcpy(out.data(), second.data() + offset, out.size());
  };
  EXPECT_EQ(store.commit(DraftBuilder{}.slot(second.size(), read).tensor("w")).written_bytes, granule);
  expect_in_every_mode(store, "main", second);
}

TEST_F(StitchingTest, WritesThroughOneSlotStayThere) {
  Store store = make();
  const Bytes first = pattern(2 * mib);
  const Bytes second = with_run_changed(first, 0, 100, 3);
  store.commit(one_tensor(first));
  store.commit(one_tensor(second));
  const Snapshot snapshot = store.snapshot("main", {.mode = Mode::private_});
  std::memset(snapshot["w"].mutable_data(), 1, second.size());
  expect_in_every_mode(store, "main", second);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(StitchingTest, ALongHistoryKeepsToItsBudgetsAndReadsBack) {
  Store store = make();
  std::mt19937 random(3);
  Bytes bytes = pattern(4 * mib);
  std::vector<Bytes> versions;
  for (std::size_t i = 0; i < 3 * segments_per_snapshot_max / 2; ++i) {
    bytes = with_run_changed(std::move(bytes), random() % (bytes.size() - 5000), 5000, i);
    store.commit(one_tensor(bytes));
    versions.push_back(bytes);
  }
  for (const std::size_t back : {0u, 1u, 60u, 100u, 191u}) {
    expect_in_every_mode(store, "main~" + std::to_string(back), versions[versions.size() - 1 - back]);
  }
  EXPECT_THAT(damage(), IsEmpty());
  Store::repair(path());
  expect_in_every_mode(open(), "main", bytes);
}

TEST_F(StitchingTest, ManySlotsThatChangeALittleDrawOnFewSegments) {
  Store store = make();
  constexpr std::size_t slots = 2 * segments_per_snapshot_max;
  std::vector<Bytes> contents;
  for (std::size_t i = 0; i < slots; ++i) contents.push_back(pattern(100, i));
  const auto commit = [&] {
    DraftBuilder draft;
    for (std::size_t i = 0; i < slots; ++i) draft.slot(contents[i]).tensor("t" + std::to_string(i));
    return store.commit(draft);
  };
  commit();
  for (std::size_t i = 0; i < slots; ++i) {
    contents[i] = pattern(100, 1000 + i);
    commit();
  }
  const Snapshot snapshot = store.snapshot();
  for (std::size_t i = 0; i < slots; ++i) {
    EXPECT_TRUE(copy_of(snapshot["t" + std::to_string(i)].bytes()) == contents[i]) << i;
  }
  const auto head = Segment::open(segment(slots + 1));
  const auto binding = Binding::open(head->section(format::SectionKind::binding), "head", 0);
  EXPECT_LE(binding.segments().size(), segments_per_snapshot_max + 2);  // itself, and who has the layout
}

TEST_F(StitchingTest, DamageOfAPieceNamesTheSnapshotsThatNeedIt) {
  Store store = make();
  const Bytes first = pattern(4 * mib);
  store.commit(one_tensor(first));
  store.commit(one_tensor(with_run_changed(first, 2 * mib, 1000, 3)));
  testing::flip_byte(segment(1), Segment::open(segment(1))->storages()[0].offset + 5);
  const VerifyReport report = Store::verify(path(), {.read_data = true});
  ASSERT_THAT(report.damage, SizeIs(1));
  EXPECT_THAT(report.damage[0].snapshots, SizeIs(2));
  const Snapshot snapshot = store.snapshot();
  const auto error = testing::error_of([&] { snapshot.read_verified(0, [](auto) {}); });
  EXPECT_THAT(error, testing::IsError(ErrorKind::corrupt, "damaged"));
}

TEST_F(StitchingTest, WhatForgottenSnapshotsLeaveBehindIsWhole) {
  Store store = make();
  Bytes bytes = pattern(8 * mib);
  store.commit(one_tensor(bytes));
  for (const std::uint64_t number : {1u, 2u, 3u}) {
    bytes = with_run_changed(std::move(bytes), number * mib, mib, number);
    store.commit(one_tensor(bytes));
  }
  const Snapshot open_before = store.snapshot("main~3");
  const Bytes oldest = copy_of(open_before["w"].bytes());
  store.forget({.keep = {.last = 1}});
  const GcReport report = store.gc();
  EXPECT_GE(report.freed_bytes, 3 * mib);
  EXPECT_THAT(damage(), IsEmpty());
  expect_in_every_mode(store, "main", bytes);
  EXPECT_TRUE(copy_of(open_before["w"].bytes()) == oldest);
  bytes = with_run_changed(std::move(bytes), 0, 5, 77);
  EXPECT_EQ(store.commit(one_tensor(bytes)).written_bytes, granule);
  expect_in_every_mode(store, "main", bytes);
  Store::repair(path());
  EXPECT_THAT(damage(), IsEmpty());
  expect_in_every_mode(open(), "main", bytes);
}

TEST_F(StitchingTest, ABundleHoldsItWhole) {
  Store store = make();
  const Bytes first = pattern(4 * mib);
  const Bytes second = with_run_changed(first, 2 * mib, 1000, 3);
  store.commit(one_tensor(first));
  store.commit(one_tensor(second));
  store.bundle("main", base() / "one.tenon");
  std::filesystem::remove_all(path());
  expect_in_every_mode(Store::open(base() / "one.tenon"), "main", second);
}

}  // namespace
}  // namespace tenon
