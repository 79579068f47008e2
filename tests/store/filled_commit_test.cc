#include "tenon/filled_commit.h"

#include <sys/stat.h>

#include "tests/store/child.h"
#include "tests/store/store_fixture.h"

namespace tenon::testing {
namespace {

using ::testing::IsEmpty;

constexpr std::uint64_t kib = 1024;
constexpr std::uint64_t mib = 1 << 20;

class FilledCommitTest : public StoreTest {
 protected:
  static void fill(std::span<std::byte> memory, const Bytes& bytes) {
    ASSERT_EQ(memory.size(), bytes.size());
    std::memcpy(memory.data(), bytes.data(), bytes.size());
  }
  static void add(FilledCommit& filling, const std::string& name, const Bytes& bytes) {
    fill(filling.allocate(name, DType::uint8, {static_cast<std::int64_t>(bytes.size())}), bytes);
  }
  static Bytes bytes(const Store& store, std::string_view name) { return copy_of(store.snapshot()[name].bytes()); }

  void expect_zeros_between_storages(std::uint64_t sequence) const {
    const auto opened = Segment::open(segment(sequence));
    std::uint64_t at = sizeof(format::SegmentHeader);
    for (const format::StorageEntry& entry : opened->storages()) {
      for (; at < entry.offset; ++at) ASSERT_EQ(opened->data()[at], std::byte{0}) << at;
      at = entry.offset + entry.nbytes;
    }
  }

