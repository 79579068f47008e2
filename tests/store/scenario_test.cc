// What training runs do with a history, and what it may cost them.
#include <sys/stat.h>

#include <random>

#include "tests/store/store_fixture.h"

namespace tenon::testing {
namespace {

using ::testing::IsEmpty;

constexpr std::uint64_t kib = 1024;
constexpr std::uint64_t mib = 1 << 20;
constexpr std::uint64_t granule = 64 * kib;

class ScenarioTest : public StoreTest {
 protected:
  // Of the segments, as the file system counts.
  std::uint64_t disk_bytes() const {
    std::uint64_t bytes = 0;
    for (const std::string& name : list_directory(segments())) {
      struct stat status {};
      ::stat((segments() / name).c_str(), &status);
      bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
    }
    return bytes;
  }

  static void expect_equal(const Snapshot& snapshot, const Draft& wanted) {
    for (const TensorDraft& tensor : wanted.tensors) {
      EXPECT_EQ(copy_of(snapshot[tensor.name].bytes()), copy_of(wanted.slots[tensor.slot].source.memory))
          << tensor.name;
    }
  }
};

TEST_F(ScenarioTest, AFrozenBaseWithATrainedHeadCostsTheHead) {
  Store store = make();
  const auto model = [](std::uint64_t step) {
    DraftBuilder draft;
    for (std::uint64_t i = 0; i < 6; ++i) draft.slot(pattern(mib, i)).tensor("base." + std::to_string(i));
    draft.slot(pattern(200 * kib, 1000 + step)).tensor("head");
    return draft;
  };
  store.commit(model(0));
  const std::uint64_t before = disk_bytes();
  for (std::uint64_t step = 1; step <= 10; ++step) {
    EXPECT_EQ(store.commit(model(step)).written_bytes, 200 * kib) << step;
  }
  EXPECT_LE(disk_bytes() - before, 10 * (200 * kib + 8 * kib));
  for (const std::uint64_t back : {0, 5, 10}) {
    expect_equal(store.snapshot("main~" + std::to_string(back)), model(10 - back));
  }
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(ScenarioTest, AnEmbeddingTableOfWhichOnePercentOfTheRowsChangesInClustersCostsTheClusters) {
  Store store = make();
  constexpr std::uint64_t row_bytes = 4 * kib, rows = 4096, clusters = 2, rows_per_cluster = 20;
  Bytes table = pattern(rows * row_bytes, 1);
  const auto draft = [&] { return DraftBuilder{}.slot(table).tensor("embedding.weight"); };
  store.commit(draft());
  std::mt19937_64 random(7);
  const std::uint64_t before = disk_bytes();
  constexpr std::uint64_t steps = 7;  // later ones join pieces that have become too many, and cost more
  for (std::uint64_t step = 1; step <= steps; ++step) {
    for (std::uint64_t cluster = 0; cluster < clusters; ++cluster) {
      const std::uint64_t at = random() % (rows - rows_per_cluster) * row_bytes;
      const Bytes changed = pattern(rows_per_cluster * row_bytes, step * 100 + cluster);
      std::copy(changed.begin(), changed.end(), table.begin() + static_cast<std::ptrdiff_t>(at));
    }
    // Each cluster is a granule and a quarter long, and so touches three at most.
    EXPECT_LE(store.commit(draft()).written_bytes, clusters * 3 * granule) << step;
  }
  EXPECT_LE(disk_bytes() - before, steps * (clusters * 3 * granule + 12 * kib));
  expect_equal(store.snapshot(), draft());
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(ScenarioTest, AVocabularyGrownBy64RowsCostsThoseRows) {
  Store store = make();
  constexpr std::uint64_t row_bytes = 2 * kib;
  const Bytes grown = pattern((4000 + 64) * row_bytes, 1);
  const Bytes original(grown.begin(), grown.begin() + 4000 * row_bytes);
  const auto draft = [](const Bytes& bytes) {
    const auto rows = static_cast<std::int64_t>(bytes.size() / row_bytes);
    return DraftBuilder{}.slot(bytes).tensor("vocabulary", DType::float32, {rows, row_bytes / 4});
  };
  store.commit(draft(original));
  EXPECT_LE(store.commit(draft(grown)).written_bytes, 64 * row_bytes + granule);
  expect_equal(store.snapshot(), draft(grown));
  expect_equal(store.snapshot("main~1"), draft(original));
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(ScenarioTest, AdaptersOverOneBaseCostTheAdapters) {
  Store store = make();
  const auto model = [](std::uint64_t adapter) {
    DraftBuilder draft;
    for (std::uint64_t i = 0; i < 4; ++i) draft.slot(pattern(mib, i)).tensor("base." + std::to_string(i));
    for (std::uint64_t i = 0; i < 4 && adapter != 0; ++i) {
      draft.slot(pattern(16 * kib, adapter * 100 + i)).tensor("lora." + std::to_string(i));
    }
    return draft;
  };
  store.commit(model(0), {.ref = "base"});
  for (std::uint64_t adapter = 1; adapter <= 8; ++adapter) {
    const std::string ref = "adapter" + std::to_string(adapter);
    EXPECT_EQ(store.commit(model(adapter), {.ref = ref}).written_bytes, 4 * 16 * kib) << ref;
    expect_equal(store.snapshot(ref), model(adapter));
  }
  EXPECT_LE(disk_bytes(), 4 * mib + 8 * (4 * 16 * kib + 20 * kib));
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(ScenarioTest, AnOptimizerStateThatChangesEverywhereCostsItself) {
  Store store = make();
  const auto state = [](std::uint64_t step) {
    DraftBuilder draft;
    for (std::uint64_t i = 0; i < 16; ++i) {
      for (const char* part : {"exp_avg", "exp_avg_sq"}) {
        const std::uint64_t number = step * 1000 + i * 2 + (part[7] == '_' ? 1 : 0);
        draft.slot(pattern(300 * kib, number)).tensor("state/" + std::to_string(i) + "/" + part);
      }
    }
    return draft;
  };
  constexpr std::uint64_t steps = 5;
  for (std::uint64_t step = 0; step < steps; ++step) {
    EXPECT_EQ(store.commit(state(step)).written_bytes, 32 * 300 * kib);
    expect_equal(store.snapshot(), state(step));
  }
  EXPECT_LE(disk_bytes(), steps * 32 * 300 * kib * 102 / 100);
  EXPECT_THAT(damage(), IsEmpty());
}

// A run of a hundred steps in which all of this happens.
TEST_F(ScenarioTest, WhatUsageSaysIsWhatForgettingAndGcGiveBack) {
  Store store = make();
  Bytes table = pattern(4 * mib, 1);
  const auto model = [&](std::uint64_t step) {
    DraftBuilder draft;
    draft.slot(pattern(mib, 7)).tensor("frozen");
    draft.slot(table).tensor("table");
    draft.slot(pattern(100 * kib, step)).tensor("head");
    return draft;
  };
  std::mt19937_64 random(3);
  for (std::uint64_t step = 0; step < 30; ++step) {
    table[random() % table.size()] ^= std::byte{1};
    store.commit(model(step));
  }
  const DiskUsage before = store.du();
  EXPECT_EQ(before.segment_bytes, disk_bytes());
  store.forget({.keep = {.last = 1}});
  const std::uint64_t promised = store.du().reclaimable_bytes;
  EXPECT_GT(promised, 29 * 100 * kib);
  EXPECT_EQ(store.gc().freed_bytes, promised);
  EXPECT_EQ(disk_bytes(), before.segment_bytes - promised);

  const std::uint64_t last = mib + table.size() + 100 * kib;
  EXPECT_LE(disk_bytes(), last * 106 / 100);
  expect_equal(store.snapshot(), model(29));
  EXPECT_THAT(damage(), IsEmpty());
}

}  // namespace
}  // namespace tenon::testing
