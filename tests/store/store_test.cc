#include "tenon/store.h"

#include "store/catalog.h"
#include "store/rev.h"
#include "store/store_state.h"
#include "tests/store/child.h"
#include "tests/store/store_fixture.h"

namespace tenon {
namespace {

using testing::Bytes;
using testing::copy_of;
using testing::DraftBuilder;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::Field;
using ::testing::IsEmpty;
using testing::IsError;
using testing::one_tensor;
using testing::pattern;

class StoreHandleTest : public testing::StoreTest {
 protected:
  static DraftBuilder numbered(std::uint64_t number) { return one_tensor(pattern(100, number)); }
  static Bytes content(const Store& store, std::string_view rev) { return copy_of(store.snapshot(rev)["w"].bytes()); }
  static std::vector<std::string> names(const Store& store) {
    std::vector<std::string> names;
    for (const RefInfo& ref : store.refs()) names.push_back(ref.name + (ref.is_tag ? " (tag)" : ""));
    return names;
  }
  std::optional<Error> error_of_opening() const {
    return error_of([this] { open(); });
  }
  std::optional<Error> error_of_rev(const Store& store, std::string_view rev) const {
    return error_of([&] { store.snapshot(rev); });
  }
};

TEST_F(StoreHandleTest, InitMakesAnEmptyStore) {
  const Store store = make();
  EXPECT_EQ(store.path(), path());
  EXPECT_FALSE(store.is_bundle());
  EXPECT_THAT(store.refs(), IsEmpty());
  EXPECT_THAT(error_of_rev(store, "main"), IsError(ErrorKind::not_found, "no ref, tag or snapshot 'main'"));
  EXPECT_THAT(list_directory(path()), ElementsAre("TENON", "ballast", "catalog", "heads", "journal", "segments"));
  EXPECT_THAT(list_directory(base()), ElementsAre("run.tenon"));
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(StoreHandleTest, InitTakesATrailingSlash) {
  Store::init(path() / "", {.durability = Durability::relaxed});
  EXPECT_FALSE(error_of_opening());
}

TEST_F(StoreHandleTest, InitTouchesNothingThatIsThere) {
  make().commit(numbered(1));
  EXPECT_THAT(error_of([this] { make(); }), IsError(ErrorKind::conflict, "something is there already"));
  EXPECT_EQ(content(open(), "main"), pattern(100, 1));
  std::filesystem::create_symlink("nowhere", base() / "link");
  EXPECT_THAT(error_of([this] { Store::init(base() / "link"); }), IsError(ErrorKind::conflict, "already"));
  EXPECT_THAT(error_of([this] { Store::init(base() / "missing" / "x"); }), IsError(ErrorKind::not_found, "missing"));
  EXPECT_THAT(list_directory(base()), ElementsAre("link", "run.tenon"));
}

TEST_F(StoreHandleTest, OpenNeverCreates) {
  EXPECT_THAT(error_of_opening(), IsError(ErrorKind::no_store, "no store here"));
  std::filesystem::create_directory(path());
  EXPECT_THAT(error_of_opening(), IsError(ErrorKind::no_store, "no superblock"));
  EXPECT_THAT(list_directory(path()), IsEmpty());
  testing::write_file(base() / "file", pattern(10'000));
  EXPECT_THAT(error_of([this] { Store::open(base() / "file"); }), IsError(ErrorKind::no_store, "not a store"));
}

TEST_F(StoreHandleTest, DamagedSuperblockIsRefused) {
  make();
  const Bytes good = testing::content_of_file(path() / superblock_name);
  for (std::size_t i = 0; i < good.size(); ++i) {
    testing::write_file(path() / superblock_name, testing::with_byte_flipped(good, i));
    EXPECT_THAT(error_of_opening(), IsError(ErrorKind::corrupt, "superblock")) << i;
  }
  testing::write_file(path() / superblock_name, std::span(good).first(100));
  EXPECT_THAT(error_of_opening(), IsError(ErrorKind::corrupt, "wrong size"));
  testing::write_file(path() / superblock_name, {});
  EXPECT_THAT(error_of_opening(), IsError(ErrorKind::corrupt, "superblock"));
}

TEST_F(StoreHandleTest, LaterFormatsAreRefusedOrReadOnly) {
  make().commit(numbered(1));
  const auto write_with = [this, id = store_id()](const std::function<void(format::Superblock&)>& change) {
    format::Superblock s = make_superblock(id, Durability::relaxed);
    change(s);
    s.checksum = format::seal_of(s);
    testing::write_file(path() / superblock_name, std::as_bytes(std::span(&s, 1)));
  };
  write_with([](format::Superblock& s) { s.major = 2; });
  EXPECT_THAT(error_of_opening(), IsError(ErrorKind::too_new, "later format"));
  write_with([](format::Superblock& s) { s.incompat = 1; });
  EXPECT_THAT(error_of_opening(), IsError(ErrorKind::too_new, "later format"));
  write_with([](format::Superblock& s) { s.digest_id = 9; });
  EXPECT_THAT(error_of_opening(), IsError(ErrorKind::unsupported, "another digest"));
  write_with([](format::Superblock& s) { s.minor = 9, s.compat = 1, s.ro_compat = 1; });
  EXPECT_EQ(content(open(), "main"), pattern(100, 1));
  EXPECT_THAT(error_of([this] { open().commit(numbered(2)); }), IsError(ErrorKind::unsupported, "can only read"));
  EXPECT_THAT(error_of([this] { open().delete_ref("main"); }), IsError(ErrorKind::unsupported, "can only read"));
}

TEST_F(StoreHandleTest, RefsMoveAndTagsDoNot) {
  Store store = make();
  const SnapshotId first = store.commit(numbered(1)).id;
  const SnapshotId second = store.commit(numbered(2)).id;
  store.create_tag("v1", first);
  store.set_ref("best", first);
  store.set_ref("best", second);
  EXPECT_THAT(names(store), ElementsAre("best", "main", "v1 (tag)"));
  EXPECT_EQ(store.resolve("best"), second);
  EXPECT_EQ(store.resolve("v1"), first);
  EXPECT_EQ(store.refs()[0].sequence, 5u);
  EXPECT_THAT(error_of([&] { store.set_ref("v1", second); }), IsError(ErrorKind::conflict, "does not move"));
  EXPECT_THAT(error_of([&] { store.create_tag("v1", first); }), IsError(ErrorKind::conflict, "'v1' exists"));
  EXPECT_THAT(error_of([&] { store.create_tag("main", first); }), IsError(ErrorKind::conflict, "'main' exists"));
  EXPECT_THAT(names(open()), ElementsAre("best", "main", "v1 (tag)"));
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(StoreHandleTest, RefsPointOnlyToSnapshotsThatAreThere) {
  Store store = make();
  store.commit(numbered(1));
  const SnapshotId unknown{1, 2};
  EXPECT_THAT(error_of([&] { store.set_ref("x", unknown); }), IsError(ErrorKind::not_found, to_hex(unknown)));
  EXPECT_THAT(error_of([&] { store.create_tag("x", unknown); }), IsError(ErrorKind::not_found, to_hex(unknown)));
  EXPECT_THAT(error_of([&] { store.set_ref("a b", store.resolve("main")); }),
              IsError(ErrorKind::invalid_argument, "not a ref name"));
  EXPECT_THAT(error_of([&] { store.create_tag("", store.resolve("main")); }),
              IsError(ErrorKind::invalid_argument, "not a ref name"));
  EXPECT_THAT(names(store), ElementsAre("main"));
  EXPECT_EQ(std::filesystem::file_size(journal()), sizeof(format::JournalHeader));
}

TEST_F(StoreHandleTest, SettingARefCanBeTiedToItsTip) {
  Store store = make();
  const SnapshotId first = store.commit(numbered(1)).id;
  const SnapshotId second = store.commit(numbered(2)).id;
  EXPECT_THAT(error_of([&] { store.set_ref("main", first, first); }), IsError(ErrorKind::conflict, "not where"));
  EXPECT_THAT(error_of([&] { store.set_ref("main", first, std::optional<SnapshotId>{}); }),
              IsError(ErrorKind::conflict, to_hex(second)));
  EXPECT_THAT(error_of([&] { store.set_ref("new", first, first); }), IsError(ErrorKind::conflict, "no such ref"));
  store.set_ref("main", first, second);
  store.set_ref("new", second, std::optional<SnapshotId>{});
  EXPECT_EQ(store.resolve("main"), first);
  EXPECT_EQ(store.resolve("new"), second);
}

TEST_F(StoreHandleTest, CommitAfterARefWasMovedBackContinuesFromThere) {
  Store store = make();
  const SnapshotId first = store.commit(numbered(1)).id;
  store.commit(numbered(2));
  store.set_ref("main", first);
  store.commit(numbered(3));
  EXPECT_THAT(store.snapshot("main").info().parents, ElementsAre(first));
}

TEST_F(StoreHandleTest, DeletingARefKeepsTheSnapshot) {
  Store store = make();
  const SnapshotId id = store.commit(numbered(1)).id;
  store.create_tag("exp/v1", id);
  store.delete_ref("main");
  store.delete_ref("exp/v1");
  EXPECT_THAT(store.refs(), IsEmpty());
  EXPECT_THAT(list_directory(heads()), IsEmpty());
  EXPECT_EQ(content(store, to_hex(id)), pattern(100, 1));
  EXPECT_THAT(error_of_rev(store, "main"), IsError(ErrorKind::not_found, "'main'"));
  EXPECT_THAT(error_of([&] { store.delete_ref("main"); }), IsError(ErrorKind::not_found, "no ref 'main'"));
  store.create_tag("main", id);  // the name is free again
  EXPECT_THAT(names(store), ElementsAre("main (tag)"));
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(StoreHandleTest, LogIsTheFirstParentsNewestFirst) {
  Store store = make();
  for (std::uint64_t i = 1; i <= 4; ++i) {
    DraftBuilder draft = numbered(i);
    draft.draft().step = static_cast<std::int64_t>(i);
    store.commit(draft);
  }
  const auto step = [](std::int64_t n) { return Field(&SnapshotInfo::step, std::optional(n)); };
  EXPECT_THAT(store.log(), ElementsAre(step(4), step(3), step(2), step(1)));
  EXPECT_THAT(store.log("main~1", 2), ElementsAre(step(3), step(2)));
  EXPECT_THAT(store.log("main", 0), IsEmpty());
  EXPECT_EQ(store.log()[1].id, store.resolve("main~1"));
  EXPECT_THAT(error_of([&] { store.log("dev"); }), IsError(ErrorKind::not_found, "'dev'"));
}

TEST_F(StoreHandleTest, RevsWalkBackFromRefsTagsAndIds) {
  Store store = make();
  const SnapshotId first = store.commit(numbered(1)).id;
  const SnapshotId second = store.commit(numbered(2)).id;
  store.create_tag("v2", second);
  for (const std::string& rev :
       {std::string("main~1"), std::string("v2~1"), to_hex(second) + "~1", to_hex(first) + "~0"}) {
    EXPECT_EQ(store.resolve(rev), first) << rev;
    EXPECT_EQ(content(store, rev), pattern(100, 1)) << rev;
  }
  EXPECT_EQ(store.resolve("main~0"), second);
  EXPECT_THAT(error_of_rev(store, "main~2"), IsError(ErrorKind::not_found, "no ancestor that far back"));
  EXPECT_THAT(error_of_rev(store, "main~18446744073709551615"), IsError(ErrorKind::not_found, "no ancestor"));
}

TEST_F(StoreHandleTest, WhatIsNoRevIsRefusedByKind) {
  Store store = make();
  store.commit(numbered(1));
  for (const char* rev : {"", "~1", "main~", "main~x", "main~-1", "main~1~1", "main~18446744073709551616"}) {
    EXPECT_THAT(error_of_rev(store, rev), IsError(ErrorKind::invalid_argument, "not a rev")) << rev;
  }
  for (const std::string& rev : {std::string(".."), std::string("../heads/main"), std::string("/etc/passwd"),
                                 std::string(5000, 'x'), std::string("main\0", 5), std::string("main.tmp")}) {
    EXPECT_THAT(error_of_rev(store, rev), IsError(ErrorKind::not_found, "no ref, tag or snapshot")) << rev;
  }
  EXPECT_THAT(error_of_rev(store, "mian"), IsError(ErrorKind::not_found, "did you mean 'main'?"));
}

TEST_F(StoreHandleTest, IdsAreFoundByPrefixOfFourDigitsOrMoreInEitherCase) {
  Store store = make();
  const SnapshotId id = store.commit(numbered(1)).id;
  const std::string hex = to_hex(id);
  for (const std::size_t digits : {4, 5, 31, 32}) EXPECT_EQ(store.resolve(hex.substr(0, digits)), id) << digits;
  std::string upper = hex;
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  EXPECT_EQ(store.resolve(upper), id);
  EXPECT_THAT(error_of_rev(store, hex.substr(0, 3)), IsError(ErrorKind::not_found, "no ref, tag or snapshot"));
  EXPECT_THAT(error_of_rev(store, hex + "0"), IsError(ErrorKind::not_found, "no ref, tag or snapshot"));
  const char other = hex[3] == '0' ? '1' : '0';
  EXPECT_THAT(error_of_rev(store, hex.substr(0, 3) + other), IsError(ErrorKind::not_found, "no ref"));
}

TEST_F(StoreHandleTest, ExactRefWinsOverAnIdPrefix) {
  Store store = make();
  const SnapshotId first = store.commit(numbered(1)).id;
  const SnapshotId second = store.commit(numbered(2)).id;
  const std::string name = to_hex(first).substr(0, 6);
  store.set_ref(name, second);
  EXPECT_EQ(store.resolve(name), second);
  EXPECT_EQ(store.resolve(name + "~1"), first);
  EXPECT_EQ(store.resolve(to_hex(first).substr(0, 7)), first);
}

TEST_F(StoreHandleTest, AmbiguousPrefixNamesWhatItCouldBe) {
  Store store = make();
  store.commit(numbered(1));
  {
    const Bytes record = pattern(8);
    Catalog rows(catalog(), store_id(), false);
    CatalogWriter writer = rows.write();
    CatalogRoot root = writer.root();
    for (const std::uint64_t low : {1, 2}) {
      writer.put_snapshot({0xabcd'ef00'0000'0000, low}, encode_snapshot_row({.record = record}));
      ++root.snapshot_count;
    }
    writer.commit(root);
  }
  EXPECT_THAT(error_of_rev(store, "abcd"), IsError(ErrorKind::invalid_argument, "is ambiguous"));
  EXPECT_THAT(error_of_rev(store, "ABCDEF00"),
              IsError(ErrorKind::invalid_argument, "abcdef00000000000000000000000001"));
  EXPECT_EQ(store.resolve("abcdef00000000000000000000000002").low, 2u);
}

// Attaching workers must not depend on LMDB.
TEST_F(StoreHandleTest, HeadsAndTagsOpenWithoutTheCatalog) {
  Store store = make();
  store.create_tag("v1", store.commit(numbered(1)).id);
  store.commit(numbered(2), {.ref = "exp/a"});
  std::filesystem::remove_all(catalog());
  for (const Mode mode : {Mode::shared, Mode::private_, Mode::copy}) {
    const Snapshot snapshot = open().snapshot("main", {.mode = mode});
    EXPECT_EQ(copy_of(snapshot["w"].bytes()), pattern(100, 1));
  }
  EXPECT_EQ(content(open(), "v1"), pattern(100, 1));
  EXPECT_EQ(content(open(), "exp/a"), pattern(100, 2));
  EXPECT_FALSE(error_of([&] { open().resolve("main"); }));
  EXPECT_TRUE(error_of([&] { open().refs(); }));
  EXPECT_THAT(list_directory(path()), ElementsAre("TENON", "ballast", "heads", "journal", "segments"));
}

TEST_F(StoreHandleTest, AHandleSeesWhatOthersCommitted) {
  Store store = make();
  const Store reader = open();
  store.commit(numbered(1));
  EXPECT_EQ(content(reader, "main"), pattern(100, 1));
  const Snapshot old = reader.snapshot();
  store.commit(numbered(2));
  EXPECT_EQ(content(reader, "main"), pattern(100, 2));
  EXPECT_EQ(copy_of(old["w"].bytes()), pattern(100, 1));
}

TEST_F(StoreHandleTest, AHandleOpenedBeforeAForkIsRefusedInTheChild) {
  Store store = make();
  store.commit(numbered(1));
  const Snapshot snapshot = store.snapshot();
  EXPECT_EQ(testing::run_in_child([&] {
              const auto refused = [&](const auto& use) {
                const auto error = error_of(use);
                return error && error->kind() == ErrorKind::invalid_argument;
              };
              const bool all_refused = refused([&] { store.snapshot(); }) && refused([&] { store.refs(); }) &&
                                       refused([&] { store.commit(numbered(2)); }) &&
                                       refused([&] { store.delete_ref("main"); });
              const bool still_readable = copy_of(snapshot["w"].bytes()) == pattern(100, 1);
              return all_refused && still_readable && open().refs().size() == 1 ? 0 : 1;
            }),
            testing::succeeded);
}

class BundleTest : public StoreHandleTest {
 protected:
  std::filesystem::path bundle() const { return base() / "m.tenon"; }
};

TEST_F(BundleTest, HoldsEverythingOfItsSnapshotInOneFile) {
  Store store = make();
  store.commit(DraftBuilder{}.slot(pattern(100, 1)).tensor("w").slot(pattern(2 << 20, 2)).tensor("old"));
  DraftBuilder draft;
  draft.slot(pattern(100, 1)).tensor("w").slot(pattern(3 << 20, 3)).tensor("big").slot(pattern(100, 1)).tensor("twin");
  draft.slot(Bytes{}).tensor("none");
  draft.draft().structure = pattern(40);
  draft.draft().attachments = {{"a", pattern(10)}};
  draft.draft().step = 5;
  const SnapshotId id = store.commit(draft).id;
  store.bundle("main", bundle());
  std::filesystem::remove_all(path());

  const Store opened = Store::open(bundle());
  EXPECT_TRUE(opened.is_bundle());
  for (const Mode mode : {Mode::shared, Mode::private_, Mode::copy}) {
    const Snapshot snapshot = opened.snapshot("main", {.mode = mode});
    EXPECT_EQ(snapshot.id(), id);
    EXPECT_EQ(snapshot.info().step, 5);
    EXPECT_EQ(snapshot.info().parents.size(), 1u);
    EXPECT_EQ(copy_of(snapshot["w"].bytes()), pattern(100, 1));
    EXPECT_EQ(copy_of(snapshot["big"].bytes()), pattern(3 << 20, 3));
    EXPECT_EQ(copy_of(snapshot["twin"].bytes()), pattern(100, 1));
    EXPECT_THAT(snapshot["none"].bytes(), IsEmpty());
    EXPECT_EQ(copy_of(snapshot.structure()), pattern(40));
    EXPECT_EQ(copy_of(snapshot.attachments()[0].bytes), pattern(10));
    EXPECT_TRUE(snapshot.statistics(0));
    EXPECT_EQ(mode == Mode::shared, snapshot["w"].data() == snapshot["twin"].data());
  }
  EXPECT_THAT(damage_of(bundle()), IsEmpty());
  EXPECT_EQ(std::filesystem::file_size(bundle()) / (3 << 20), 1u);  // without what only the parent needs
  EXPECT_THAT(list_directory(base()), ElementsAre("m.tenon"));
}

TEST_F(BundleTest, IsOpenedByMainByItsRefOrById) {
  Store store = make();
  const SnapshotId id = store.commit(numbered(1), {.ref = "exp/a"}).id;
  store.bundle("exp/a", bundle());
  const Store opened = Store::open(bundle());
  for (const std::string& rev : {std::string("main"), std::string("exp/a"), to_hex(id), to_hex(id).substr(0, 4)}) {
    EXPECT_EQ(opened.resolve(rev), id) << rev;
    EXPECT_EQ(content(opened, rev), pattern(100, 1)) << rev;
  }
  EXPECT_THAT(error_of_rev(opened, "main~1"), IsError(ErrorKind::not_found, "does not hold"));
  EXPECT_THAT(error_of_rev(opened, "dev"), IsError(ErrorKind::not_found, to_hex(id)));
  EXPECT_THAT(names(opened), ElementsAre("main", "exp/a"));
  ASSERT_EQ(opened.log().size(), 1u);
  EXPECT_EQ(opened.log()[0].id, id);
  EXPECT_THAT(opened.log("main", 0), IsEmpty());
}

TEST_F(BundleTest, OfAnOlderSnapshotByIdIsItsMain) {
  Store store = make();
  store.commit(numbered(1));
  store.commit(numbered(2));
  store.bundle("main~1", bundle());
  EXPECT_EQ(content(Store::open(bundle()), "main"), pattern(100, 1));
  EXPECT_THAT(names(Store::open(bundle())), ElementsAre("main"));
}

TEST_F(BundleTest, IsReadOnly) {
  Store store = make();
  const SnapshotId id = store.commit(numbered(1)).id;
  store.bundle("main", bundle());
  Store opened = Store::open(bundle());
  EXPECT_THAT(error_of([&] { opened.commit(numbered(2)); }), IsError(ErrorKind::unsupported, "read-only"));
  EXPECT_THAT(error_of([&] { opened.set_ref("x", id); }), IsError(ErrorKind::unsupported, "read-only"));
  EXPECT_THAT(error_of([&] { opened.create_tag("x", id); }), IsError(ErrorKind::unsupported, "read-only"));
  EXPECT_THAT(error_of([&] { opened.delete_ref("main"); }), IsError(ErrorKind::unsupported, "read-only"));
}

TEST_F(BundleTest, OfABundleIsTheSameSnapshot) {
  Store store = make();
  const SnapshotId id = store.commit(numbered(1)).id;
  store.bundle("main", bundle());
  Store::open(bundle()).bundle("main", base() / "again.tenon");
  EXPECT_EQ(Store::open(base() / "again.tenon").resolve("main"), id);
  EXPECT_THAT(damage_of(base() / "again.tenon"), IsEmpty());
}

TEST_F(BundleTest, ReplacesNothingAndLeavesNothingWhenItFails) {
  Store store = make();
  store.commit(numbered(1));
  testing::write_file(bundle(), pattern(5));
  EXPECT_THAT(error_of([&] { store.bundle("main", bundle()); }), IsError(ErrorKind::conflict, "exists already"));
  EXPECT_EQ(testing::content_of_file(bundle()), pattern(5));
  EXPECT_THAT(error_of([&] { store.bundle("dev", base() / "x"); }), IsError(ErrorKind::not_found, "'dev'"));
  testing::flip_byte(segment(1), Segment::open(segment(1))->storages()[0].offset);
  EXPECT_THAT(error_of([&] { store.bundle("main", base() / "x"); }), IsError(ErrorKind::corrupt, "digest differs"));
  EXPECT_THAT(list_directory(base()), ElementsAre("m.tenon", "run.tenon"));
}

TEST_F(BundleTest, DamageIsFoundByVerify) {
  Store store = make();
  store.commit(one_tensor(pattern(200'000)));
  store.bundle("main", bundle());
  testing::flip_byte(bundle(), Segment::open(bundle())->storages()[0].offset + 100'000);
  const VerifyReport report = Store::verify(bundle(), {.read_data = true});
  ASSERT_EQ(report.damage.size(), 1u);
  EXPECT_EQ(report.damage[0].what, "stored bytes differ from their digest");
  EXPECT_THAT(report.damage[0].snapshots, ElementsAre(to_hex(Store::open(bundle()).resolve("main"))));
  EXPECT_EQ(report.read_bytes, 200'000u);
}

TEST(RevTest, IdPrefixesAreFourToThirtyTwoHexDigits) {
  EXPECT_TRUE(is_id_prefix("beef"));
  EXPECT_TRUE(is_id_prefix("BEEF01"));
  EXPECT_TRUE(is_id_prefix(std::string(32, '0')));
  for (const std::string& text : {std::string("bee"), std::string("main"), std::string(33, '0'), std::string()}) {
    EXPECT_FALSE(is_id_prefix(text)) << text;
  }
}

}  // namespace
}  // namespace tenon