  std::uint64_t disk_bytes(std::uint64_t sequence) const {
    struct stat status {};
    ::stat(segment(sequence).c_str(), &status);
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
};

TEST_F(FilledCommitTest, WhatWasWrittenIntoTheMemoryIsTheSnapshot) {
  Store store = make();
  FilledCommit filling(store);
  std::vector<Bytes> contents;
  for (const std::uint64_t size : {std::uint64_t{3}, 5 * kib, 2 * mib, std::uint64_t{100}, 20 * mib}) {
    contents.push_back(pattern(size, size));
    add(filling, "t" + std::to_string(contents.size() - 1), contents.back());
  }
  const auto floats = filling.allocate("floats", DType::float32, {2, 3});
  const std::vector<float> values{1, 2, 3, 4, 5, -6};
  fill(floats, bytes_of(values));
  EXPECT_EQ(filling.allocate("none", DType::float32, {0, 7}).size(), 0u);
  Draft head;
  head.message = "filled";
  const CommitResult result = filling.commit(head);
  EXPECT_EQ(result.written_bytes, 3 + 5 * kib + 22 * mib + 100 + 24);

  const Snapshot snapshot = store.snapshot();
  for (std::size_t i = 0; i < contents.size(); ++i) {
    EXPECT_EQ(copy_of(snapshot["t" + std::to_string(i)].bytes()), contents[i]) << i;
  }
  EXPECT_EQ((snapshot["floats"].accessor<float, 2>()(1, 2)), -6);
  const auto statistics = snapshot.statistics(*snapshot.find("floats"));
  ASSERT_TRUE(statistics);
  EXPECT_EQ(statistics->min, -6);
  EXPECT_EQ(snapshot.info().message, "filled");
  EXPECT_LT(disk_bytes(1), 23 * mib);  // what was left of chunks is given back
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(FilledCommitTest, MemoryIsZeroedAndAligned) {
  Store store = make();
  FilledCommit filling(store);
  for (const auto& [size, alignment] : {std::pair<std::int64_t, std::uintptr_t>{5, 64}, {4096, 4096}, {mib, 4096}}) {
    const auto memory = filling.allocate("t" + std::to_string(size), DType::uint8, {size});
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.data()) % alignment, 0u) << size;
    EXPECT_EQ(copy_of(memory), Bytes(static_cast<std::size_t>(size)));
  }
  filling.commit();
  EXPECT_EQ(bytes(store, "t5"), Bytes(5));
}

TEST_F(FilledCommitTest, WhatTheParentHasIsGivenBack) {
  Store store = make();
  Bytes large = pattern(4 * mib, 1);
  store.commit(DraftBuilder{}
                   .slot(large)
                   .tensor("large")
                   .slot(pattern(mib, 2))
                   .tensor("same")
                   .slot(pattern(100, 4))
                   .tensor("small"));
  large[3 * mib] ^= std::byte{1};
  FilledCommit filling(store);
  add(filling, "large", large);
  add(filling, "same", pattern(mib, 2));
  add(filling, "small", pattern(100, 4));
  add(filling, "new", pattern(100 * kib, 3));
  EXPECT_EQ(filling.commit().written_bytes, leaf_bytes + 100 * kib);
  expect_zeros_between_storages(2);
  EXPECT_LT(disk_bytes(2), leaf_bytes + 100 * kib + 64 * kib);
  EXPECT_EQ(bytes(store, "large"), large);
  EXPECT_EQ(bytes(store, "same"), pattern(mib, 2));
  EXPECT_EQ(bytes(store, "new"), pattern(100 * kib, 3));
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(FilledCommitTest, EqualTensorsAreStoredOnceAndStayTensors) {
  Store store = make();
  FilledCommit filling(store);
  for (const char* name : {"a", "b"}) add(filling, name, pattern(2 * mib, 1));
  EXPECT_EQ(filling.commit().written_bytes, 2 * mib);
  EXPECT_LT(disk_bytes(1), 3 * mib);
  const Snapshot snapshot = store.snapshot();
  EXPECT_NE(snapshot.row(0).slot, snapshot.row(1).slot);
  EXPECT_EQ(bytes(store, "b"), pattern(2 * mib, 1));
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(FilledCommitTest, GivenUpNothingRemains) {
  Store store = make();
  {
    FilledCommit filling(store);
    add(filling, "w", pattern(mib));
  }
  EXPECT_THAT(list_directory(segments()), IsEmpty());
  EXPECT_THAT(store.refs(), IsEmpty());
}

TEST_F(FilledCommitTest, AKillLeavesTheOldState) {
  Store store = make();
  store.commit(one_tensor(pattern(100)));
  EXPECT_EQ(run_in_child([&] {
              ::setenv("TENON_FAILPOINT", "filled_commit.before_lock:kill", 1);
              Store mine = open();
              FilledCommit filling(mine);
              add(filling, "w", pattern(mib));
              filling.commit();
              return 0;
            }),
            (Outcome{0, SIGKILL}));
  EXPECT_EQ(bytes(open(), "w"), pattern(100));
  store.commit(one_tensor(pattern(200)));
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(FilledCommitTest, WhatGcTookMeanwhileIsWrittenAfterAll) {
  Store store = make();
  const Bytes same = pattern(300 * kib, 1);
  Bytes changed = pattern(4 * mib, 2);
  DraftBuilder old;
  old.slot(same).tensor("same").slot(changed).tensor("changed");
  const SnapshotId before = store.commit(old).id;
  const SnapshotId other = store.commit(one_tensor(pattern(100)), {.ref = "other"}).id;
  changed[2 * mib] ^= std::byte{1};
  Child committer([&] {
    ::setenv("TENON_FAILPOINT", ("filled_commit.before_lock:" + base().string()).c_str(), 1);
    Store mine = open();
    FilledCommit filling(mine);
    add(filling, "same", same);
    add(filling, "changed", changed);
    add(filling, "new", pattern(5 * kib, 3));
    add(filling, "again", pattern(5 * kib, 3));
    filling.commit();
    return 0;
  });
  wait_for("filled_commit.before_lock");
  store.set_ref("main", other);
  ASSERT_EQ(store.forget({.snapshots = {before}}).forgotten, 1u);
  ASSERT_EQ(store.gc().segments_removed, 1u);
  let_go("filled_commit.before_lock");
  EXPECT_EQ(committer.wait(), succeeded);
  EXPECT_EQ(bytes(store, "same"), same);
  EXPECT_EQ(bytes(store, "changed"), changed);
  EXPECT_EQ(bytes(store, "new"), pattern(5 * kib, 3));
  EXPECT_EQ(bytes(store, "again"), pattern(5 * kib, 3));
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(FilledCommitTest, AChildThatEndsItsCopyTakesNothingAway) {
  Store store = make();
  auto filling = std::make_unique<FilledCommit>(store);
  add(*filling, "w", pattern(mib));
  EXPECT_EQ(run_in_child([&] {
              filling.reset();
              return 0;
            }),
            succeeded);
  filling->commit();
  EXPECT_EQ(bytes(store, "w"), pattern(mib));
}

// Or a child could write into what its parent has finished.
TEST_F(FilledCommitTest, AChildDoesNotInheritTheMemory) {
  Store store = make();
  FilledCommit filling(store);
  const auto memory = filling.allocate("w", DType::uint8, {100});
  EXPECT_EQ(run_in_child([&] {
              silence_errors();
              memory[0] = std::byte{1};
              return 0;
            }),
            (Outcome{0, SIGSEGV}));
}

TEST_F(FilledCommitTest, WhatCannotBeIsRefused) {
  Store store = make();
  FilledCommit filling(store);
  filling.allocate("w", DType::uint8, {1});
  const auto refusal = [&](const std::string& name, DType dtype, std::vector<std::int64_t> shape) {
    return error_of([&] { filling.allocate(name, dtype, shape); });
  };
  EXPECT_THAT(refusal("w", DType::uint8, {1}), IsError(ErrorKind::invalid_argument, "there twice"));
  EXPECT_THAT(refusal("a", DType::uint8, {-1}), IsError(ErrorKind::invalid_argument, "negative"));
  EXPECT_THAT(refusal("a", DType::float32, {INT64_MAX, INT64_MAX}),
              IsError(ErrorKind::invalid_argument, "larger than"));
  EXPECT_THAT(refusal("a", DType::float64, {std::int64_t{1} << 46}),
              IsError(ErrorKind::invalid_argument, "larger than"));
  EXPECT_THAT(refusal("a", static_cast<DType>(200), {1}), IsError(ErrorKind::invalid_argument, "element type"));
  EXPECT_THAT(refusal("a", DType::uint8, std::vector<std::int64_t>(65, 1)),
              IsError(ErrorKind::invalid_argument, "64 dimensions"));
  filling.commit();
  EXPECT_THAT(error_of([&] { filling.allocate("b", DType::uint8, {1}); }),
              IsError(ErrorKind::invalid_argument, "is over"));
  EXPECT_THAT(error_of([&] { filling.commit(); }), IsError(ErrorKind::invalid_argument, "is over"));
}

TEST_F(FilledCommitTest, AFullDiskIsAnErrorAndNoSignal) {
  Store store = make();
  EXPECT_EQ(run_in_child([&] {
              ::signal(SIGXFSZ, SIG_IGN);
              const rlimit limit{8 * mib, 8 * mib};
              ::setrlimit(RLIMIT_FSIZE, &limit);
              Store mine = open();
              FilledCommit filling(mine);
              const auto error = error_of([&] { filling.allocate("w", DType::uint8, {std::int64_t{64} << 20}); });
              return error && error->kind() == ErrorKind::full ? 0 : 1;
            }),
            succeeded);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(FilledCommitTest, DurableStoresDoAlike) {
  Store store = Store::init(path());
  FilledCommit filling(store, {.ref = "other", .statistics = false});
  add(filling, "w", pattern(mib));
  filling.commit();
  EXPECT_EQ(copy_of(store.snapshot("other")["w"].bytes()), pattern(mib));
  EXPECT_THAT(damage(), IsEmpty());
}

}  // namespace
}  // namespace tenon::testing
