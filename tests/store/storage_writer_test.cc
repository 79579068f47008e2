#include "store/storage_writer.h"

#include <atomic>
#include <limits>

#include "tests/store/store_fixture.h"

namespace tenon {
namespace {

using testing::Bytes;
using testing::bytes_of;
using testing::copy_of;
using testing::DraftBuilder;
using testing::error_of;
using ::testing::IsEmpty;
using testing::IsError;
using testing::pattern;

TensorDraft tensor_of(DType dtype, std::vector<std::int64_t> shape, std::vector<std::int64_t> stride,
                      std::uint64_t offset_bytes = 0) {
  return {.name = "t",
          .dtype = dtype,
          .slot = 0,
          .storage_offset_bytes = offset_bytes,
          .shape = std::move(shape),
          .stride = std::move(stride)};
}

struct Dense {
  const char* what;
  TensorDraft tensor;
  std::uint64_t begin, end;
};

TEST(DenseRangeTest, CoversTensorsThatFillARangeInWhateverOrder) {
  const Dense all[] = {
      {"contiguous", tensor_of(DType::float32, {2, 3}, {3, 1}, 8), 8, 32},
      {"transposed", tensor_of(DType::float32, {3, 2}, {1, 3}), 0, 24},
      {"permuted", tensor_of(DType::int16, {4, 2, 3}, {1, 12, 4}), 0, 48},
      {"0-d", tensor_of(DType::float64, {}, {}, 16), 16, 24},
      {"stride of a dimension of one element", tensor_of(DType::uint8, {1, 5}, {999, 1}), 0, 5},
      {"expanded dimension of one element", tensor_of(DType::uint8, {1, 5}, {0, 1}), 0, 5},
      {"complex", tensor_of(DType::complex64, {3}, {1}, 8), 8, 32},
      {"no elements", tensor_of(DType::float32, {0, 3}, {3, 1}, 4), 4, 4},
  };
  for (const Dense& dense : all) {
    const auto range = dense_range(dense.tensor, 7);
    ASSERT_TRUE(range) << dense.what;
    EXPECT_EQ(range->row, 7u) << dense.what;
    EXPECT_EQ(range->dtype, dense.tensor.dtype) << dense.what;
    EXPECT_EQ(range->begin, dense.begin) << dense.what;
    EXPECT_EQ(range->end, dense.end) << dense.what;
  }
}

TEST(DenseRangeTest, LeavesOutTheOthers) {
  const std::pair<const char*, TensorDraft> all[] = {
      {"every second", tensor_of(DType::float32, {3}, {2})},
      {"part of each row", tensor_of(DType::float32, {2, 2}, {3, 1})},
      {"expanded", tensor_of(DType::float32, {4, 3}, {0, 1})},
      {"overlapping windows", tensor_of(DType::float32, {3, 2}, {1, 1})},
      {"not on a multiple of its size", tensor_of(DType::float32, {3}, {1}, 2)},
      {"quantized", tensor_of(DType::qint8, {3}, {1})},
      {"bits", tensor_of(DType::bits8, {3}, {1})},
  };
  for (const auto& [what, tensor] : all) EXPECT_EQ(dense_range(tensor, 0), std::nullopt) << what;
}

class WriteStoragesTest : public ::testing::Test {
 protected:
  // All slots of the draft, each with the dense ranges of its tensors.
  void write(const Draft& draft) {
    std::vector<StorageToWrite> to_write;
    for (std::uint32_t slot = 0; slot < draft.slots.size(); ++slot) {
      to_write.push_back({slot, 1000 + slot, {{0, draft.slots[slot].nbytes}}});
    }
    for (std::uint32_t row = 0; row < draft.tensors.size(); ++row) {
      if (const auto range = dense_range(draft.tensors[row], row))
        to_write[draft.tensors[row].slot].ranges.push_back(*range);
    }
    statistics_.resize(draft.tensors.size());
    written_ = write_storages(draft, to_write, writer_, statistics_, [this](std::uint64_t n) { progress_ += n; });
  }
  Bytes stored(std::size_t index) const {
    const format::StorageEntry& entry = written_.storages[index];
    return copy_of(writer_.map_written().bytes().subspan(entry.offset, entry.nbytes));
  }
  // What every storage must be, whatever it holds.
  void expect_whole(const Draft& draft) const {
    ASSERT_EQ(written_.storages.size(), draft.slots.size());
    std::uint64_t end = 0;
    for (std::size_t i = 0; i < written_.storages.size(); ++i) {
      const format::StorageEntry& entry = written_.storages[i];
      const Bytes bytes = stored(i);
      EXPECT_EQ(entry.nbytes, draft.slots[i].nbytes) << i;
      EXPECT_EQ(entry.sketch, 1000 + i);
      EXPECT_EQ(entry.offset, aligned_storage_offset(entry.offset, entry.nbytes)) << i;
      EXPECT_GE(entry.offset, end) << i;
      EXPECT_EQ(entry.key, digest_storage(bytes)) << i;
      if (entry.nbytes > leaf_bytes) {
        ASSERT_LE(entry.first_leaf + leaf_count(entry.nbytes), written_.leaves.size()) << i;
        const auto leaves = std::span(written_.leaves).subspan(entry.first_leaf, leaf_count(entry.nbytes));
        EXPECT_EQ(combine_leaves(leaves, entry.nbytes), entry.key) << i;
      }
      end = entry.offset + entry.nbytes;
    }
  }

