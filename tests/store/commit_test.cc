#include "store/commit.h"

#include <atomic>
#include <limits>
#include <set>
#include <thread>

#include "store/catalog.h"
#include "tests/store/child.h"
#include "tests/store/store_fixture.h"

namespace tenon {
namespace {

using format::SectionKind;
using ::testing::AllOf;
using testing::Bytes;
using testing::bytes_of;
using testing::copy_of;
using testing::DraftBuilder;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::Field;
using ::testing::IsEmpty;
using testing::IsError;
using testing::one_tensor;
using testing::pattern;

using CommitTest = testing::StoreTest;

DraftBuilder numbered(std::uint64_t number) { return one_tensor(pattern(5000, number)); }
Bytes content(const Store& store, std::string_view rev, std::string_view name = "w") {
  return copy_of(store.snapshot(rev)[name].bytes());
}

TEST_F(CommitTest, FirstCommitMakesTheRefAndReadsBack) {
  Store store = make();
  DraftBuilder draft = numbered(1);
  draft.draft().step = -7;
  draft.draft().message = "first";
  draft.draft().meta = R"({"loss": 1})";
  draft.draft().structure = pattern(30);
  draft.draft().attachments = {{"code/a.py", pattern(40)}, {"empty", {}}};
  const CommitResult result = store.commit(draft);

  EXPECT_EQ(result.sequence, 1u);
  EXPECT_EQ(result.written_bytes, 5000u);
  EXPECT_EQ(result.written_storages, 1u);
  EXPECT_EQ(result.reused_bytes, 0u);
  const Snapshot snapshot = store.snapshot();
  EXPECT_EQ(snapshot.id(), result.id);
  EXPECT_THAT(snapshot.info().parents, IsEmpty());
  EXPECT_EQ(snapshot.info().step, -7);
  EXPECT_EQ(snapshot.info().message, "first");
  EXPECT_EQ(snapshot.info().meta, R"({"loss": 1})");
  EXPECT_EQ(snapshot.info().nbytes, 5000u);
  EXPECT_EQ(snapshot.info().tensor_count, 1u);
  EXPECT_GT(snapshot.info().created_at_ns, 0);
  EXPECT_EQ(copy_of(snapshot["w"].bytes()), pattern(5000));
  EXPECT_EQ(copy_of(snapshot.structure()), pattern(30));
  const auto attachments = snapshot.attachments();
  ASSERT_EQ(attachments.size(), 2u);
  EXPECT_EQ(attachments[0].name, "code/a.py");
  EXPECT_EQ(copy_of(attachments[0].bytes), pattern(40));
  EXPECT_EQ(attachments[1].name, "empty");
  EXPECT_THAT(attachments[1].bytes, IsEmpty());
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(CommitTest, EmptyDraftIsASnapshot) {
  Store store = make();
  store.commit(Draft{});
  EXPECT_EQ(store.snapshot().size(), 0u);
  EXPECT_THAT(store.snapshot().attachments(), IsEmpty());
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(CommitTest, EachCommitHasTheOneBeforeAsParent) {
  Store store = make();
  const auto first = store.commit(numbered(1));
  const auto second = store.commit(numbered(2));
  const auto branch = store.commit(numbered(3), {.ref = "exp/a"});
  EXPECT_THAT(store.snapshot("main").info().parents, ElementsAre(first.id));
  EXPECT_THAT(store.snapshot("exp/a").info().parents, IsEmpty());
  EXPECT_EQ(second.sequence, 2u);
  EXPECT_EQ(branch.sequence, 3u);
  EXPECT_EQ(content(store, "main~1"), pattern(5000, 1));
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(CommitTest, UnchangedCommitCostsNoDataAndSharesLayoutAndStructure) {
  Store store = make();
  DraftBuilder draft = one_tensor(pattern(1 << 20));
  draft.draft().structure = pattern(100);
  store.commit(draft);
  const CommitResult again = store.commit(draft);
  EXPECT_EQ(again.written_bytes, 0u);
  EXPECT_EQ(again.reused_bytes, 1u << 20);
  EXPECT_EQ(again.reused_storages, 1u);
  const auto file = Segment::open(segment(2));
  EXPECT_FALSE(file->has_section(SectionKind::layout));
  EXPECT_FALSE(file->has_section(SectionKind::structure));
  EXPECT_LT(file->file_bytes(), 4096u);
  EXPECT_EQ(content(store, "main"), pattern(1 << 20));
  EXPECT_EQ(copy_of(store.snapshot().structure()), pattern(100));
}

TEST_F(CommitTest, OnlyWhatChangedIsWritten) {
  Store store = make();
  store.commit(DraftBuilder{}.slot(pattern(5000, 1)).tensor("a").slot(pattern(7000, 2)).tensor("b"));
  const CommitResult result =
      store.commit(DraftBuilder{}.slot(pattern(5000, 1)).tensor("a").slot(pattern(7000, 3)).tensor("b"));
  EXPECT_EQ(result.written_bytes, 7000u);
  EXPECT_EQ(result.reused_bytes, 5000u);
  EXPECT_EQ(content(store, "main", "a"), pattern(5000, 1));
  EXPECT_EQ(content(store, "main", "b"), pattern(7000, 3));
  EXPECT_EQ(content(store, "main~1", "b"), pattern(7000, 2));
}

TEST_F(CommitTest, BytesComeBackFromAnyEarlierCommitOfAnyRef) {
  Store store = make();
  store.commit(numbered(1), {.ref = "a"});
  store.commit(numbered(2), {.ref = "a"});
  const CommitResult result = store.commit(DraftBuilder{}.slot(pattern(5000, 1)).tensor("renamed"), {.ref = "b"});
  EXPECT_EQ(result.written_bytes, 0u);
  EXPECT_EQ(content(store, "b", "renamed"), pattern(5000, 1));
}

TEST_F(CommitTest, EqualSlotsOfOneDraftAreStoredOnceAndStaySlots) {
  Store store = make();
  const Bytes zeros(5000);
  const CommitResult result = store.commit(DraftBuilder{}.slot(zeros).tensor("a").slot(zeros).tensor("b"));
  EXPECT_EQ(result.written_bytes, 5000u);
  EXPECT_EQ(result.reused_bytes, 5000u);
  const Snapshot snapshot = store.snapshot();
  EXPECT_EQ(snapshot.slot_count(), 2u);
  EXPECT_EQ(snapshot.slot(0).key, snapshot.slot(1).key);
}

TEST_F(CommitTest, ExpectedTipGuardsTheRef) {
  Store store = make();
  EXPECT_THAT(error_of([&] {
                store.commit(numbered(1), {.expected_tip = SnapshotId{1, 1}});
              }),
              IsError(ErrorKind::conflict, "no such ref"));
  const auto first = store.commit(numbered(1), {.expected_tip = std::optional<SnapshotId>{}});
  EXPECT_THAT(error_of([&] { store.commit(numbered(2), {.expected_tip = std::optional<SnapshotId>{}}); }),
              IsError(ErrorKind::conflict, to_hex(first.id)));
  const auto second = store.commit(numbered(2), {.expected_tip = first.id});
  EXPECT_THAT(error_of([&] { store.commit(numbered(3), {.expected_tip = first.id}); }),
              IsError(ErrorKind::conflict, "not where it was expected"));
  EXPECT_EQ(store.resolve("main"), second.id);
  EXPECT_EQ(list_directory(segments()).size(), 2u);
}

TEST_F(CommitTest, TagsDoNotMove) {
  Store store = make();
  store.create_tag("v1", store.commit(numbered(1)).id);
  EXPECT_THAT(error_of([&] { store.commit(numbered(2), {.ref = "v1"}); }), IsError(ErrorKind::conflict, "is a tag"));
  EXPECT_EQ(content(store, "v1"), pattern(5000, 1));
}

TEST_F(CommitTest, BadNamesAndDraftsAreRefusedBeforeAnythingIsWritten) {
  Store store = make();
  EXPECT_THAT(error_of([&] { store.commit(numbered(1), {.ref = "../x"}); }),
              IsError(ErrorKind::invalid_argument, "not a ref name"));
  DraftBuilder outside = numbered(1);
  outside.draft().tensors[0].storage_offset_bytes = 1;
  EXPECT_THAT(error_of([&] { store.commit(outside); }), IsError(ErrorKind::invalid_argument, "outside its storage"));
  EXPECT_THAT(list_directory(segments()), IsEmpty());
  EXPECT_THAT(store.refs(), IsEmpty());
}

TEST_F(CommitTest, FailingSourceLeavesTheOldState) {
  Store store = make();
  store.commit(numbered(1));
  DraftBuilder draft;
  draft.slot(pattern(100)).tensor("a").slot(3 << 20, [](std::uint64_t offset, std::span<std::byte>) {
    if (offset > 0) throw Error(ErrorKind::io, {.what = "the device is gone"});
  });
  draft.tensor("w");
  EXPECT_THAT(error_of([&] { store.commit(draft); }), IsError(ErrorKind::io, "the device is gone"));
  EXPECT_THAT(list_directory(segments()), ElementsAre(segment_file_name(1)));
  EXPECT_EQ(content(store, "main"), pattern(5000, 1));
  EXPECT_EQ(store.commit(numbered(2)).sequence, 2u);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(CommitTest, KilledWriterLeavesTheOldState) {
  make().commit(numbered(1));
  const testing::Outcome outcome = testing::run_in_child([this] {
    DraftBuilder draft;
    draft.slot(3 << 20, [](std::uint64_t offset, std::span<std::byte>) {
      if (offset > 0) ::kill(::getpid(), SIGKILL);
    });
    Store store = open();
    store.commit(draft.tensor("w"));
    return 0;
  });
  EXPECT_EQ(outcome.signal, SIGKILL);
  EXPECT_EQ(content(open(), "main"), pattern(5000, 1));
  EXPECT_EQ(open().commit(numbered(2)).sequence, 2u);
  EXPECT_THAT(damage(), IsEmpty());
}

// A commit compares with its parent and then finds, under the lock, that the parent's segment has gone meanwhile.
TEST_F(CommitTest, SegmentThatGoesBetweenComparingAndCommittingIsWrittenAnew) {
  Store store = make();
  const Bytes bytes = pattern(5000);
  store.commit(one_tensor(bytes));
  std::atomic<bool> is_gone = false;
  DraftBuilder draft;
  draft.slot(bytes.size(), [&](std::uint64_t offset, std::span<std::byte> out) {
    std::memcpy(out.data(), bytes.data() + offset, out.size());
    if (is_gone.exchange(true)) return;
    Catalog other(catalog(), store_id(), false);
    CatalogWriter writer = other.write();
    const CatalogRoot root = writer.root();
    writer.delete_segment(1);
    writer.commit(root);
    remove_file(segment(1));
  });
  const CommitResult result = store.commit(draft.tensor("w"));
  EXPECT_TRUE(is_gone);
  EXPECT_EQ(result.written_bytes, bytes.size());
  EXPECT_EQ(result.reused_bytes, 0u);
  EXPECT_EQ(Segment::open(segment(2))->has_section(SectionKind::layout), true);
  EXPECT_EQ(content(store, "main"), bytes);
}

TEST_F(CommitTest, LostOrDamagedParentIsNoReasonToLoseACheckpoint) {
  for (const SectionKind kind : {SectionKind::storages, SectionKind::layout, SectionKind::keys, SectionKind::binding,
                                 SectionKind::statistics, SectionKind::record}) {
    Store store = make();
    const Bytes bytes = pattern(5000);
    store.commit(one_tensor(bytes));
    testing::flip_byte(segment(1), section_begin(1, kind));
    const auto error = error_of([&] {
      open().commit(one_tensor(bytes));
      open().commit(DraftBuilder{}.slot(bytes).tensor("renamed"), {.ref = "other"});
      EXPECT_EQ(content(open(), "other", "renamed"), bytes);
    });
    EXPECT_FALSE(error) << "section " << static_cast<int>(kind) << ": " << error->what();
    std::filesystem::remove_all(path());
  }
}

TEST_F(CommitTest, WholeParentMissingIsNoReasonToLoseACheckpoint) {
  Store store = make();
  store.commit(numbered(1));
  remove_file(segment(1));
  EXPECT_EQ(open().commit(numbered(1)).written_bytes, 5000u);
  EXPECT_EQ(content(open(), "main"), pattern(5000, 1));
}

TEST_F(CommitTest, DamagedBytesOfTheParentAreNotReused) {
  Store store = make();
  store.commit(numbered(1));
  testing::flip_byte(segment(1), Segment::open(segment(1))->storages()[0].offset + 4999);
  EXPECT_EQ(open().commit(numbered(1)).written_bytes, 5000u);
  EXPECT_EQ(content(open(), "main"), pattern(5000, 1));
}

TEST_F(CommitTest, StatisticsComeWithTheCommitWhateverTheGeometry) {
  Store store = make();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  DraftBuilder draft;
  draft.slot(bytes_of<float>({1, 2, 3, nan, 0, -5}))
      .tensor("whole", DType::float32, {2, 3})
      .tensor("even", DType::float32, {3}, {.stride = {2}})
      .tensor("expanded", DType::float32, {4}, {.stride = {0}})
      .tensor("same", DType::float32, {2, 3})
      .tensor("quantized", DType::qint8, {24});
  draft.draft().tensors[3].object = 0;
  draft.draft().tensors.push_back({.name = "meta", .dtype = DType::float32, .shape = {2}, .stride = {1}});
  for (int round = 0; round < 2; ++round) {  // written, then reused
    store.commit(draft);
    const Snapshot snapshot = store.snapshot();
    EXPECT_THAT(snapshot.statistics(0),
                ::testing::Optional(AllOf(Field(&Statistics::nan_count, 1), Field(&Statistics::zero_count, 1),
                                          Field(&Statistics::sum, 1))));
    EXPECT_THAT(snapshot.statistics(1), ::testing::Optional(Field(&Statistics::sum, 4)));
    EXPECT_THAT(snapshot.statistics(2), ::testing::Optional(Field(&Statistics::sum, 4)));
    EXPECT_THAT(snapshot.statistics(3), ::testing::Optional(Field(&Statistics::min, -5)));
    EXPECT_EQ(snapshot.statistics(4), std::nullopt);
    EXPECT_EQ(snapshot.statistics(5), std::nullopt);
  }
}

TEST_F(CommitTest, StatisticsFollowTheGeometryOverReusedBytes) {
  Store store = make();
  const Bytes bytes = bytes_of<float>({1, 2, 3, 4});
  store.commit(DraftBuilder{}.slot(bytes).tensor("w", DType::float32, {4}));
  const CommitResult result = store.commit(DraftBuilder{}.slot(bytes).tensor("w", DType::float32, {2}));
  EXPECT_EQ(result.written_bytes, 0u);
  EXPECT_EQ(store.snapshot().statistics(0)->sum, 3);
}

TEST_F(CommitTest, StatisticsCanBeLeftOutAndComeBack) {
  Store store = make();
  const DraftBuilder draft = DraftBuilder{}.slot(bytes_of<float>({1, 2})).tensor("w", DType::float32, {2});
  store.commit(draft, {.statistics = false});
  EXPECT_EQ(store.snapshot().statistics(0), std::nullopt);
  store.commit(draft);
  EXPECT_EQ(store.snapshot().statistics(0)->sum, 3);
}

TEST_F(CommitTest, ProgressEndsAtTheTotal) {
  Store store = make();
  DraftBuilder draft;
  draft.slot(pattern(3 << 20)).tensor("a").slot(pattern(100)).tensor("b");
  for (int round = 0; round < 2; ++round) {
    Progress last;
    store.commit(draft, {.progress = [&](const Progress& now) {
                   EXPECT_GE(now.done, last.done);
                   EXPECT_LE(now.done, now.total);
                   last = now;
                 }});
    EXPECT_EQ(last.total, (3u << 20) + 100);
    EXPECT_EQ(last.done, last.total);
  }
}

TEST_F(CommitTest, CommitsFromManyThreadsAllLand) {
  Store store = make();
  constexpr int threads = 4, commits = 5;
  std::vector<std::thread> all;
  for (int t = 0; t < threads; ++t) {
    all.emplace_back([&store, t] {
      for (int i = 0; i < commits; ++i) {
        store.commit(numbered(static_cast<std::uint64_t>(t)), {.ref = t % 2 == 0 ? "main" : "r" + std::to_string(t)});
      }
    });
  }
  for (std::thread& thread : all) thread.join();
  EXPECT_EQ(store.log("main").size(), 10u);
  EXPECT_EQ(store.log("r1").size(), 5u);
  std::set<std::uint64_t> sequences;
  for (const std::string& name : list_directory(segments())) sequences.insert(*parse_segment_file_name(name));
  EXPECT_EQ(sequences.size(), 20u);
  EXPECT_EQ(*sequences.rbegin(), 20u);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(CommitTest, CommitsFromTwoHandlesAndProcessesSeeEachOther) {
  Store store = make();
  store.commit(numbered(1));
  EXPECT_EQ(testing::run_in_child([this] {
              Store other = open();
              return other.commit(numbered(2)).sequence == 2 ? 0 : 1;
            }),
            testing::succeeded);
  EXPECT_EQ(store.commit(numbered(3)).sequence, 3u);
  EXPECT_EQ(store.log().size(), 3u);
}

TEST_F(CommitTest, DurableStoreCommitsAlike) {
  Store store = Store::init(path());
  store.commit(numbered(1));
  store.create_tag("v1", store.commit(numbered(2)).id);
  store.delete_ref("v1");
  EXPECT_EQ(content(store, "main"), pattern(5000, 2));
  EXPECT_THAT(damage(), IsEmpty());
}

}  // namespace
}  // namespace tenon
