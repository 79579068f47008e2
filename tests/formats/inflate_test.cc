#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "formats/inflate_stream.h"

namespace tenon {
namespace {

// Stored blocks of DEFLATE, each of at most 65,535 bytes: no compressor is needed to make a stream.
std::vector<std::byte> deflated(const std::vector<std::byte>& plain) {
  std::vector<std::byte> out;
  for (std::size_t at = 0; at < plain.size();) {
    const std::size_t length = std::min<std::size_t>(plain.size() - at, 65'535);
    const bool is_last = at + length == plain.size();
    const auto low = static_cast<std::uint16_t>(length);
    const auto inverse = static_cast<std::uint16_t>(~low);
    for (const int byte : {is_last ? 1 : 0, low & 0xFF, low >> 8, inverse & 0xFF, inverse >> 8}) {
      out.push_back(static_cast<std::byte>(byte));
    }
    out.insert(out.end(), plain.begin() + static_cast<std::ptrdiff_t>(at),
               plain.begin() + static_cast<std::ptrdiff_t>(at + length));
    at += length;
  }
  return out;
}

class InflateStreamTest : public testing::Test {
 protected:
  void SetUp() override {
    std::mt19937 random(7);
    plain_.resize(20'000'000);
    for (std::byte& b : plain_) b = static_cast<std::byte>(random() & 0xFFu);
    deflated_ = deflated(plain_);
  }

  InflateStream open(std::uint64_t inflated_bytes, std::vector<std::byte>* all = nullptr) const {
    const auto read = [this](std::uint64_t at, std::span<std::byte> out) {
      std::memcpy(out.data(), deflated_.data() + at, out.size());
    };
    return InflateStream(read, deflated_.size(), inflated_bytes, [&](std::span<const std::byte> piece) {
      if (all != nullptr) all->insert(all->end(), piece.begin(), piece.end());
    });
  }

  void check(const InflateStream& stream, std::uint64_t offset, std::size_t length) const {
    std::vector<std::byte> out(length);
    stream.read(offset, out);
    EXPECT_TRUE(std::equal(out.begin(), out.end(), plain_.begin() + static_cast<std::ptrdiff_t>(offset))) << offset;
  }

  std::vector<std::byte> plain_;
  std::vector<std::byte> deflated_;
};

TEST_F(InflateStreamTest, HandsOverEverythingOnce) {
  std::vector<std::byte> all;
  open(plain_.size(), &all);
  EXPECT_EQ(all, plain_);
}

TEST_F(InflateStreamTest, ReadsRangesInAnyOrder) {
  const InflateStream stream = open(plain_.size());
  for (const std::uint64_t offset : {19'000'000u, 0u, 4'194'304u, 4'200'000u, 12'345'678u, 3u}) {
    check(stream, offset, 100'000);
  }
  check(stream, plain_.size(), 0);
  check(stream, 0, plain_.size());
}

TEST_F(InflateStreamTest, ReadsForSeveralThreadsAtOnce) {
  const InflateStream stream = open(plain_.size());
  std::vector<std::thread> threads;
  for (std::uint64_t i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (std::uint64_t run = i; run < 19; run += 4) check(stream, run * 1'000'000, 1'000'000);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(InflateStreamTest, RefusesAnotherLengthThanClaimed) {
  EXPECT_THROW(open(plain_.size() - 1), InflateFailure);
  EXPECT_THROW(open(plain_.size() + 1), InflateFailure);
}

TEST_F(InflateStreamTest, RefusesWhatEndsEarlyOrGoesOn) {
  deflated_.push_back(std::byte{0});
  EXPECT_THROW(open(plain_.size()), InflateFailure);
  deflated_.resize(deflated_.size() - 10);
  EXPECT_THROW(open(plain_.size()), InflateFailure);
}

TEST_F(InflateStreamTest, RefusesWhatIsNoStream) {
  deflated_[0] = std::byte{0x07};  // a kind of block that does not exist
  EXPECT_THROW(open(plain_.size()), InflateFailure);
}

}  // namespace
}  // namespace tenon
