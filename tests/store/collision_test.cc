// Two storages with one digest. XXH3 is not collision-resistant, so such pairs can be made, and a store that believed
// its digests would hand out one for the other.
//
// How the pair is made. XXH3 takes blocks of 1024 bytes, each as 16 stripes of 8 lanes of 64 bits. A block enters the
// state of a lane only through two sums modulo 2^64 over the lane's words w(n), where k(n) are known words of the
// secret and x(n) = w(n) ^ k(n):
//
//   S = sum of w(n)             P = sum of low32(x(n)) * high32(x(n))
//
// So whoever keeps both sums may choose 12 of the 16 words freely and solve for the other four:
//   - high and low are words with x = (h << 32) and x = l: they add nothing to P, and fix the upper and lower halves
//     of S at will
//   - a and b have low32(x) = 2^32 - 1 and 1: quotient and remainder of what P lacks, divided by 2^32 - 1
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include <array>

#include "store/segment.h"
#include "tests/store/store_fixture.h"

namespace tenon {
namespace {

using testing::Bytes;
using testing::copy_of;
using testing::DraftBuilder;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::one_tensor;
using testing::pattern;

constexpr std::size_t lanes = 8;
constexpr std::size_t stripes = 16;  // of a block
constexpr std::size_t solved_stripes = 4;

// One lane of a block: its words, and the words of the secret that they are combined with.
class Lane {
 public:
  Lane(std::span<std::byte> block, std::size_t lane) : block_(block), lane_(lane) {}

  std::uint64_t word(std::size_t stripe) const {
    std::uint64_t value;
    std::memcpy(&value, block_.data() + offset(stripe), sizeof value);
    return value;
  }
  void set_word(std::size_t stripe, std::uint64_t value) {
    std::memcpy(block_.data() + offset(stripe), &value, sizeof value);
  }
  // The default secret is the one generated from seed 0. Every stripe advances by 8 bytes in it.
  std::uint64_t key(std::size_t stripe) const {
    static const auto secret = [] {
      std::array<std::byte, XXH3_SECRET_DEFAULT_SIZE> bytes;
      XXH3_generateSecret_fromSeed(bytes.data(), 0);
      return bytes;
    }();
    std::uint64_t value;
    std::memcpy(&value, secret.data() + 8 * (stripe + lane_), sizeof value);
    return value;
  }
  std::uint64_t product(std::size_t stripe) const {
    const std::uint64_t x = word(stripe) ^ key(stripe);
    return (x & 0xFFFFFFFFu) * (x >> 32);
  }
  std::uint64_t sum_of_words(std::size_t from = 0) const {
    std::uint64_t sum = 0;
    for (std::size_t n = from; n < stripes; ++n) sum += word(n);
    return sum;
  }
  std::uint64_t sum_of_products(std::size_t from = 0) const {
    std::uint64_t sum = 0;
    for (std::size_t n = from; n < stripes; ++n) sum += product(n);
    return sum;
  }
  // Chooses words 0 to 3 so that both sums are as wanted, whatever the other words are.
  void solve(std::uint64_t wanted_words, std::uint64_t wanted_products) {
    constexpr std::uint64_t ones = 0xFFFFFFFFu;
    const std::uint64_t lacking = wanted_products - sum_of_products(solved_stripes);
    ASSERT_LE(lacking / ones, ones);  // fails for one in 2^32
    set_word(0, ((lacking / ones) << 32 | ones) ^ key(0));
    set_word(1, ((lacking % ones) << 32 | 1) ^ key(1));
    const std::uint64_t rest = wanted_words - sum_of_words(solved_stripes) - word(0) - word(1);
    const std::uint64_t low = (rest - (key(2) & ones)) & ones;  // word 2 has key 2's lower half, word 3 key 3's upper
    set_word(3, (key(3) & ~ones) | low);
    set_word(2, rest - word(3));
  }

