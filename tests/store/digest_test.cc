#include "store/digest.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

namespace tenon {
namespace {

std::vector<std::byte> pattern(std::uint64_t nbytes) {
  std::vector<std::byte> bytes(nbytes);
  for (std::uint64_t i = 0; i < nbytes; ++i) bytes[i] = static_cast<std::byte>((i * 2654435761u) >> 13);
  return bytes;
}

std::string hex_of_storage(std::uint64_t nbytes) { return to_hex(digest_storage(pattern(nbytes))); }

// The rule of the header, written out a second time: leaf digests as little-endian bytes, then the length.
Digest two_level(std::span<const std::byte> bytes) {
  std::vector<std::byte> text;
  const auto put = [&](std::uint64_t word) {
    for (int i = 0; i < 8; ++i) text.push_back(static_cast<std::byte>(word >> (8 * i)));
  };
  for (std::uint64_t at = 0; at < bytes.size(); at += leaf_bytes) {
    const Digest leaf = digest_bytes(bytes.subspan(at, std::min<std::uint64_t>(leaf_bytes, bytes.size() - at)));
    put(leaf.high);
    put(leaf.low);
  }
  put(bytes.size());
  return digest_bytes(text);
}

TEST(DigestTest, EmptyBytesHaveThePublishedDigest) {
  EXPECT_EQ(to_hex(digest_bytes({})), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(checksum_bytes({}), 0x2d06800538d394c2u);
}

TEST(DigestTest, DigestsOfEveryVersionStayTheSame) {
  EXPECT_EQ(hex_of_storage(1), "a6cd5e9392000f6ac44bdff4074eecdb");
  EXPECT_EQ(hex_of_storage(1000), "ebf292819ecb8a2ca067b58e6ea5d2f2");
  EXPECT_EQ(hex_of_storage(leaf_bytes), "463ae68f708ee10132152aa15c5ff65a");
  EXPECT_EQ(hex_of_storage(leaf_bytes + 1), "bcaa3af80f43d40d4c746464277eef0c");
  EXPECT_EQ(hex_of_storage(20 * leaf_bytes), "aa0c8dc7f27ac306169432a300336bf3");
}

TEST(DigestTest, StorageOfOneLeafHasItsPlainDigest) {
  for (const std::uint64_t nbytes : {std::uint64_t{0}, std::uint64_t{1}, leaf_bytes - 1, leaf_bytes}) {
    EXPECT_EQ(digest_storage(pattern(nbytes)), digest_bytes(pattern(nbytes))) << nbytes;
  }
}

TEST(DigestTest, LargerStorageHasTheDigestOfItsLeafDigestsAndLength) {
  for (const std::uint64_t nbytes : {leaf_bytes + 1, 2 * leaf_bytes - 1, 2 * leaf_bytes, 7 * leaf_bytes + 12345}) {
    EXPECT_EQ(digest_storage(pattern(nbytes)), two_level(pattern(nbytes))) << nbytes;
    EXPECT_NE(digest_storage(pattern(nbytes)), digest_bytes(pattern(nbytes))) << nbytes;
  }
}

TEST(DigestTest, LeavesMayBeHashedApartAndCombined) {
  const auto bytes = pattern(3 * leaf_bytes + 5);
  std::vector<Digest> leaves(leaf_count(bytes.size()));
  for (std::size_t i = leaves.size(); i-- > 0;) {
    const std::uint64_t begin = i * leaf_bytes;
    leaves[i] =
        digest_bytes(std::span(bytes).subspan(begin, std::min<std::uint64_t>(leaf_bytes, bytes.size() - begin)));
  }
  EXPECT_EQ(combine_leaves(leaves, bytes.size()), digest_storage(bytes));
}

TEST(DigestTest, LengthIsPartOfTheDigest) {
  const std::vector<Digest> leaves(2, digest_bytes({}));
  EXPECT_NE(combine_leaves(leaves, leaf_bytes + 1), combine_leaves(leaves, leaf_bytes + 2));
}

TEST(DigestTest, OneFlippedBitAnywhereChangesTheDigest) {
  auto bytes = pattern(2 * leaf_bytes + 100);
  const Digest before = digest_storage(bytes);
  std::mt19937_64 random(1);
  for (int i = 0; i < 64; ++i) {
    const std::size_t at = random() % bytes.size();
    const std::byte bit = std::byte{1} << static_cast<int>(random() % 8);
    bytes[at] ^= bit;
    EXPECT_NE(digest_storage(bytes), before) << at;
    bytes[at] ^= bit;
  }
  EXPECT_EQ(digest_storage(bytes), before);
}

TEST(DigestTest, AlignmentDoesNotMatter) {
  const auto bytes = pattern(2 * leaf_bytes + 7);
  for (std::size_t shift = 1; shift < 16; ++shift) {
    std::vector<std::byte> moved(shift + bytes.size());
    std::memcpy(moved.data() + shift, bytes.data(), bytes.size());
    EXPECT_EQ(digest_storage(std::span(moved).subspan(shift)), digest_storage(bytes)) << shift;
  }
}

TEST(LeafCountTest, CountsAtTheBoundaries) {
  EXPECT_EQ(leaf_count(0), 1u);
  EXPECT_EQ(leaf_count(1), 1u);
  EXPECT_EQ(leaf_count(leaf_bytes), 1u);
  EXPECT_EQ(leaf_count(leaf_bytes + 1), 2u);
  EXPECT_EQ(leaf_count(UINT64_MAX), std::uint64_t{1} << 48);
}

TEST(ChecksumTest, DependsOnTheSeed) {
  EXPECT_EQ(checksum_bytes(pattern(100)), checksum_bytes(pattern(100), 0));
  EXPECT_NE(checksum_bytes(pattern(100)), checksum_bytes(pattern(100), 1));
  EXPECT_EQ(checksum_bytes(pattern(100), 7), 0xc819088e86e5f418u);
}

TEST(SketchTest, LooksAtAllLeavesUpToEight) {
  using Indices = std::vector<std::uint64_t>;
  EXPECT_EQ(sketch_leaves(0), (Indices{0}));
  EXPECT_EQ(sketch_leaves(leaf_bytes + 1), (Indices{0, 1}));
  EXPECT_EQ(sketch_leaves(8 * leaf_bytes), (Indices{0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST(SketchTest, LooksAtEightSpreadLeavesOfMore) {
  using Indices = std::vector<std::uint64_t>;
  EXPECT_EQ(sketch_leaves(8 * leaf_bytes + 1), (Indices{0, 1, 2, 3, 4, 5, 6, 8}));
  EXPECT_EQ(sketch_leaves(71 * leaf_bytes), (Indices{0, 10, 20, 30, 40, 50, 60, 70}));
}

TEST(SketchTest, IndicesRiseFromFirstToLastForEverySize) {
  for (std::uint64_t leaves = 1; leaves < 300; ++leaves) {
    const auto picked = sketch_leaves(leaves * leaf_bytes);
    EXPECT_EQ(picked.size(), std::min<std::uint64_t>(leaves, 8));
    EXPECT_EQ(picked.front(), 0u);
    EXPECT_EQ(picked.back(), leaves - 1);
    for (std::size_t i = 1; i < picked.size(); ++i) EXPECT_LT(picked[i - 1], picked[i]);
  }
  EXPECT_EQ(sketch_leaves(UINT64_MAX).back(), leaf_count(UINT64_MAX) - 1);
}

TEST(SketchTest, DependsOnLeavesAndLength) {
  const std::vector<Digest> leaves = {digest_bytes(pattern(1)), digest_bytes(pattern(2))};
  const std::vector<Digest> swapped = {leaves[1], leaves[0]};
  const std::uint64_t sketch = sketch_digest(leaves, 2 * leaf_bytes);
  EXPECT_EQ(sketch, 0x8a85d8a5728d56bdu);
  EXPECT_NE(sketch, sketch_digest(swapped, 2 * leaf_bytes));
  EXPECT_NE(sketch, sketch_digest(leaves, 2 * leaf_bytes - 1));
}

TEST(HexTest, HighWordComesFirstInLowerCase) {
  EXPECT_EQ(to_hex({.high = 0x0123456789abcdef, .low = 0xfedcba9876543210}), "0123456789abcdeffedcba9876543210");
}

TEST(HexTest, ReadsBackWhatItWrote) {
  const Digest digest = digest_bytes(pattern(10));
  Digest read;
  ASSERT_TRUE(from_hex(to_hex(digest), read));
  EXPECT_EQ(read, digest);
}

TEST(HexTest, RefusesAllElseAndLeavesTheResultAlone) {
  const std::string good(32, 'a');
  const Digest before{.high = 1, .low = 2};
  for (const std::string& text :
       {std::string(), good.substr(1), good + "a", "g" + good.substr(1), good.substr(1) + " ", "0x" + good.substr(2)}) {
    Digest digest = before;
    EXPECT_FALSE(from_hex(text, digest)) << text;
    EXPECT_EQ(digest, before) << text;
  }
}

}  // namespace
}  // namespace tenon
