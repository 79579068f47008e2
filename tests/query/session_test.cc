#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>

#include "query_fixture.h"

namespace tenon::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* endless =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

Facts facts_of(Session& session, const std::string& sql) {
  const auto error = error_of([&] { rows_of(session, sql); });
  EXPECT_TRUE(error) << sql;
  return error ? error->facts() : Facts{};
}

TEST(Session, ColumnsHaveNamesAndDeclaredTypes) {
  Session session = World::get().session();
  const Rows rows = session.query("SELECT name, norm AS n, is_view, shape, created_at, 1 + 1 FROM tensors('main')");
  std::vector<std::string> columns;
  for (const SqlColumn& column : rows.columns()) columns.push_back(column.name + " " + column.type);
  EXPECT_THAT(columns,
              ElementsAre("name TEXT", "n REAL", "is_view BOOLEAN", "shape JSON", "created_at TIMESTAMP", "1 + 1 "));
}

TEST(Session, ValuesKeepTheirTypes) {
  Session session;
  Rows rows = session.query("SELECT NULL, 7, 0.5, 'text', x'0102'");
  ASSERT_TRUE(rows.next());
  EXPECT_TRUE(std::holds_alternative<std::monostate>(rows[0]));
  EXPECT_EQ(std::get<std::int64_t>(rows[1]), 7);
  EXPECT_EQ(std::get<double>(rows[2]), 0.5);
  EXPECT_EQ(std::get<std::string_view>(rows[3]), "text");
  EXPECT_EQ(std::get<std::span<const std::byte>>(rows[4]).size(), 2u);
  EXPECT_FALSE(rows.next());
  EXPECT_FALSE(rows.next());
}

TEST(Session, SeveralStatementsAreAnsweredOneAfterTheOther) {
  Session session;
  const std::string_view text = "SELECT 1; -- one\n SELECT 2 ;\n";
  Rows first = session.query(text);
  EXPECT_EQ(first.rest(), " -- one\n SELECT 2 ;\n");
  Rows second = session.query(first.rest());
  ASSERT_TRUE(second.next());
  EXPECT_EQ(std::get<std::int64_t>(second[0]), 2);
  Rows nothing = session.query(second.rest());
  EXPECT_TRUE(nothing.columns().empty());
  EXPECT_FALSE(nothing.next());
}

TEST(Session, AWholeStatementIsKnownByItsEnd) {
  EXPECT_TRUE(Session::is_complete("SELECT 1;"));
  EXPECT_FALSE(Session::is_complete("SELECT 1"));
  EXPECT_FALSE(Session::is_complete("SELECT ';"));
}

TEST(Session, RowsOutliveTheirSession) {
  std::optional<Session> session = World::get().session();
  Rows rows = session->query("SELECT name FROM tensors('main') ORDER BY name");
  ASSERT_TRUE(rows.next());
  session.reset();
  EXPECT_TRUE(rows.next());
}

TEST(Session, StatementsMayOverlap) {
  Session session = World::get().session();
  Rows outer = session.query("SELECT name FROM refs ORDER BY name");
  int count = 0;
  while (outer.next()) {
    const std::string ref(std::get<std::string_view>(outer[0]));
    count += static_cast<int>(rows_of(session, "SELECT step FROM log('" + ref + "')").size());
  }
  EXPECT_EQ(count, 2 + 4 + 3);
}

TEST(Session, WithoutAStoreFilesAndPlainSqlAreAnswered) {
  Session session;
  EXPECT_THAT(rows_of(session, "SELECT 1 + 1"), ElementsAre("2"));
  EXPECT_THAT(rows_of(session, "SELECT count(*) FROM read_pt('" + (World::get().files() / "model.pt").string() + "')"),
              ElementsAre("7"));
  EXPECT_THAT(error_of([&] { rows_of(session, "SELECT * FROM refs"); }), IsError(ErrorKind::no_store, "no store"));
}

TEST(Session, ABundleAnswersForItsSnapshot) {
  Session session(Store::open(World::get().files() / "best.tenon"));
  EXPECT_THAT(rows_of(session, "SELECT step, count(*) FROM tensors('main') GROUP BY 1"), ElementsAre("1|24"));
  EXPECT_THAT(rows_of(session, "SELECT step FROM log('best')"), ElementsAre("1"));
  EXPECT_THAT(rows_of(session, "SELECT norm FROM history('main', 'extra/scalar')"), ElementsAre("2.5"));
  EXPECT_THAT(rows_of(session, "SELECT count(*), min(segment_id) FROM segments"), ElementsAre("1|0"));
  EXPECT_THAT(rows_of(session, "SELECT freed_bytes FROM snapshots"), ElementsAre("NULL"));
  EXPECT_THAT(rows_of(session, "SELECT at('main:extra/scalar')"), ElementsAre("2.5"));
}

