// What repair rebuilds, and what a change sweeps away or mends after a predecessor that was killed half-way.
#include "store/repair.h"

#include "store/catalog.h"
#include "store/journal.h"
#include "store/store_state.h"
#include "tests/store/child.h"
#include "tests/store/store_fixture.h"

namespace tenon {
namespace {

using format::SectionKind;
using testing::Bytes;
using ::testing::Contains;
using testing::copy_of;
using testing::DraftBuilder;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsError;
using testing::one_tensor;
using testing::pattern;

// Everything a user can see of a store, as one value.
struct Visible {
  std::vector<std::tuple<std::string, SnapshotId, bool, std::uint64_t>> refs;
  std::vector<std::tuple<std::string, SnapshotId, Bytes>> history;  // of every ref: id and tensor "w"
  friend bool operator==(const Visible&, const Visible&) = default;
};

class RepairTest : public testing::StoreTest {
 protected:
  // main: 1, 2, 3 (all different), branch: from 2's bytes; a tag, a moved ref, a deleted one. Mutations 1 to 9.
  void make_history() {
    Store store = make();
    first_ = store.commit(numbered(1)).id;
    second_ = store.commit(numbered(2)).id;
    third_ = store.commit(numbered(3)).id;
    store.create_tag("v1", first_);
    store.set_ref("best", first_);
    store.set_ref("best", second_);
    branch_ = store.commit(numbered(2), {.ref = "exp/branch"}).id;
    store.set_ref("gone", third_);
    store.delete_ref("gone");
  }
  static DraftBuilder numbered(std::uint64_t number) { return one_tensor(pattern(5000, number)); }
  Bytes content(std::string_view rev) const { return copy_of(open().snapshot(rev)["w"].bytes()); }

  Visible visible() const {
    const Store store = open();
    Visible all;
    for (const RefInfo& ref : store.refs()) {
      all.refs.emplace_back(ref.name, ref.id, ref.is_tag, ref.sequence);
      for (const SnapshotInfo& info : store.log(ref.name)) {
        all.history.emplace_back(ref.name, info.id, content(to_hex(info.id)));
      }
    }
    return all;
  }
  std::vector<std::string> refs() const {
    std::vector<std::string> names;
    for (const RefInfo& ref : open().refs()) names.push_back(ref.name);
    return names;
  }
  // Repairs, and expects that nothing was lost: same refs, same history, clean, and able to go on.
  void expect_repair_keeps_all(const Visible& before) {
    const RepairReport report = Store::repair(path());
    EXPECT_EQ(report.refs, before.refs.size());
    EXPECT_EQ(visible(), before);
    EXPECT_THAT(damage(), IsEmpty());
    const std::uint64_t last = sequence();
    EXPECT_EQ(open().commit(numbered(99)).sequence, last + 1);
    EXPECT_EQ(content("main"), pattern(5000, 99));
    EXPECT_THAT(damage(), IsEmpty());
  }
  std::uint64_t sequence() const { return Catalog(catalog(), store_id(), false).read().root().sequence; }
  std::vector<std::string> tree() const {
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path())) {
      files.push_back(std::filesystem::relative(entry.path(), path()).string());
    }
    std::sort(files.begin(), files.end());
    return files;
  }

  SnapshotId first_, second_, third_, branch_;
};