 private:
  std::size_t offset(std::size_t stripe) const { return stripe * lanes * 8 + lane_ * 8; }
  std::span<std::byte> block_;
  std::size_t lane_;
};

// Other bytes with the digest of `victim`: in the first block, `text` where it fits and what it takes to hide it.
Bytes second_preimage(const Bytes& victim, std::span<const std::byte> text) {
  Bytes forged = victim;
  const std::size_t solved_bytes = solved_stripes * lanes * 8;
  std::copy_n(text.begin(), std::min(text.size(), 1024 - solved_bytes), forged.begin() + solved_bytes);
  Bytes original = victim;
  const auto original_block = std::span(original).first(1024);
  const auto forged_block = std::span(forged).first(1024);
  for (std::size_t lane = 0; lane < lanes; ++lane) {
    const Lane wanted(original_block, lane);
    Lane(forged_block, lane).solve(wanted.sum_of_words(), wanted.sum_of_products());
  }
  return forged;
}

class CollisionTest : public testing::StoreTest {
 protected:
  const Bytes victim_ = pattern(4096, 1);
  const Bytes forged_ = second_preimage(victim_, pattern(768, 2));
};

TEST_F(CollisionTest, ThePairDiffersAndCollides) {
  ASSERT_EQ(victim_.size(), forged_.size());
  EXPECT_NE(victim_, forged_);
  const Bytes text = pattern(768, 2);
  EXPECT_TRUE(std::equal(text.begin(), text.end(), forged_.begin() + 256));
  EXPECT_EQ(digest_bytes(victim_), digest_bytes(forged_));
  EXPECT_EQ(digest_storage(victim_), digest_storage(forged_));
}

TEST_F(CollisionTest, OneAfterTheOtherAtOnePathBothReadBackExact) {
  Store store = make();
  store.commit(one_tensor(victim_));
  const CommitResult second = store.commit(one_tensor(forged_));
  EXPECT_EQ(second.written_bytes, forged_.size());
  const Snapshot older = store.snapshot("main~1"), newer = store.snapshot("main");
  EXPECT_EQ(older.slot(0).key, newer.slot(0).key);
  EXPECT_EQ(copy_of(older["w"].bytes()), victim_);
  EXPECT_EQ(copy_of(newer["w"].bytes()), forged_);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(CollisionTest, OneAfterTheOtherUnderOtherNamesBothReadBackExact) {
  Store store = make();
  store.commit(DraftBuilder{}.slot(victim_).tensor("theirs"), {.ref = "theirs"});
  const CommitResult second = store.commit(DraftBuilder{}.slot(forged_).tensor("mine"), {.ref = "mine"});
  EXPECT_EQ(second.written_bytes, forged_.size());
  EXPECT_EQ(copy_of(store.snapshot("theirs")["theirs"].bytes()), victim_);
  EXPECT_EQ(copy_of(store.snapshot("mine")["mine"].bytes()), forged_);
}

TEST_F(CollisionTest, InOneDraftTheyAreTwoPlacements) {
  Store store = make();
  const CommitResult result =
      store.commit(DraftBuilder{}.slot(victim_).tensor("a").slot(forged_).tensor("b").slot(victim_).tensor("c"));
  EXPECT_EQ(result.written_storages, 2u);
  EXPECT_EQ(result.reused_storages, 1u);
  const Snapshot snapshot = store.snapshot();
  EXPECT_NE(snapshot["a"].data(), snapshot["b"].data());
  EXPECT_EQ(snapshot["a"].data(), snapshot["c"].data());
  for (const Mode mode : {Mode::shared, Mode::private_, Mode::copy}) {
    const Snapshot loaded = store.snapshot("main", {.mode = mode});
    EXPECT_EQ(copy_of(loaded["a"].bytes()), victim_);
    EXPECT_EQ(copy_of(loaded["b"].bytes()), forged_);
    EXPECT_EQ(copy_of(loaded["c"].bytes()), victim_);
  }
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_F(CollisionTest, BothAreFoundAgainByTheirBytes) {
  Store store = make();
  store.commit(DraftBuilder{}.slot(victim_).tensor("a").slot(forged_).tensor("b"));
  const CommitResult moved = store.commit(DraftBuilder{}.slot(forged_).tensor("a").slot(victim_).tensor("b"));
  EXPECT_EQ(moved.written_bytes, 0u);
  EXPECT_EQ(copy_of(store.snapshot()["a"].bytes()), forged_);
  EXPECT_EQ(copy_of(store.snapshot()["b"].bytes()), victim_);
}

TEST_F(CollisionTest, RepairAndBundleKeepThemApart) {
  Store store = make();
  store.commit(DraftBuilder{}.slot(victim_).tensor("a").slot(forged_).tensor("b"));
  store.bundle("main", base() / "both.tenon");
  std::filesystem::remove_all(catalog());
  Store::repair(path());
  for (const Store& repaired : {open(), Store::open(base() / "both.tenon")}) {
    EXPECT_EQ(copy_of(repaired.snapshot()["a"].bytes()), victim_);
    EXPECT_EQ(copy_of(repaired.snapshot()["b"].bytes()), forged_);
  }
  EXPECT_THAT(damage(), IsEmpty());
  EXPECT_THAT(damage_of(base() / "both.tenon"), IsEmpty());
}

// The digests of leaves collide like any others, and with them the digest over them.
TEST_F(CollisionTest, StoragesOfSeveralLeavesCollideInOneLeafAndStayApart) {
  Bytes victim = pattern(3 * leaf_bytes), forged = victim;
  const std::span block = std::span(forged).subspan(leaf_bytes, 4096);
  const Bytes other = second_preimage(copy_of(block), pattern(768, 2));
  std::copy(other.begin(), other.end(), block.begin());
  ASSERT_EQ(digest_storage(victim), digest_storage(forged));
  Store store = make();
  store.commit(one_tensor(victim));
  store.commit(one_tensor(forged));
  EXPECT_EQ(copy_of(store.snapshot("main~1")["w"].bytes()), victim);
  EXPECT_EQ(copy_of(store.snapshot("main")["w"].bytes()), forged);
  EXPECT_THAT(damage(), IsEmpty());
}

}  // namespace
}  // namespace tenon
