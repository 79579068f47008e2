#include "store/loaded_memory.h"

#include <sys/mman.h>

#include "mmap/page_state.h"
#include "tenon/snapshot_draft.h"
#include "tests/store/child.h"
#include "tests/store/store_fixture.h"

namespace tenon::testing {
namespace {

using ::testing::IsEmpty;

constexpr std::uint64_t mib = 1 << 20;

class LoadedMemoryTest : public StoreTest, public ::testing::WithParamInterface<PageStateMeans> {
 protected:
  void SetUp() override {
    if (page_state_means(GetParam()) != GetParam()) GTEST_SKIP() << "this kernel has not got it";
    limit_page_state_means(GetParam());
  }
  void TearDown() override { limit_page_state_means(PageStateMeans::scan); }

  bool can_tell() const { return GetParam() != PageStateMeans::none; }

  static DraftBuilder model() {
    DraftBuilder draft;
    draft.slot(pattern(4 * mib, 1)).tensor("large");
    draft.slot(pattern(200'000, 2)).tensor("medium");
    for (std::uint64_t i = 0; i < 8; ++i) draft.slot(pattern(300, 3 + i)).tensor("small." + std::to_string(i));
    return draft;
  }

  static Snapshot load(const Store& store, std::string_view rev = "main") {
    return store.snapshot(rev, {.mode = Mode::private_});
  }

  static Bytes bytes(const Store& store, std::string_view name, std::string_view rev = "main") {
    return copy_of(store.snapshot(rev)[name].bytes());
  }

  // What every tensor of the loaded snapshot is now, the store says at `rev`.
  static void expect_stored(const Store& store, const Snapshot& loaded, std::string_view rev = "main") {
    const Snapshot stored = store.snapshot(rev);
    for (std::uint32_t i = 0; i < loaded.size(); ++i) {
      EXPECT_EQ(copy_of(stored.view(i).bytes()), copy_of(loaded.view(i).bytes())) << loaded.row(i).name;
    }
  }
};

std::byte& byte_of(const Snapshot& snapshot, std::string_view name, std::uint64_t at = 0) {
  return snapshot[name].mutable_data()[at];
}

// Whoever reads there dies.
void forbid_reading(const Snapshot& snapshot, std::string_view name) {
  const auto storage = snapshot[name].storage();
  const auto begin = reinterpret_cast<std::uintptr_t>(storage.data()) / page_bytes() * page_bytes();
  const auto end = reinterpret_cast<std::uintptr_t>(storage.data()) + storage.size();
  if (::mprotect(reinterpret_cast<void*>(begin), end - begin, PROT_NONE) != 0) throw std::runtime_error("mprotect");
}

TEST_P(LoadedMemoryTest, WhatWasNotTouchedIsNotRead) {
  make().commit(model());
  const Outcome outcome = run_in_child([&] {
    silence_errors();
    Store store = open();
    const Snapshot loaded = load(store);
    for (const char* name : {"large", "medium", "small.0"}) forbid_reading(loaded, name);
    const CommitResult result = store.commit(make_draft(loaded));
    return result.written_bytes == 0 && result.reused_storages == 10 ? 0 : 1;
  });
  EXPECT_EQ(outcome, can_tell() ? succeeded : (Outcome{0, SIGSEGV}));
  EXPECT_EQ(bytes(open(), "large"), pattern(4 * mib, 1));
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_P(LoadedMemoryTest, OfATouchedTensorTheWrittenGranulesAreRead) {
  make().commit(model());
  const Outcome outcome = run_in_child([&] {
    silence_errors();
    Store store = open();
    const Snapshot loaded = load(store);
    byte_of(loaded, "large", mib + 5) = std::byte{99};
    const auto begin = loaded["large"].mutable_data();
    if (::mprotect(begin, mib, PROT_NONE) != 0) return 2;
    if (::mprotect(begin + mib + leaf_bytes, 3 * mib - leaf_bytes, PROT_NONE) != 0) return 3;
    const CommitResult result = store.commit(make_draft(loaded), {.statistics = false});
    return result.written_bytes == leaf_bytes ? 0 : 1;
  });
  EXPECT_EQ(outcome, can_tell() ? succeeded : (Outcome{0, SIGSEGV}));
  if (!can_tell()) return;
  Bytes wanted = pattern(4 * mib, 1);
  wanted[mib + 5] = std::byte{99};
  EXPECT_EQ(bytes(open(), "large"), wanted);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_P(LoadedMemoryTest, WritesComeIntoTheNextCommit) {
  Store store = make();
  store.commit(model());
  const Snapshot loaded = load(store);
  byte_of(loaded, "large", 3 * mib) = std::byte{99};
  byte_of(loaded, "medium", 199'999) = std::byte{98};
  byte_of(loaded, "small.3", 299) = std::byte{97};
  const CommitResult result = store.commit(make_draft(loaded));
  EXPECT_EQ(result.written_bytes, leaf_bytes + 200'000 + 300);
  expect_stored(store, loaded);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_P(LoadedMemoryTest, StatisticsAreThoseOfAllBytes) {
  Store store = make();
  std::vector<float> values(mib, 1.0f);
  values[0] = -5;
  store.commit(DraftBuilder{}.slot(bytes_of(values)).tensor("w", DType::float32, {static_cast<std::int64_t>(mib)}));
  const Snapshot loaded = load(store);
  reinterpret_cast<float*>(loaded["w"].mutable_data())[mib / 2] = 7;
  store.commit(make_draft(loaded));
  const auto statistics = store.snapshot().statistics(0);
  ASSERT_TRUE(statistics);
  EXPECT_EQ(statistics->min, -5);
  EXPECT_EQ(statistics->max, 7);
}

TEST_P(LoadedMemoryTest, CommitAfterCommitWritesWhatIsNew) {
  Store store = make();
  store.commit(model());
  const Snapshot loaded = load(store);
  for (std::uint64_t i = 0; i < 4; ++i) {
    byte_of(loaded, "large", i * mib) = std::byte{99};
    EXPECT_EQ(store.commit(make_draft(loaded)).written_bytes, leaf_bytes) << i;
    expect_stored(store, loaded);
  }
  EXPECT_EQ(store.commit(make_draft(loaded)).written_bytes, 0u);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_P(LoadedMemoryTest, WhatIsStitchedIsRecognised) {
  Store store = make();
  store.commit(model());
  Bytes changed = pattern(4 * mib, 1);
  changed[2 * mib] ^= std::byte{1};
  store.commit(DraftBuilder{}.slot(changed).tensor("large"));
  const Snapshot loaded = load(store);
  byte_of(loaded, "large", mib) = std::byte{99};
  EXPECT_EQ(store.commit(make_draft(loaded)).written_bytes, leaf_bytes);
  expect_stored(store, loaded);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_P(LoadedMemoryTest, AnotherRefIsCommittedToWithoutWriting) {
  Store store = make();
  store.commit(model());
  const Snapshot loaded = load(store);
  byte_of(loaded, "large", 0) = std::byte{99};
  const CommitResult result = store.commit(make_draft(loaded), {.ref = "fork"});
  EXPECT_EQ(result.written_bytes, can_tell() ? leaf_bytes : 4 * mib);
  expect_stored(store, loaded, "fork");
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_P(LoadedMemoryTest, AnOlderSnapshotCommittedOverANewerOneIsTheOlderOne) {
  Store store = make();
  store.commit(model());
  const Snapshot loaded = load(store);
  store.commit(DraftBuilder{}.slot(pattern(4 * mib, 77)).tensor("large").slot(pattern(200'000, 2)).tensor("medium"));
  store.commit(make_draft(loaded));
  expect_stored(store, loaded);
  EXPECT_EQ(bytes(store, "large"), pattern(4 * mib, 1));
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_P(LoadedMemoryTest, OtherNamesAreOtherTensors) {
  Store store = make();
  store.commit(model());
  const Snapshot loaded = load(store);
  Draft draft = make_draft(loaded);
  std::swap(draft.tensors[2].name, draft.tensors[3].name);
  store.commit(draft);
  EXPECT_EQ(bytes(store, "small.0"), pattern(300, 4));
  EXPECT_EQ(bytes(store, "small.1"), pattern(300, 3));
}

TEST_P(LoadedMemoryTest, DroppedWritesAreNotCommitted) {
  Store store = make();
  store.commit(model());
  const Snapshot loaded = load(store);
  byte_of(loaded, "large", mib) = std::byte{99};
  ASSERT_EQ(::madvise(loaded["large"].mutable_data() + mib, page_bytes(), MADV_DONTNEED), 0);
  EXPECT_EQ(store.commit(make_draft(loaded)).written_bytes, 0u);
  EXPECT_EQ(bytes(store, "large"), pattern(4 * mib, 1));
}

TEST_P(LoadedMemoryTest, AChildCommitsWhatItsParentLoadedAndBothWrote) {
  Store store = make();
  store.commit(model());
  const Snapshot loaded = load(store);
  byte_of(loaded, "large", 0) = std::byte{99};
  EXPECT_EQ(run_in_child([&] {
              byte_of(loaded, "large", 2 * mib) = std::byte{98};
              Store mine = open();
              return mine.commit(make_draft(loaded)).written_bytes == 2 * leaf_bytes ? 0 : 1;
            }),
            succeeded);
  Bytes wanted = pattern(4 * mib, 1);
  wanted[0] = std::byte{99};
  wanted[2 * mib] = std::byte{98};
  EXPECT_EQ(bytes(store, "large"), wanted);
  // Here the child's write never happened.
  EXPECT_EQ(store.commit(make_draft(loaded)).written_bytes, leaf_bytes);
  expect_stored(store, loaded);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_P(LoadedMemoryTest, MemoryThatAChildDidNotInheritIsWhatTheChildHasThere) {
  Store store = make();
  store.commit(DraftBuilder{}.slot(pattern(4 * mib, 1)).tensor("w"));
  const Snapshot loaded = load(store);
  std::byte* const data = loaded["w"].mutable_data();
  ASSERT_EQ(::madvise(data, 4 * mib, MADV_DONTFORK), 0);
  EXPECT_EQ(run_in_child([&] {
              void* const other = ::mmap(data, 4 * mib, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
              if (other != data) return 2;
              Store mine = open();
              mine.commit(make_draft(loaded));
              return 0;
            }),
            succeeded);
  EXPECT_EQ(bytes(store, "w"), Bytes(4 * mib));
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_P(LoadedMemoryTest, NeighboursInOnePageAreToldApart) {
  Store store = make();
  store.commit(model());
  const Snapshot loaded = load(store);
  byte_of(loaded, "small.4", 0) = std::byte{99};
  EXPECT_EQ(store.commit(make_draft(loaded)).written_bytes, 300u);
  expect_stored(store, loaded);
}

TEST_P(LoadedMemoryTest, SlotsOfEqualContentAreToldApart) {
  Store store = make();
  DraftBuilder twins;
  for (const char* name : {"a", "b"}) twins.slot(pattern(2 * mib, 1)).tensor(name);
  for (const char* name : {"c", "d"}) twins.slot(pattern(100, 2)).tensor(name);
  store.commit(twins);
  for (const char* name : {"a", "b", "c", "d"}) {
    const Snapshot loaded = load(store);
    byte_of(loaded, name, 50) ^= std::byte{1};
    store.commit(make_draft(loaded));
    expect_stored(store, loaded);
  }
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_P(LoadedMemoryTest, MemoryOfASnapshotThatIsGoneIsReadLikeAnyOther) {
  Store store = make();
  store.commit(model());
  const Snapshot loaded = load(store);
  store.commit(DraftBuilder{}.slot(pattern(100, 77)).tensor("other"));
  store.forget({.keep = {.last = 1}});
  store.gc();
  EXPECT_EQ(store.commit(make_draft(loaded)).written_bytes, 4 * mib + 200'000 + 8 * 300);
  expect_stored(store, loaded);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_P(LoadedMemoryTest, ThinnedSegmentsGiveWhatTheyStillHave) {
  Store store = make();
  store.commit(model());
  const Snapshot loaded = load(store);
  store.commit(DraftBuilder{}.slot(pattern(200'000, 2)).tensor("medium"));
  store.forget({.keep = {.last = 1}});
  store.gc();
  EXPECT_EQ(store.commit(make_draft(loaded)).written_bytes, 4 * mib + 8 * 300);
  expect_stored(store, loaded);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_P(LoadedMemoryTest, AnotherStoresMemoryIsWritten) {
  Store store = make();
  store.commit(model());
  const Snapshot loaded = load(store);
  Store other = Store::init(base() / "other.tenon", {.durability = Durability::relaxed});
  EXPECT_EQ(other.commit(make_draft(loaded)).written_bytes, 4 * mib + 200'000 + 8 * 300);
  expect_stored(other, loaded);
  EXPECT_THAT(damage_of(base() / "other.tenon"), IsEmpty());
}

TEST_P(LoadedMemoryTest, ACloneHasTheSameBytesAtTheSamePlaces) {
  Store store = make();
  store.commit(model());
  const Snapshot loaded = load(store);
  store.clone(base() / "clone.tenon");
  Store clone = Store::open(base() / "clone.tenon");
  byte_of(loaded, "large", mib) = std::byte{99};
  EXPECT_EQ(clone.commit(make_draft(loaded)).written_bytes, leaf_bytes);
  expect_stored(clone, loaded);
  EXPECT_THAT(damage_of(base() / "clone.tenon"), IsEmpty());
}

// The snapshot object goes, and its addresses may come back as anything.
TEST_P(LoadedMemoryTest, AClosedSnapshotIsForgotten) {
  Store store = make();
  store.commit(DraftBuilder{}.slot(pattern(4 * mib, 1)).tensor("w"));
  std::byte* data = nullptr;
  {
    const Snapshot loaded = load(store);
    data = loaded["w"].mutable_data();
  }
  void* const other =
      ::mmap(data, 4 * mib, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (other != data) GTEST_SKIP() << "the address was not to be had";
  Draft draft = DraftBuilder{}.slot(Bytes(4 * mib)).tensor("w").draft();
  draft.slots[0].source.memory = {data, 4 * mib};
  store.commit(draft);
  EXPECT_EQ(bytes(store, "w"), Bytes(4 * mib));
  ::munmap(other, 4 * mib);
}

TEST_P(LoadedMemoryTest, SharedMemoryOfTheParentIsTheParents) {
  Store store = make();
  store.commit(model());
  const Snapshot shared = store.snapshot();
  EXPECT_EQ(store.commit(make_draft(shared)).written_bytes, 0u);
  expect_stored(store, shared);
}

INSTANTIATE_TEST_SUITE_P(Means, LoadedMemoryTest,
                         ::testing::Values(PageStateMeans::scan, PageStateMeans::pagemap, PageStateMeans::none),
                         [](const auto& means) {
                           return means.param == PageStateMeans::scan      ? "Scan"
                                  : means.param == PageStateMeans::pagemap ? "Pagemap"
                                                                           : "None";
                         });

}  // namespace
}  // namespace tenon::testing