TEST_F(RepairTest, WholeStoreStaysAsItIs) {
  make_history();
  const Visible before = visible();
  const auto files = tree();
  const Bytes journal_before = testing::content_of_file(journal());
  const RepairReport report = Store::repair(path());
  EXPECT_THAT(report.dropped, IsEmpty());
  EXPECT_EQ(report.snapshots, 4u);
  EXPECT_EQ(report.refs, 4u);
  EXPECT_EQ(visible(), before);
  EXPECT_EQ(sequence(), 9u);
  EXPECT_EQ(tree(), files);
  EXPECT_EQ(testing::content_of_file(journal()), journal_before);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(RepairTest, EmptyStoreIsRepairedToAnEmptyStore) {
  make();
  std::filesystem::remove_all(catalog());
  const RepairReport report = Store::repair(path());
  EXPECT_EQ(report.snapshots, 0u);
  EXPECT_THAT(open().refs(), IsEmpty());
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(RepairTest, WhatIsNoStoreIsRefused) {
  EXPECT_THAT(error_of([this] { Store::repair(path()); }), IsError(ErrorKind::no_store, "nothing to repair"));
  std::filesystem::create_directory(path());
  EXPECT_THAT(error_of([this] { Store::repair(path()); }), IsError(ErrorKind::no_store, "nothing to repair"));
  EXPECT_THAT(list_directory(path()), IsEmpty());
}

TEST_F(RepairTest, LostCatalogIsRebuilt) {
  make_history();
  const Visible before = visible();
  std::filesystem::remove_all(catalog());
  EXPECT_TRUE(error_of([this] { open().refs(); }));
  EXPECT_THAT(damage(), Contains(HasSubstr("data.mdb")));
  expect_repair_keeps_all(before);
}

TEST_F(RepairTest, EmptiedCutOrOverwrittenCatalogIsRebuilt) {
  make_history();
  const Visible before = visible();
  const auto data = catalog() / "data.mdb";
  const Bytes whole = testing::content_of_file(data);
  for (const std::size_t size : {std::size_t{0}, std::size_t{100}, whole.size() / 2}) {
    testing::write_file(data, std::span(whole).first(size));
    EXPECT_THAT(error_of([this] { open().refs(); }), IsError(ErrorKind::corrupt, "tenon repair")) << size;
    Store::repair(path());
    EXPECT_EQ(visible(), before) << size;
  }
  testing::write_file(data, Bytes(whole.size(), std::byte{0xFF}));
  expect_repair_keeps_all(before);
}

TEST_F(RepairTest, CatalogOfThePastIsToldAndRebuilt) {
  make_history();
  std::filesystem::copy(catalog(), base() / "old", std::filesystem::copy_options::recursive);
  open().commit(numbered(4));
  const Visible before = visible();
  std::filesystem::remove_all(catalog());
  std::filesystem::rename(base() / "old", catalog());
  EXPECT_THAT(error_of([this] { open().commit(numbered(5)); }), IsError(ErrorKind::corrupt, "older than ref 'main'"));
  EXPECT_THAT(damage(), Contains(HasSubstr("older in the catalog than its head")));
  EXPECT_EQ(content("main"), pattern(5000, 4));  // nothing acknowledged was swept
  expect_repair_keeps_all(before);
}

TEST_F(RepairTest, HandlesOpenedBeforeGoOnAfterwards) {
  make_history();
  Store store = open();
  const Snapshot snapshot = store.snapshot();
  store.refs();
  Store::repair(path());
  EXPECT_EQ(store.refs().size(), 4u);
  EXPECT_EQ(store.commit(numbered(7)).sequence, 10u);
  EXPECT_EQ(copy_of(snapshot["w"].bytes()), pattern(5000, 3));
}

TEST_F(RepairTest, LostAndDamagedHeadsAreWrittenAnewAndStrangeOnesRemoved) {
  make_history();
  const Visible before = visible();
  remove_file(head("main"));
  testing::flip_byte(head("v1"), 20);
  testing::write_file(head("best"), pattern(1 << 20));  // larger than any head
  testing::write_file(heads() / "gone", testing::content_of_file(head("exp/branch")));
  testing::write_file(heads() / "x.0123.tmp", pattern(10));
  EXPECT_THAT(damage(), Contains(HasSubstr("head")));
  EXPECT_EQ(content("main"), pattern(5000, 3));  // without its head, from the catalog
  expect_repair_keeps_all(before);
  EXPECT_THAT(list_directory(heads()), ElementsAre("best", "exp%2Fbranch", "main", "v1"));
}

TEST_F(RepairTest, LostDirectoryOfHeadsIsMadeAnew) {
  make_history();
  const Visible before = visible();
  std::filesystem::remove_all(heads());
  expect_repair_keeps_all(before);
}

TEST_F(RepairTest, LostOrDamagedSuperblockIsMadeAnewWithTheSegmentsStoreId) {
  make_history();
  const Visible before = visible();
  const Digest id = store_id();
  for (const std::size_t size : {std::size_t{0}, std::size_t{17}, std::size_t{256}, std::size_t{1} << 20}) {
    testing::write_file(path() / superblock_name, pattern(size));
    EXPECT_THAT(damage(), Contains(HasSubstr("TENON"))) << size;
    EXPECT_THAT(Store::repair(path()).dropped, Contains(HasSubstr("superblock"))) << size;
    EXPECT_EQ(store_id(), id) << size;
    EXPECT_EQ(visible(), before) << size;
  }
  remove_file(path() / superblock_name);
  EXPECT_THAT(error_of([this] { open(); }), IsError(ErrorKind::no_store, ""));
  expect_repair_keeps_all(before);
}

TEST_F(RepairTest, LostSuperblockAndNoSegmentToTellTheIdIsCorrupt) {
  make();
  remove_file(path() / superblock_name);
  EXPECT_THAT(error_of([this] { Store::repair(path()); }), IsError(ErrorKind::corrupt, "no whole segment tells"));
}

TEST_F(RepairTest, DamagedJournalTailLosesOnlyWhatWasInIt) {
  make_history();
  // The last record deleted "gone": without it, "gone" is back where it was set.
  const std::uint64_t size = std::filesystem::file_size(journal());
  testing::flip_byte(journal(), size - 1);
  EXPECT_THAT(damage(), Contains(HasSubstr("journal is damaged")));
  EXPECT_THAT(Store::repair(path()).dropped, ElementsAre(HasSubstr("journal is damaged from offset")));
  EXPECT_THAT(refs(), ElementsAre("best", "exp/branch", "gone", "main", "v1"));
  EXPECT_EQ(open().resolve("gone"), third_);
  EXPECT_EQ(open().resolve("best"), second_);
  EXPECT_LT(std::filesystem::file_size(journal()), size);
  EXPECT_THAT(damage(), IsEmpty());
  open().create_tag("after", third_);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(RepairTest, DamagedRecordOfTheJournalCostsThatMutationAlone) {
  make_history();
  testing::flip_byte(journal(), sizeof(format::JournalHeader) + 20);  // made the tag v1
  remove_file(head("v1"));
  EXPECT_THAT(Store::repair(path()).dropped, ElementsAre(HasSubstr("journal is damaged from offset")));
  EXPECT_THAT(refs(), ElementsAre("best", "exp/branch", "main"));
  EXPECT_EQ(open().resolve("best"), second_);
  EXPECT_EQ(sequence(), 9u);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(RepairTest, ForgettingBehindADamagedRecordOfTheJournalStays) {
  make_history();
  Store store = open();
  store.set_ref("main", first_);
  store.forget({.unreachable = true});
  const std::uint64_t remaining = store.log("main").size();
  testing::flip_byte(journal(), sizeof(format::JournalHeader) + 20);
  const RepairReport report = Store::repair(path());
  EXPECT_EQ(report.forgotten, 1u);
  EXPECT_THAT(error_of([this] { open().snapshot(to_hex(third_)); }), IsError(ErrorKind::not_found, "forgotten"));
  EXPECT_EQ(open().log("main").size(), remaining);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(RepairTest, RefWhoseRecordIsDamagedIsTakenFromItsHeadForGood) {
  make_history();
  const Visible before = visible();
  testing::flip_byte(journal(), sizeof(format::JournalHeader) + 20);
  const RepairReport report = Store::repair(path());
  EXPECT_THAT(report.mended, ElementsAre(HasSubstr("ref 'v1': mutation 4 taken from its head")));
  EXPECT_EQ(visible(), before);
  std::filesystem::remove_all(heads());
  expect_repair_keeps_all(before);
}

TEST_F(RepairTest, HeadOlderThanItsRefsDeletionIsNoTruth) {
  make_history();
  Store store = open();
  store.create_tag("v2", first_);
  const Bytes old_head = testing::content_of_file(head("v2"));
  const std::uint64_t made_at = std::filesystem::file_size(journal()) - 1;
  store.delete_ref("v2");
  testing::write_file(head("v2"), old_head);
  testing::flip_byte(journal(), made_at);
  Store::repair(path());
  EXPECT_THAT(refs(), ElementsAre("best", "exp/branch", "main", "v1"));
  EXPECT_FALSE(file_exists(head("v2")));
}

TEST_F(RepairTest, WhatIsReplacedThoughItCouldNotAllBeUsedIsKept) {
  make_history();
  testing::flip_byte(journal(), sizeof(format::JournalHeader) + 20);
  const Bytes damaged = testing::content_of_file(journal());
  Store::repair(path());
  EXPECT_EQ(testing::content_of_file(path() / "journal.damaged"), damaged);
  EXPECT_TRUE(file_exists(path() / "catalog.damaged" / "data.mdb"));
  EXPECT_FALSE(file_exists(path() / "catalog.old"));
  Store::repair(path());  // drops nothing, and so has nothing to keep in their place
  EXPECT_EQ(testing::content_of_file(path() / "journal.damaged"), damaged);
  EXPECT_TRUE(file_exists(path() / "catalog.damaged" / "data.mdb"));
  EXPECT_THAT(damage(), IsEmpty());
}

// Memory does not grow with the history: killed after the first transaction, repair begins anew.
TEST_F(RepairTest, RowsOfALongHistoryAreWrittenInSeveralTransactions) {
  Store store = make();
  DraftBuilder draft;
  for (int i = 0; i < 50'000; ++i) draft.slot(Bytes(1)).tensor("t" + std::to_string(i));
  for (int i = 0; i < 16; ++i) store.commit(draft.message(std::to_string(i)), {.statistics = false});
  const testing::Outcome outcome = testing::run_in_child([this] {
    ::setenv("TENON_FAILPOINT", "repair.between_batches:kill", 1);
    Store::repair(path());
    return 0;
  });
  EXPECT_EQ(outcome.signal, SIGKILL);
  EXPECT_EQ(Store::repair(path()).snapshots, 16u);
  EXPECT_EQ(open().log().size(), 16u);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(RepairTest, LostJournalLosesOnlyWhatNoHeadTells) {
  make_history();
  remove_file(journal());
  EXPECT_THAT(damage(), Contains(HasSubstr("journal")));
  const RepairReport report = Store::repair(path());
  EXPECT_THAT(report.dropped, Contains(HasSubstr("journal")));
  EXPECT_EQ(report.mended.size(), 2u);
  EXPECT_THAT(refs(), ElementsAre("best", "exp/branch", "main", "v1"));
  EXPECT_EQ(open().resolve("best"), second_);
  EXPECT_EQ(sequence(), 7u);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(RepairTest, LostJournalAndHeadsLoseRefMovesAndTagsAndNothingElse) {
  make_history();
  remove_file(journal());
  std::filesystem::remove_all(heads());
  EXPECT_THAT(Store::repair(path()).dropped, Contains(HasSubstr("journal")));
  EXPECT_THAT(refs(), ElementsAre("exp/branch", "main"));
  EXPECT_EQ(content("main"), pattern(5000, 3));
  EXPECT_EQ(content(to_hex(first_)), pattern(5000, 1));
  open().create_tag("v1", first_);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(RepairTest, JournalShorterThanTheCatalogSaysStopsChangesUntilRepaired) {
  make_history();
  std::filesystem::resize_file(journal(), std::filesystem::file_size(journal()) - 3);
  EXPECT_THAT(error_of([this] { open().commit(numbered(9)); }), IsError(ErrorKind::corrupt, "journal is shorter"));
  EXPECT_EQ(content("main"), pattern(5000, 3));
  Store::repair(path());
  EXPECT_FALSE(error_of([this] { open().commit(numbered(9)); }));
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(RepairTest, LostSegmentTakesWhatDependsOnItAndNothingElse) {
  make_history();
  remove_file(segment(2));  // the branch has its bytes from there
  const RepairReport report = Store::repair(path());
  EXPECT_EQ(report.snapshots, 2u);
  EXPECT_THAT(report.dropped, Contains(HasSubstr("a segment that the snapshot needs is gone")));
  EXPECT_THAT(report.dropped, Contains(HasSubstr(to_hex(second_) + " is lost: history ends there")));
  EXPECT_THAT(report.dropped, Contains(HasSubstr("ref 'best' lost its move to " + to_hex(second_))));
  EXPECT_THAT(refs(), ElementsAre("best", "main", "v1"));
  EXPECT_EQ(open().resolve("best"), first_);
  EXPECT_EQ(content("main"), pattern(5000, 3));
  EXPECT_EQ(content("v1"), pattern(5000, 1));
  ASSERT_EQ(open().log("main").size(), 1u);
  EXPECT_EQ(open().log("main")[0].id, third_);
  EXPECT_THAT(error_of([this] { open().snapshot("main~1"); }), IsError(ErrorKind::not_found, "lost"));
  EXPECT_THAT(error_of([this] { open().snapshot("main~2"); }), IsError(ErrorKind::not_found, "lost"));
  EXPECT_THAT(error_of([this] { open().create_tag("x", second_); }), IsError(ErrorKind::not_found, to_hex(second_)));
  EXPECT_FALSE(error_of([this] { open().commit(numbered(2)); }));
  EXPECT_EQ(content("main"), pattern(5000, 2));
}

TEST_F(RepairTest, SegmentsWithDamagedMetadataAreDroppedBySection) {
  for (const SectionKind kind : {SectionKind::layout, SectionKind::keys, SectionKind::binding, SectionKind::record,
                                 SectionKind::commit, SectionKind::structure}) {
    Store store = make();
    DraftBuilder draft = numbered(1);
    draft.draft().structure = pattern(20);
    store.commit(draft, {.ref = "hurt"});
    store.commit(DraftBuilder{}.slot(pattern(10)).tensor("w"), {.ref = "whole"});
    testing::flip_byte(segment(1), section_begin(1, kind));
    const RepairReport report = Store::repair(path());
    EXPECT_EQ(report.snapshots, 1u) << static_cast<int>(kind);
    EXPECT_THAT(report.dropped, ElementsAre(HasSubstr(segment(1).string()))) << static_cast<int>(kind);
    EXPECT_THAT(refs(), ElementsAre("whole"));
    EXPECT_EQ(content("whole"), pattern(10));
    std::filesystem::remove_all(path());
  }
}

TEST_F(RepairTest, NumberOfALostCommitIsNotGivenAgain) {
  make_history();
  open().commit(numbered(66));
  testing::flip_byte(segment(10), section_begin(10, SectionKind::record));
  const Bytes damaged = testing::content_of_file(segment(10));
  Store::repair(path());
  EXPECT_EQ(content("main"), pattern(5000, 3));
  EXPECT_EQ(open().commit(numbered(67)).sequence, 11u);
  EXPECT_EQ(testing::content_of_file(segment(10)), damaged);  // for whoever can make more of it
}

TEST_F(RepairTest, DamagedBytesAreNotRepairsBusiness) {
  make_history();
  testing::flip_byte(segment(1), Segment::open(segment(1))->storages()[0].offset);
  EXPECT_THAT(Store::repair(path()).dropped, IsEmpty());
  const VerifyReport report = Store::verify(path(), {.read_data = true});
  ASSERT_EQ(report.damage.size(), 1u);
  EXPECT_EQ(report.damage[0].what, "stored bytes differ from their digest");
  EXPECT_THAT(report.damage[0].snapshots, ElementsAre(to_hex(first_)));
}

TEST_F(RepairTest, ForeignAndMisnamedSegmentsAreNotAdopted) {
  make_history();
  const Visible before = visible();
  const Store other = Store::init(base() / "other", {.durability = Durability::relaxed});
  Store(other).commit(numbered(50));
  std::filesystem::copy_file(base() / "other" / "segments" / segment_file_name(1), segment(50));
  std::filesystem::copy_file(segment(1), segment(51));
  testing::write_file(segment(52), pattern(5000));
  const RepairReport report = Store::repair(path());
  EXPECT_EQ(report.snapshots, 4u);
  EXPECT_THAT(report.dropped, Contains(HasSubstr(segment(50).string())));
  EXPECT_THAT(report.dropped, Contains(HasSubstr(segment(51).string())));
  EXPECT_THAT(report.dropped, Contains(HasSubstr(segment(52).string())));
  EXPECT_EQ(visible(), before);
}

TEST_F(RepairTest, RepairedTwiceIsRepairedOnce) {
  make_history();
  remove_file(segment(2));
  testing::flip_byte(journal(), std::filesystem::file_size(journal()) - 1);
  remove_file(head("main"));
  testing::flip_byte(catalog() / "data.mdb", 100);
  Store::repair(path());
  const Visible once = visible();
  const auto files = tree();
  const auto root = Catalog(catalog(), store_id(), false).read().root();
  Store::repair(path());
  EXPECT_EQ(visible(), once);
  EXPECT_EQ(tree(), files);
  EXPECT_EQ(Catalog(catalog(), store_id(), false).read().root(), root);
}

TEST_F(RepairTest, AKilledRepairIsRepeated) {
  make_history();
  const Visible before = visible();
  // Killed between moving the old catalog away and the new one in, and before that.
  std::filesystem::copy(catalog(), path() / "catalog.new", std::filesystem::copy_options::recursive);
  Store::repair(path());
  EXPECT_EQ(visible(), before);
  std::filesystem::rename(catalog(), path() / "catalog.old");
  std::filesystem::create_directory(path() / "catalog.new");
  expect_repair_keeps_all(before);
  EXPECT_THAT(list_directory(path()), ElementsAre("TENON", "ballast", "catalog", "heads", "journal", "segments"));
}

// What a commit leaves that was killed after its segment had its name, before the catalog knew it.
class LeftoverTest : public RepairTest {
 protected:
  struct Saved {
    std::filesystem::path path;
    std::optional<Bytes> content;
  };
  // Takes back the part of a finished change that a killed one would not have done.
  void keep(const std::filesystem::path& file) {
    saved_.push_back({file, file_exists(file) ? std::optional(testing::content_of_file(file)) : std::nullopt});
  }
  void put_back() {
    for (const Saved& file : saved_) {
      if (file.content) {
        testing::write_file(file.path, *file.content);
      } else {
        remove_file(file.path);
      }
    }
  }
  void keep_catalog() {
    keep(catalog() / "data.mdb");
    keep(catalog() / "lock");
  }

 private:
  std::vector<Saved> saved_;
};

TEST_F(LeftoverTest, SegmentThatTheCatalogDoesNotKnowIsSweptByTheNextChange) {
  make_history();
  const Visible before = visible();
  keep_catalog();
  keep(head("main"));
  open().commit(numbered(66));
  put_back();
  ASSERT_TRUE(file_exists(segment(10)));
  EXPECT_EQ(visible(), before);
  EXPECT_THAT(damage(), IsEmpty());
  open().create_tag("next", third_);  // a change of another kind takes the number
  EXPECT_FALSE(file_exists(segment(10)));
  EXPECT_EQ(open().commit(numbered(67)).sequence, 11u);
  EXPECT_EQ(content("main"), pattern(5000, 67));
  EXPECT_EQ(content("main~1"), pattern(5000, 3));
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(LeftoverTest, SegmentThatTheCatalogDoesNotKnowIsReplacedByTheNextCommit) {
  make_history();
  keep_catalog();
  keep(head("main"));
  open().commit(numbered(66));
  put_back();
  EXPECT_EQ(open().commit(numbered(67)).sequence, 10u);
  EXPECT_EQ(content("main"), pattern(5000, 67));
  EXPECT_EQ(open().log("main").size(), 4u);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(LeftoverTest, RepairAdoptsASegmentThatTheCatalogDoesNotKnow) {
  make_history();
  keep_catalog();
  keep(head("main"));
  open().commit(numbered(66));
  const Visible committed = visible();
  put_back();
  expect_repair_keeps_all(committed);
}

TEST_F(LeftoverTest, JournalTailThatTheCatalogDoesNotKnowIsSweptByTheNextChange) {
  make_history();
  const Visible before = visible();
  keep_catalog();
  open().create_tag("unheard", first_);
  put_back();
  remove_file(head("unheard"));
  EXPECT_EQ(visible(), before);
  EXPECT_THAT(damage(), IsEmpty());
  open().commit(numbered(67));
  EXPECT_THAT(refs(), ElementsAre("best", "exp/branch", "main", "v1"));
  EXPECT_THAT(Store::repair(path()).dropped, IsEmpty());  // and it does not come back
  EXPECT_THAT(refs(), ElementsAre("best", "exp/branch", "main", "v1"));
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(LeftoverTest, TornJournalTailIsSweptByTheNextChange) {
  make_history();
  testing::append_to_file(journal(), pattern(17));
  EXPECT_THAT(damage(), IsEmpty());
  open().create_tag("next", first_);
  EXPECT_THAT(refs(), ElementsAre("best", "exp/branch", "main", "next", "v1"));
  const JournalContents contents = read_journal(journal(), store_id());
  EXPECT_EQ(contents.damaged_at, std::nullopt);
  EXPECT_EQ(contents.records.back().ref, "next");
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(LeftoverTest, HeadThatLagsBehindItsRefIsMendedByTheNextChange) {
  make_history();
  keep(head("main"));
  const SnapshotId tip = open().commit(numbered(66)).id;
  put_back();
  EXPECT_EQ(open().snapshot("main").id(), third_);  // was never acknowledged
  EXPECT_THAT(damage(), IsEmpty());
  open().create_tag("next", first_);
  EXPECT_EQ(open().snapshot("main").id(), tip);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(LeftoverTest, CommitOnALaggingHeadContinuesFromTheRef) {
  make_history();
  keep(head("main"));
  const SnapshotId tip = open().commit(numbered(66)).id;
  put_back();
  open().commit(numbered(67));
  EXPECT_THAT(open().snapshot("main").info().parents, ElementsAre(tip));
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(LeftoverTest, HeadThatWasNeverWrittenIsMadeByTheNextChange) {
  make_history();
  open().create_tag("new", second_);
  remove_file(head("new"));
  EXPECT_EQ(content("new"), pattern(5000, 2));  // from the catalog
  EXPECT_THAT(damage(), IsEmpty());
  open().commit(numbered(67));
  EXPECT_TRUE(file_exists(head("new")));
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(LeftoverTest, HeadOfADeletedRefIsRemovedByTheNextChange) {
  make_history();
  keep(head("best"));
  open().delete_ref("best");
  put_back();
  EXPECT_THAT(damage(), IsEmpty());
  open().commit(numbered(67));
  EXPECT_FALSE(file_exists(head("best")));
  EXPECT_THAT(error_of([this] { open().snapshot("best"); }), IsError(ErrorKind::not_found, "'best'"));
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(LeftoverTest, DamagedHeadOfTheNewestChangeIsWrittenAnewByTheNext) {
  make_history();
  open().commit(numbered(66));
  testing::flip_byte(head("main"), 30);
  EXPECT_THAT(error_of([this] { open().snapshot("main"); }), IsError(ErrorKind::corrupt, "head is damaged"));
  open().create_tag("next", first_);
  EXPECT_EQ(content("main"), pattern(5000, 66));
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(LeftoverTest, HeadThatLagsBehindItsRefIsMendedByRepair) {
  make_history();
  keep(head("main"));
  const SnapshotId tip = open().commit(numbered(66)).id;
  put_back();
  EXPECT_THAT(Store::repair(path()).dropped, IsEmpty());
  EXPECT_EQ(open().snapshot("main").id(), tip);
  EXPECT_THAT(damage(), IsEmpty());
}

}  // namespace
}  // namespace tenon
