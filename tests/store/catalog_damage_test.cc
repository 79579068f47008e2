// Damage to the catalog's files. Whatever byte is wrong, a reader sees the data as it was, or a typed error, never
// other data. LMDB trusts its own pages, so some damage kills whoever reads them: only children meet it here, and those
// deaths are counted.
//
// TENON_TEST_THOROUGH=1 tries every bit of every byte (minutes) instead of one bit of some bytes.

#include <gtest/gtest.h>

#include <iostream>

#include "store/catalog_rows.h"
#include "tests/store/catalog_fixture.h"
#include "tests/store/child.h"
#include "tests/store/damage.h"

namespace tenon::testing {
namespace {

constexpr std::uint64_t numbers = 8;

class CatalogDamageTest : public CatalogTest {
 protected:
  CatalogDamageTest() {
    Catalog catalog = make();
    commit_each(catalog, numbers, 300);
    CatalogWriter writer = catalog.write();  // rows on pages of their own, too
    writer.put_snapshot(id_of(1), row_of(1, 5000));
    writer.commit(root_after(numbers));
    wanted_ = content_of(writer_ended(writer).read(), numbers);
  }

  // What a reader makes of the files as they are. Rows that should be there and are said not to be are damage that the
  // caller sees; whatever else differs is not.
  Verdict judge_reading() const try {
    const Catalog catalog = open();
    const Content found = content_of(catalog.read(), numbers);
    const bool has_all = found.rows.size() == numbers && found.single_segments.size() == numbers;
    Verdict verdict = found == wanted_ ? Verdict::identical : Verdict::reported;
    if (found.root != wanted_.root || found.ids != wanted_.ids || found.segments != wanted_.segments) {
      verdict = Verdict::other;
    }
    for (const auto& [number, row] : found.rows) {
      if (row != wanted_.rows.at(number)) verdict = Verdict::other;
    }
    for (const auto& [number, segment] : found.single_segments) {
      if (segment != wanted_.single_segments.at(number)) verdict = Verdict::other;
    }
    for (std::size_t n = 0; n < numbers; ++n) {
      for (const SnapshotId& id : found.with_prefix[n]) {
        if (id != id_of(n)) verdict = Verdict::other;
      }
    }
    if (verdict == Verdict::reported && has_all && found.hints != wanted_.hints) verdict = Verdict::identical;
    catalog.check();
    return verdict;
  } catch (const Error&) {
    return Verdict::reported;
  }

  // After one more commit on the damaged files.
  Verdict judge_writing() try {
    Catalog catalog = open();
    commit_each(catalog, numbers + 1, 6000, numbers);
    const Content found = content_of(open().read(), numbers + 1);
    if (found.root != root_after(numbers + 1) || found.ids.size() != numbers + 1) return Verdict::other;
    if (found.segments.size() != numbers + 1 || found.rows.at(numbers) != row_of(numbers, 6000)) return Verdict::other;
    for (const auto& [number, row] : wanted_.rows) {
      if (found.rows.contains(number) && found.rows.at(number) != row) return Verdict::other;
    }
    return found.rows.size() == numbers + 1 ? Verdict::identical : Verdict::reported;
  } catch (const Error&) {
    return Verdict::reported;
  }

  const Content& wanted() const { return wanted_; }

