#include "tenon/joint_commit.h"

#include <sys/stat.h>

#include <chrono>
#include <thread>

#include "tests/store/child.h"
#include "tests/store/store_fixture.h"

namespace tenon::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::uint64_t mib = 1 << 20;

class JointCommitTest : public StoreTest {
 protected:
  // What rank `number` saves: a large tensor, a small one, and the small one's transposed view.
  static DraftBuilder shard(std::uint64_t number, std::uint64_t version = 0) {
    const std::string rank = "rank" + std::to_string(number);
    Bytes large = pattern(2 * mib, number);
    large[mib] = static_cast<std::byte>(version);
    DraftBuilder draft;
    draft.slot(std::move(large)).tensor(rank + "/large");
    draft.slot(pattern(600, number + 100)).tensor(rank + "/small", DType::float32, {10, 15});
    draft.tensor(rank + "/small.T", DType::float32, {15, 10}, {.stride = {1, 15}});
    return draft;
  }

  static void expect_shard(const Snapshot& snapshot, std::uint64_t number, std::uint64_t version = 0) {
    const DraftBuilder owner = shard(number, version);
    const Draft& wanted = owner.draft();
    const std::string rank = "rank" + std::to_string(number);
    EXPECT_EQ(copy_of(snapshot[rank + "/large"].bytes()), copy_of(wanted.slots[0].source.memory)) << number;
    EXPECT_EQ(copy_of(snapshot[rank + "/small"].bytes()), copy_of(wanted.slots[1].source.memory)) << number;
    EXPECT_EQ(snapshot[rank + "/small"].data(), snapshot[rank + "/small.T"].data()) << number;
  }

  std::filesystem::path part_file(std::uint64_t number) const { return base() / ("part" + std::to_string(number)); }

  // A process that writes its part and leaves it in a file.
  Child rank(const std::string& ticket, std::uint64_t number, std::uint64_t version = 0,
             const char* failpoint = nullptr) const {
    return Child([=, this] {
      if (failpoint != nullptr) ::setenv("TENON_FAILPOINT", failpoint, 1);
      Store store = open();
      write_file(part_file(number), JointCommit::write_part(store, ticket, shard(number, version)));
      return 0;
    });
  }
  JointPart part(std::uint64_t number) const { return content_of_file(part_file(number)); }

  std::vector<std::string> temporaries() const {
    std::vector<std::string> found;
    for (const std::string& name : list_directory(segments())) {
      if (name.ends_with(".tmp")) found.push_back(name);
    }
    return found;
  }