// ---- errors

TEST(SessionError, PointsAtTheColumnAndKnowsNearNames) {
  Session session = World::get().session();
  const Facts facts = facts_of(session, "SELECT name,\n  nrom FROM tensors('main')");
  EXPECT_EQ(facts.file, sql_source);
  EXPECT_EQ(facts.offset, 15u);
  EXPECT_THAT(facts.hint, HasSubstr("'norm'"));
}

TEST(SessionError, PointsAtTheTable) {
  Session session = World::get().session();
  const Facts facts = facts_of(session, "SELECT 'tensor' FROM tensor");
  EXPECT_EQ(facts.offset, 21u);
  EXPECT_THAT(facts.hint, HasSubstr("'tensors'"));
}

TEST(SessionError, PointsAtTheFunction) {
  Session session = World::get().session();
  const Facts facts = facts_of(session, "SELECT -- quantle\n quantle(tensor, 1) FROM tensors");
  EXPECT_EQ(facts.offset, 19u);
  EXPECT_THAT(facts.hint, HasSubstr("'quantile'"));
}

TEST(SessionError, PointsAtTheTokenThatDoesNotFit) {
  Session session;
  EXPECT_EQ(facts_of(session, "SELECT 1 FRM x").offset, 13u);
}

TEST(SessionError, PointsIntoTheStatementThatIsExplained) {
  Session session = World::get().session();
  EXPECT_EQ(facts_of(session, "EXPLAIN SELECT nme FROM refs").offset, 15u);
}

TEST(SessionError, TextInDoubleQuotesIsToldFromNames) {
  Session session = World::get().session();
  EXPECT_THAT(facts_of(session, "SELECT name FROM refs WHERE name = \"trunk\"").hint, HasSubstr("single quotes"));
}

TEST(SessionError, NamesOfTheStoreAreSuggested) {
  Session session = World::get().session();
  EXPECT_THAT(facts_of(session, "SELECT * FROM history('main', 'model/layers.0.weigth')").hint,
              HasSubstr("model/layers.0.weight"));
  EXPECT_THAT(facts_of(session, "SELECT * FROM log('mian')").hint, HasSubstr("main"));
}

TEST(SessionError, LeavesTheSessionUsable) {
  Session session = World::get().session();
  facts_of(session, "SELECT at('main:extra/scalar', 1)");
  EXPECT_THAT(rows_of(session, "SELECT at('main:extra/scalar')"), ElementsAre("2.5"));
}

// ---- limits

TEST(SessionLimit, ADeadlineEndsAStatement) {
  Session session({}, {.deadline = std::chrono::milliseconds(20)});
  EXPECT_THAT(error_of([&] { rows_of(session, endless); }), IsError(ErrorKind::limit, "longer"));
  EXPECT_THAT(rows_of(session, "SELECT 1"), ElementsAre("1"));
}

TEST(SessionLimit, ADeadlineHoldsOverAllRows) {
  Session session({}, {.deadline = std::chrono::milliseconds(20)});
  Rows rows = session.query("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n");
  EXPECT_THAT(error_of([&] {
                while (rows.next()) continue;
              }),
              IsError(ErrorKind::limit, "longer"));
}

TEST(SessionLimit, MemoryThatAStatementSortsInIsBounded) {
  Session session({}, {.memory_bytes = 8 << 20});
  const std::string many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000000) ";
  EXPECT_THAT(error_of([&] {
                rows_of(session,
                        many + "SELECT max(x) FROM (SELECT hex(i) AS x FROM n ORDER BY random() LIMIT 1000000)");
              }),
              IsError(ErrorKind::limit, "memory"));
  EXPECT_THAT(error_of([&] { rows_of(session, many + "SELECT median(i) FROM n"); }),
              IsError(ErrorKind::limit, "memory"));
  EXPECT_THAT(error_of([&] { rows_of(session, many + "SELECT group_concat(i) FROM n"); }),
              IsError(ErrorKind::limit, ""));
}

// Each of them is as long as a text may be; all of them are in memory before there is a row.
TEST(SessionLimit, ManyLongTextsInOneRowAreBoundedTogether) {
  Session session({}, {.memory_bytes = 64 << 20, .value_bytes = 1 << 20});
  std::string many = "SELECT 1";
  for (int i = 0; i < 400; ++i) many += ", hex(zeroblob(500000))";
  EXPECT_THAT(error_of([&] { rows_of(session, many); }), IsError(ErrorKind::limit, "memory"));
}