 private:
  Catalog writer_ended(CatalogWriter& writer) const {
    { const CatalogWriter gone = std::move(writer); }
    return open();
  }
  Content wanted_;
};

TEST_F(CatalogDamageTest, NoFlippedBitShowsOtherData) {
  const Tally tally = flip_bits(data(), {3, 1}, [&] { return judge_reading(); });
  std::cout << "reading: " << tally << "\n";
  EXPECT_EQ(tally.other, 0u) << "first at flip " << tally.first_other;
  EXPECT_GT(tally.identical, 0u);
  EXPECT_GT(tally.reported, 1000u);
  EXPECT_LT(tally.deaths, tally.reported / 4);
}

TEST_F(CatalogDamageTest, NoFlippedBitMakesACommitShowOtherData) {
  const std::vector<std::byte> good_lock = read_file(lock(), 100);
  File lock_file = File::open(lock(), File::Access::read_write);
  const Tally tally = flip_bits(data(), {13, 1}, [&] {
    lock_file.write_at(0, good_lock);
    return judge_writing();
  });
  std::cout << "writing: " << tally << "\n";
  EXPECT_EQ(tally.other, 0u) << "first at flip " << tally.first_other;
  EXPECT_GT(tally.identical, 0u);
  EXPECT_GT(tally.reported, 100u);
}

TEST_F(CatalogDamageTest, ADamagedWatermarkIsHarmlessYetFound) {
  const Tally reading = flip_bits(
      lock(), {}, [&] { return content_of(open().read(), numbers) == wanted() ? Verdict::identical : Verdict::other; });
  EXPECT_EQ(reading.other + reading.deaths + reading.reported, 0u);
  const Tally checking = flip_bits(lock(), {}, [&] { return judge_reading(); });
  EXPECT_EQ(checking.reported, reading.identical);
  for (std::uintmax_t size : {0, 1, 15, 17, 4096}) {
    std::filesystem::resize_file(lock(), size);
    EXPECT_EQ(content_of(open().read(), numbers), wanted()) << size;
  }
  Catalog catalog = open();
  commit_each(catalog, numbers + 1, 100, numbers);
  EXPECT_NO_THROW(catalog.check());
}

TEST_F(CatalogDamageTest, EveryTruncationIsATypedError) {
  const std::vector<std::byte> good = read_file(data(), 1 << 24);
  std::vector<std::uint64_t> lengths;
  for (std::uint64_t page = 0; page < good.size(); page += 512) {
    for (const std::uint64_t odd : {0, 1, 16, 151, 152, 511}) lengths.push_back(page + odd);
  }
  File file = File::open(data(), File::Access::read_write);
  const Catalog kept_open = open();
  (void)kept_open.read();
  const Tally tally = try_all(
      lengths.size(), [&](std::uint64_t i) { file.truncate(lengths[i]); },
      [&] {
        const bool kept_open_throws = kind_thrown_by([&] { (void)Catalog(open()).read(); }) == ErrorKind::corrupt;
        return kept_open_throws ? judge_reading() : Verdict::other;
      },
      [&](std::uint64_t) {
        file.truncate(good.size());
        file.write_at(0, good);
      });
  EXPECT_EQ(tally.reported, lengths.size());
  EXPECT_EQ(content_of(open().read(), numbers), wanted());
}

TEST_F(CatalogDamageTest, ATruncationIsSeenByACatalogThatIsOpen) {
  Catalog catalog = open();
  (void)catalog.read();
  std::filesystem::resize_file(data(), std::filesystem::file_size(data()) - 4096);
  EXPECT_EQ(kind_thrown_by([&] { (void)catalog.read(); }), ErrorKind::corrupt);
  EXPECT_EQ(kind_thrown_by([&] { (void)catalog.write(); }), ErrorKind::corrupt);
}

TEST_F(CatalogDamageTest, AFileFromThePastIsStale) {
  const std::filesystem::path past = base() / "past";
  std::filesystem::copy_file(data(), past);
  Catalog catalog = open();
  commit_each(catalog, numbers + 1, 300, numbers);
  std::filesystem::copy_file(past, data(), std::filesystem::copy_options::overwrite_existing);
  EXPECT_EQ(kind_thrown_by([&] { (void)catalog.read(); }), ErrorKind::corrupt);
  EXPECT_EQ(kind_thrown_by([&] { (void)open().read(); }), ErrorKind::corrupt);
  EXPECT_EQ(kind_thrown_by([&] { (void)open().write(); }), ErrorKind::corrupt);
}

TEST_F(CatalogDamageTest, ARowUnderAnotherKeyIsNone) {
  const catalog_rows::Key a(catalog_rows::Table::snapshots, Digest{1, 2}),
      b(catalog_rows::Table::snapshots, Digest{1, 3});
  const auto row = catalog_rows::seal(a.bytes(), std::as_bytes(std::span("row")));
  EXPECT_TRUE(catalog_rows::unseal(a.bytes(), row));
  EXPECT_FALSE(catalog_rows::unseal(b.bytes(), row));
}

// Pages of older states in place of current ones, and pages of the current state in each other's place.
TEST_F(CatalogDamageTest, NoMisplacedPageShowsOtherData) {
  constexpr std::uint64_t page = 4096;
  std::vector<std::vector<std::byte>> sources;
  {
    Catalog catalog = open();
    for (std::uint64_t state = 0; state < 6; ++state) {
      sources.push_back(read_file(data(), 1 << 24));
      CatalogWriter writer = catalog.write();
      writer.put_snapshot(id_of(state), row_of(100 + state, 280));
      writer.put_snapshot(id_of(state), row_of(state, state == 1 ? 5000 : 300));
      writer.put_segment(state, {id_of(state + 1'000'000), 4096 + state});
      writer.commit(root_after(numbers));
    }
  }
  const std::vector<std::byte> good = read_file(data(), 1 << 24);
  sources.push_back(good);
  const std::uint64_t pages = good.size() / page;
  ASSERT_EQ(content_of(open().read(), numbers), wanted());

  File file = File::open(data(), File::Access::read_write);
  const Tally tally = try_all(
      sources.size() * pages * pages,
      [&](std::uint64_t i) {
        const auto& source = sources[i / (pages * pages)];
        const std::uint64_t from = i / pages % pages * page;
        if (from + page <= source.size()) file.write_at(i % pages * page, std::span(source).subspan(from, page));
      },
      [&] { return judge_reading(); },
      [&](std::uint64_t i) {
        const std::uint64_t to = i % pages * page;
        file.write_at(to, std::span(good).subspan(to, page));
      });
  std::cout << "misplaced pages: " << tally << "\n";
  EXPECT_EQ(tally.other, 0u) << "first at " << tally.first_other;
  EXPECT_GT(tally.identical, 0u);
  EXPECT_GT(tally.reported, 0u);
}

}  // namespace
}  // namespace tenon::testing