  std::uint64_t disk_bytes(std::uint64_t sequence) const {
    struct stat status {};
    ::stat(segment(sequence).c_str(), &status);
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
};

TEST_F(JointCommitTest, RanksInProcessesOfTheirOwnMakeOneSnapshot) {
  Store store = make();
  JointCommit joint(store);
  std::vector<Child> ranks;
  for (std::uint64_t i = 0; i < 4; ++i) ranks.push_back(rank(joint.ticket(), i));
  for (Child& child : ranks) ASSERT_EQ(child.wait(), succeeded);
  const std::vector<JointPart> parts{part(2), part(0), part(3), part(1)};
  Draft head;
  head.message = "four ranks";
  head.step = 7;
  head.attachments.push_back({"note", pattern(10)});
  const CommitResult result = joint.commit(parts, head);
  EXPECT_EQ(result.written_bytes, 4 * (2 * mib + 600));
  EXPECT_EQ(result.written_storages, 8u);

  const Snapshot snapshot = open().snapshot();
  EXPECT_EQ(snapshot.id(), result.id);
  ASSERT_EQ(snapshot.size(), 12u);
  EXPECT_EQ(snapshot.row(0).name, "rank2/large");  // in the order of the parts
  EXPECT_EQ(snapshot.row(9).name, "rank1/large");
  for (std::uint64_t i = 0; i < 4; ++i) expect_shard(snapshot, i);
  EXPECT_EQ(snapshot.info().message, "four ranks");
  EXPECT_EQ(snapshot.info().step, 7);
  EXPECT_EQ(snapshot.attachments().size(), 1u);
  EXPECT_TRUE(snapshot.statistics(1));
  EXPECT_THAT(damage(), IsEmpty());
  EXPECT_THAT(temporaries(), IsEmpty());
}

TEST_F(JointCommitTest, TheNextOneWritesWhatChanged) {
  Store store = make();
  for (const std::uint64_t version : {1, 2}) {
    JointCommit joint(store);
    std::vector<JointPart> parts;
    for (std::uint64_t i = 0; i < 2; ++i) {
      ASSERT_EQ(rank(joint.ticket(), i, i == 0 ? version : 1).wait(), succeeded);
      parts.push_back(part(i));
    }
    const CommitResult result = joint.commit(parts);
    EXPECT_EQ(result.written_bytes, version == 1 ? 2 * (2 * mib + 600) : leaf_bytes);
  }
  expect_shard(store.snapshot(), 0, 2);
  expect_shard(store.snapshot(), 1, 1);
  expect_shard(store.snapshot("main~1"), 0, 1);
  // and a plain commit goes on from there
  EXPECT_EQ(store.commit(shard(1, 1)).written_bytes, 0u);
  EXPECT_THAT(damage(), IsEmpty());
  EXPECT_THAT(Store::repair(path()).dropped, IsEmpty());
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(JointCommitTest, ARankThatDiesLeavesNothing) {
  Store store = make();
  for (const char* moment : {"joint_commit.writing:kill", "joint_commit.written:kill"}) {
    JointCommit joint(store);
    Child dying = rank(joint.ticket(), 0, 0, moment);
    EXPECT_EQ(dying.wait(), (Outcome{0, SIGKILL})) << moment;
    ASSERT_EQ(rank(joint.ticket(), 1).wait(), succeeded);
    const std::vector<JointPart> parts{part(1)};
    const CommitResult result = joint.commit(parts);
    EXPECT_EQ(store.snapshot().size(), 3u);
    expect_shard(store.snapshot(), 1);
    EXPECT_LT(disk_bytes(result.sequence), 2 * mib + 256 * 1024) << moment;
    store = Store::open(path());
    EXPECT_THAT(damage(), IsEmpty());
    store.delete_ref("main");
  }
}

TEST_F(JointCommitTest, GivenUpNothingRemains) {
  Store store = make();
  {
    JointCommit joint(store);
    ASSERT_EQ(rank(joint.ticket(), 0).wait(), succeeded);
    EXPECT_EQ(temporaries().size(), 1u);
  }
  EXPECT_THAT(temporaries(), IsEmpty());
  EXPECT_THAT(store.refs(), IsEmpty());
}

TEST_F(JointCommitTest, ACoordinatorThatDiesLeavesTheOldStateAndItsRanksAreTold) {
  Store store = make();
  store.commit(shard(9));
  Signal ready;
  Child coordinator([&] {
    Store mine = open();
    JointCommit joint(mine);
    const auto ticket = std::as_bytes(std::span(joint.ticket()));
    write_file(base() / "ticket", ticket);
    ready.give();
    std::this_thread::sleep_for(std::chrono::minutes(1));
    return 0;
  });
  ready.await();
  coordinator.kill();
  EXPECT_EQ(coordinator.wait(), (Outcome{0, SIGKILL}));
  const Bytes bytes = content_of_file(base() / "ticket");
  const std::string ticket(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const auto error = error_of([&] { JointCommit::write_part(store, ticket, shard(0)); });
  EXPECT_THAT(error, IsError(ErrorKind::conflict, "the joint commit is over"));
  EXPECT_EQ(store.log().size(), 1u);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(JointCommitTest, AKillBeforeTheLockLeavesTheOldState) {
  Store store = make();
  store.commit(shard(9));
  EXPECT_EQ(run_in_child([&] {
              ::setenv("TENON_FAILPOINT", "joint_commit.before_lock:kill", 1);
              Store mine = open();
              JointCommit joint(mine);
              const std::vector<JointPart> parts{JointCommit::write_part(mine, joint.ticket(), shard(0))};
              joint.commit(parts);
              return 0;
            }),
            (Outcome{0, SIGKILL}));
  EXPECT_EQ(store.log().size(), 1u);
  store.commit(shard(1));
  EXPECT_THAT(damage(), IsEmpty());
}

// A finished segment never changes: who comes late does not get to write.
TEST_F(JointCommitTest, ALateRankIsTurnedAway) {
  Store store = make();
  JointCommit joint(store);
  const std::string ticket = joint.ticket();
  const std::vector<JointPart> parts{JointCommit::write_part(store, ticket, shard(0))};
  joint.commit(parts);
  const Bytes before = content_of_file(segment(1));
  EXPECT_THAT(error_of([&] { JointCommit::write_part(store, ticket, shard(1)); }),
              IsError(ErrorKind::conflict, "the joint commit is over"));
  EXPECT_EQ(content_of_file(segment(1)), before);
}

TEST_F(JointCommitTest, TheCoordinatorWaitsForARankThatIsWriting) {
  Store store = make();
  JointCommit joint(store);
  const std::vector<JointPart> parts{JointCommit::write_part(store, joint.ticket(), shard(0))};
  const std::string failpoint = "joint_commit.writing:" + base().string();
  Child slow = rank(joint.ticket(), 1, 0, failpoint.c_str());
  while (!file_exists(base() / "joint_commit.writing.reached")) std::this_thread::yield();
  std::thread coordinator([&] { joint.commit(parts); });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_THAT(open().refs(), IsEmpty());
  File::create(base() / "joint_commit.writing.go");
  coordinator.join();
  EXPECT_EQ(slow.wait(), succeeded);
  EXPECT_EQ(store.snapshot().size(), 3u);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(JointCommitTest, TheRefIsGuardedAsInAnyCommit) {
  Store store = make();
  JointCommit joint(store, {.expected_tip = std::optional<SnapshotId>{}});
  const std::vector<JointPart> parts{JointCommit::write_part(store, joint.ticket(), shard(0))};
  store.commit(shard(5));
  EXPECT_THAT(error_of([&] { joint.commit(parts); }), IsError(ErrorKind::conflict, "is not where it was expected"));
  EXPECT_THAT(error_of([&] { joint.commit(parts); }), IsError(ErrorKind::conflict, "is over"));
  EXPECT_EQ(store.log().size(), 1u);
}

TEST_F(JointCommitTest, OneNameInTwoPartsIsRefused) {
  Store store = make();
  JointCommit joint(store);
  const std::vector<JointPart> parts{JointCommit::write_part(store, joint.ticket(), shard(0)),
                                     JointCommit::write_part(store, joint.ticket(), shard(0))};
  EXPECT_THAT(error_of([&] { joint.commit(parts); }), IsError(ErrorKind::invalid_argument, "its name is there twice"));
}

TEST_F(JointCommitTest, PartsOfAnotherCommitAndDamagedOnesAreRefused) {
  Store store = make();
  JointCommit joint(store), other(store);
  const JointPart mine = JointCommit::write_part(store, joint.ticket(), shard(0));
  const std::vector<JointPart> foreign{JointCommit::write_part(store, other.ticket(), shard(0))};
  EXPECT_THAT(error_of([&] { joint.commit(foreign); }),
              IsError(ErrorKind::invalid_argument, "written for another joint commit"));
  for (const std::size_t at : {std::size_t{0}, mine.size() / 2, mine.size() - 1}) {
    const std::vector<JointPart> damaged{with_byte_flipped(mine, at)};
    EXPECT_THAT(error_of([&] { joint.commit(damaged); }), IsError(ErrorKind::corrupt, "checksum")) << at;
  }
  EXPECT_THAT(error_of([&] { joint.commit(std::vector<JointPart>(1)); }), IsError(ErrorKind::corrupt, "too short"));
  joint.commit(std::vector<JointPart>{mine});
  expect_shard(store.snapshot(), 0);
}

TEST_F(JointCommitTest, APartGivenTwiceIsRefused) {
  Store store = make();
  JointCommit joint(store);
  const JointPart mine = JointCommit::write_part(store, joint.ticket(), shard(0));
  EXPECT_THAT(error_of([&] { joint.commit(std::vector{mine, mine}); }), IsError(ErrorKind::corrupt, "given twice"));
}

TEST_F(JointCommitTest, NotEveryTextIsATicket) {
  Store store = make();
  JointCommit joint(store);
  for (const std::string& text :
       {std::string(), std::string("tenon-joint-1:"), joint.ticket().substr(0, 46), "x" + joint.ticket()}) {
    EXPECT_THAT(error_of([&] { JointCommit::write_part(store, text, shard(0)); }),
                IsError(ErrorKind::invalid_argument, "ticket"))
        << text;
  }
  EXPECT_THAT(error_of([&] { joint.commit({}, shard(0)); }), IsError(ErrorKind::invalid_argument, "of its own"));
}

TEST_F(JointCommitTest, ARankWithoutBytesTakesPart) {
  Store store = make();
  JointCommit joint(store);
  const std::vector<JointPart> parts{
      JointCommit::write_part(store, joint.ticket(), DraftBuilder{}),
      JointCommit::write_part(store, joint.ticket(), shard(1)),
      JointCommit::write_part(store, joint.ticket(), DraftBuilder{}.slot({}).tensor("none"))};
  joint.commit(parts);
  EXPECT_EQ(store.snapshot().size(), 4u);
  expect_shard(store.snapshot(), 1);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(JointCommitTest, DurableStoresDoAlike) {
  Store store = Store::init(path());
  JointCommit joint(store, {.ref = "ranks", .statistics = false});
  std::vector<Child> ranks;
  for (std::uint64_t i = 0; i < 2; ++i) ranks.push_back(rank(joint.ticket(), i));
  for (Child& child : ranks) ASSERT_EQ(child.wait(), succeeded);
  joint.commit(std::vector{part(0), part(1)});
  const Snapshot snapshot = store.snapshot("ranks");
  for (std::uint64_t i = 0; i < 2; ++i) expect_shard(snapshot, i);
  EXPECT_FALSE(snapshot.statistics(0));
  EXPECT_THAT(damage(), IsEmpty());
}

}  // namespace
}  // namespace tenon::testing