  testing::TemporaryDirectory directory_;
  SegmentWriter writer_{directory_.path(), {1, 2}};
  WrittenStorages written_;
  std::vector<std::optional<Statistics>> statistics_;
  std::atomic<std::uint64_t> progress_ = 0;
};

TEST_F(WriteStoragesTest, StoragesOfAllSizesAreStoredAndDigested) {
  DraftBuilder draft;
  const std::uint64_t sizes[] = {1,       63,  64,     4095, 4096, leaf_bytes, leaf_bytes + 1, (2 << 20) - 1,
                                 5 << 20, 100, 1 << 20};
  for (const std::uint64_t size : sizes) draft.slot(pattern(size, size));
  write(draft);
  expect_whole(draft);
  for (std::size_t i = 0; i < std::size(sizes); ++i) EXPECT_EQ(stored(i), pattern(sizes[i], sizes[i])) << sizes[i];
}

TEST_F(WriteStoragesTest, ManySmallStoragesArePackedSideBySide) {
  DraftBuilder draft;
  for (std::uint64_t i = 0; i < 3000; ++i) draft.slot(pattern(i % 130 + 1, i));
  write(draft);
  expect_whole(draft);
  for (std::uint64_t i = 0; i < 3000; ++i) ASSERT_EQ(stored(i), pattern(i % 130 + 1, i)) << i;
  EXPECT_THAT(written_.leaves, IsEmpty());
}

TEST_F(WriteStoragesTest, NothingToWriteIsNoError) {
  write(Draft{});
  EXPECT_THAT(written_.storages, IsEmpty());
}

TEST_F(WriteStoragesTest, SourcesMayBeReaders) {
  const Bytes bytes = pattern(3 << 20);
  DraftBuilder draft;
  draft.slot(bytes.size(), [&](std::uint64_t offset, std::span<std::byte> out) {
    std::memcpy(out.data(), bytes.data() + offset, out.size());
  });
  write(draft);
  expect_whole(draft);
  EXPECT_EQ(stored(0), bytes);
}

// A file that somebody writes to meanwhile: whatever is stored is what was digested.
TEST_F(WriteStoragesTest, SourceThatChangesBetweenReadsIsStoredAsDigested) {
  std::atomic<std::uint64_t> reads = 0;
  DraftBuilder draft;
  draft.slot(3 << 20, [&](std::uint64_t, std::span<std::byte> out) {
    const Bytes bytes = pattern(out.size(), ++reads);
    std::memcpy(out.data(), bytes.data(), out.size());
  });
  write(draft);
  EXPECT_GE(reads, 1u);
  expect_whole(draft);
}

TEST_F(WriteStoragesTest, FailureOfAReaderIsTheCallersToSee) {
  DraftBuilder draft;
  for (int i = 0; i < 20; ++i) draft.slot(pattern(2 << 20));
  draft.slot(100,
             [](std::uint64_t, std::span<std::byte>) { throw Error(ErrorKind::io, {.what = "the device is gone"}); });
  EXPECT_THAT(error_of([&] { write(draft); }), IsError(ErrorKind::io, "the device is gone"));
}

TEST_F(WriteStoragesTest, StatisticsAreThoseOfTheTensorsWhereverLeavesAndRunsEnd) {
  std::vector<float> values((5 << 20) / sizeof(float));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 1000) - 500;
  const auto size = static_cast<std::int64_t>(values.size());
  DraftBuilder draft;
  draft.slot(bytes_of(values))
      .tensor("all", DType::float32, {size})
      .tensor("middle", DType::float32, {size / 3}, {.offset_bytes = 65532})
      .tensor("one", DType::float32, {}, {.offset_bytes = 2 << 20})
      .tensor("none", DType::float32, {0});
  write(draft);
  for (std::uint32_t row = 0; row < 4; ++row) {
    const TensorDraft& t = draft.draft().tensors[row];
    const auto* first = draft.draft().slots[0].source.memory.data() + t.storage_offset_bytes;
    const Statistics wanted = strided_statistics(t.dtype, first, t.shape, t.stride);
    ASSERT_TRUE(statistics_[row]) << t.name;
    EXPECT_EQ(statistics_[row]->zero_count, wanted.zero_count) << t.name;
    EXPECT_EQ(statistics_[row]->min, wanted.min) << t.name;
    EXPECT_EQ(statistics_[row]->max, wanted.max) << t.name;
    EXPECT_EQ(statistics_[row]->sum, wanted.sum) << t.name;  // of small integers: exact in any order
    EXPECT_NEAR(statistics_[row]->squared_deviations, wanted.squared_deviations, 1e-12 * wanted.squared_deviations)
        << t.name;
  }
  EXPECT_EQ(statistics_[0]->min, -500);
  EXPECT_EQ(statistics_[0]->max, 499);
}

TEST_F(WriteStoragesTest, SeveralDtypesOverOneStorageAreCountedEachAsItsOwn) {
  DraftBuilder draft;
  draft.slot(bytes_of<float>({1.0f, -2.0f, 0.0f, std::numeric_limits<float>::quiet_NaN()}))
      .tensor("floats", DType::float32, {4})
      .tensor("words", DType::int32, {4})
      .slot(bytes_of<std::int8_t>({-3, 5}))
      .tensor("small", DType::int8, {2});
  write(draft);
  EXPECT_EQ(statistics_[0]->nan_count, 1u);
  EXPECT_EQ(statistics_[0]->zero_count, 1u);
  EXPECT_EQ(statistics_[0]->min, -2);
  EXPECT_EQ(statistics_[1]->nan_count, 0u);
  EXPECT_EQ(statistics_[1]->max, 0x7FC00000);
  EXPECT_EQ(statistics_[2]->sum, 2);
}

TEST_F(WriteStoragesTest, ProgressCoversAllBytes) {
  DraftBuilder draft;
  draft.slot(pattern(100)).slot(pattern(3 << 20));
  write(draft);
  EXPECT_GE(progress_, 100u + (3 << 20));
}

}  // namespace
}  // namespace tenon