TEST(SessionLimit, TextsAndStatementsAreBounded) {
  Session session({}, {.value_bytes = 1000, .statement_bytes = 2000});
  EXPECT_THAT(error_of([&] { rows_of(session, "SELECT zeroblob(2000)"); }), IsError(ErrorKind::limit, "too long"));
  EXPECT_THAT(error_of([&] { rows_of(session, "SELECT 1" + std::string(3000, ' ')); }),
              IsError(ErrorKind::limit, "too long"));
}

TEST(SessionLimit, DeepAndWideStatementsAreRefused) {
  Session session;
  const std::string deep = "SELECT " + std::string(3000, '(') + "1" + std::string(3000, ')');
  EXPECT_TRUE(error_of([&] { rows_of(session, deep); }));
  std::string wide = "SELECT 1";
  for (int i = 0; i < 3000; ++i) wide += " UNION ALL SELECT 1";
  EXPECT_TRUE(error_of([&] { rows_of(session, wide); }));
  EXPECT_THAT(error_of([&] { rows_of(session, std::string("SELECT \0 1", 10)); }),
              IsError(ErrorKind::invalid_argument, "zero byte"));
}

TEST(SessionInterrupt, EndsAStatementFromAnotherThread) {
  Session session;
  std::atomic<bool> is_running = false;
  session.set_progress([&] { is_running = true; });
  std::thread other([&] {
    while (!is_running) std::this_thread::yield();
    session.interrupt();
  });
  EXPECT_THAT(error_of([&] { rows_of(session, endless); }), IsError(ErrorKind::interrupted, "interrupted"));
  other.join();
  EXPECT_THAT(rows_of(session, "SELECT 1"), ElementsAre("1"));
}

TEST(SessionInterrupt, WhatProgressThrowsComesOut) {
  Session session;
  session.set_progress([] { throw std::runtime_error("enough"); });
  EXPECT_THROW(rows_of(session, endless), std::runtime_error);
}

// ---- functions of the caller's

TEST(SessionFunction, IsCalledWithTypedValues) {
  Session session;
  session.register_function("twice", 1, [](std::span<const SqlValue> arguments) -> SqlResult {
    if (const auto* text = std::get_if<std::string_view>(&arguments[0])) return std::string(*text) + std::string(*text);
    return std::get<std::int64_t>(arguments[0]) * 2;
  });
  EXPECT_THAT(rows_of(session, "SELECT twice(21), twice('ab')"), ElementsAre("42|abab"));
}

TEST(SessionFunction, WhatItThrowsComesOut) {
  Session session;
  session.register_function("fail", -1,
                            [](std::span<const SqlValue>) -> SqlResult { throw std::out_of_range("mine"); });
  EXPECT_THROW(rows_of(session, "SELECT fail(1, 2)"), std::out_of_range);
  EXPECT_THAT(rows_of(session, "SELECT 1"), ElementsAre("1"));
}

TEST(SessionFunction, NeedsAPossibleName) {
  Session session;
  const auto none = [](std::span<const SqlValue>) -> SqlResult { return {}; };
  EXPECT_THAT(error_of([&] { session.register_function(std::string(300, 'x'), 1, none); }),
              IsError(ErrorKind::invalid_argument, "no function can be called"));
}

TEST(SessionFunction, MustNotTakeANameThatHasAMeaning) {
  Session session;
  const auto none = [](std::span<const SqlValue>) -> SqlResult { return {}; };
  for (const char* name : {"LIKE", "glob", "Quantile", "regexp", "median"}) {
    EXPECT_THAT(error_of([&] { session.register_function(name, 2, none); }),
                IsError(ErrorKind::invalid_argument, "has a meaning already"))
        << name;
  }
}

TEST(SessionFunction, NaNBecomesNull) {
  Session session;
  session.register_function("nan", 0, [](std::span<const SqlValue>) -> SqlResult { return std::nan(""); });
  EXPECT_THAT(rows_of(session, "SELECT nan() IS NULL"), ElementsAre("1"));
}

// ---- what is read

class LongHistory : public StoreTest {
 protected:
  void SetUp() override {
    Store store = make();
    for (int step = 0; step < 40; ++step) {
      DraftBuilder builder;
      builder.slot(pattern(64, static_cast<std::uint64_t>(step))).tensor("w", DType::float32, {16});
      builder.slot(pattern(64, 1000)).tensor("constant", DType::float32, {16});
      builder.draft().step = step;
      store.commit(builder);
    }
  }
};

// The segment of the first commit has the layout of all.
TEST_F(LongHistory, OnePathIsReadFromTheCatalogAlone) {
  for (std::uint64_t sequence = 2; sequence <= 40; ++sequence) std::filesystem::remove(segment(sequence));
  Session session(open());
  EXPECT_THAT(rows_of(session,
                      "SELECT count(*), count(DISTINCT storage_id), min(step), max(step), sum(nbytes) "
                      "FROM history('main', 'w')"),
              ElementsAre("40|40|0|39|2560"));
  EXPECT_THAT(rows_of(session, "SELECT count(*), count(DISTINCT storage_id) FROM tensors WHERE name = 'constant'"),
              ElementsAre("40|1"));
  EXPECT_THAT(error_of([&] { rows_of(session, "SELECT max(norm) FROM history('main', 'w')"); }),
              IsError(ErrorKind::not_found, ".seg"));
}

TEST_F(LongHistory, ALimitEndsTheReading) {
  Session session(open());
  EXPECT_THAT(rows_of(session, "SELECT step FROM log('main') LIMIT 3"), ElementsAre("39", "38", "37"));
}

TEST_F(LongHistory, ACommitIsSeenByTheNextStatementOnly) {
  Session session(open());
  Rows rows = session.query("SELECT step FROM snapshots");
  ASSERT_TRUE(rows.next());
  Store writer = open();
  writer.commit(one_tensor(pattern(64)));
  int count = 1;
  while (rows.next()) ++count;
  EXPECT_EQ(count, 40);
  EXPECT_THAT(rows_of(session, "SELECT count(*) FROM snapshots"), ElementsAre("41"));
}

TEST_F(LongHistory, WhatIsForgottenMeanwhileIsLeftOut) {
  Session session(open());
  Rows rows = session.query("SELECT step FROM snapshots");
  ASSERT_TRUE(rows.next());
  Store writer = open();
  writer.forget({.keep = {.last = 1}});
  writer.gc();
  std::int64_t last = 0;
  while (rows.next()) last = std::get<std::int64_t>(rows[0]);
  EXPECT_EQ(last, 39);
  EXPECT_THAT(rows_of(session, "SELECT step FROM snapshots"), ElementsAre("39"));
  EXPECT_THAT(rows_of(session, "SELECT count(*) FROM history('main', 'w')"), ElementsAre("1"));
}

TEST_F(LongHistory, WhatWasReadBeforeItWasForgottenIsGoneToo) {
  Session session(open());
  const auto id = rows_of(session, "SELECT snapshot_id FROM tensors('main~3') WHERE name = 'w'").front();
  Store writer = open();
  writer.forget({.keep = {.last = 1}});
  EXPECT_THAT(rows_of(session, "SELECT count(*) FROM tensors WHERE snapshot_id = '" + id + "'"), ElementsAre("0"));
  EXPECT_THAT(error_of([&] { rows_of(session, "SELECT count(*) FROM tensors('" + id + "')"); }),
              IsError(ErrorKind::not_found, id));
}

TEST_F(LongHistory, NothingOfTheCatalogIsHeldBetweenRows) {
  Session session(open());
  Rows rows = session.query("SELECT step FROM log('main')");
  ASSERT_TRUE(rows.next());
  Store writer = open();
  EXPECT_NO_THROW(writer.create_tag("now", writer.resolve("main")));  // would wait for a reader's lock
}

TEST_F(LongHistory, HandlesStayWithTheirSnapshot) {
  Session session(open());
  const auto handle = rows_of(session, "SELECT tensor FROM tensors('main') WHERE name = 'w'").front();
  const auto before = rows_of(session, "SELECT slice('" + handle + "', ':2')");
  Store writer = open();
  writer.commit(one_tensor(pattern(64)));
  EXPECT_EQ(rows_of(session, "SELECT slice('" + handle + "', ':2')"), before);
}

TEST(SessionFile, IsReadAnewWhenItChanged) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "model.safetensors";
  std::filesystem::copy_file(World::get().files() / "first.safetensors", path);
  Session session;
  const std::string sql = "SELECT count(*) FROM read_safetensors('" + path.string() + "')";
  EXPECT_THAT(rows_of(session, sql), ElementsAre("2"));
  export_safetensors(Store::open(World::get().store()).snapshot("main"), path, {.prefix = "model"});
  EXPECT_THAT(rows_of(session, sql), ElementsAre("7"));
}

TEST(SessionFile, OfAnotherSessionIsNotOpenedByAHandle) {
  Session session, other;
  const auto path = (World::get().files() / "model.pt").string();
  const auto handle =
      rows_of(session, "SELECT tensor FROM read_pt('" + path + "') WHERE name = 'layers.0.bias'").front();
  EXPECT_THAT(rows_of(session, "SELECT at('" + handle + "', 0)"), ElementsAre("0.5"));
  EXPECT_THAT(error_of([&] { rows_of(other, "SELECT at('" + handle + "', 0)"); }),
              IsError(ErrorKind::not_found, "has not read"));
}

}  // namespace
}  // namespace tenon::testing
