// Damage to files, tried by the thousand: each one is put in place, looked at in a child process, and taken back.
//
// TENON_TEST_THOROUGH=1 tries every bit of every byte (minutes) instead of one bit of some bytes.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <ostream>
#include <span>
#include <stdexcept>
#include <vector>

#include "mmap/file.h"
#include "tests/store/child.h"

namespace tenon::testing {

inline bool is_thorough() { return std::getenv("TENON_TEST_THOROUGH") != nullptr; }

// What somebody who reads the damaged files makes of them.
enum class Verdict {
  identical,  // the data as it was
  reported,   // a typed error, or a row that is said not to be there
  other       // wrong, and nothing said
};

struct Tally {
  std::uint64_t identical = 0;
  std::uint64_t reported = 0;
  std::uint64_t deaths = 0;  // by a signal, or of a sanitizer's report
  std::uint64_t other = 0;
  std::uint64_t first_other = 0;  // which damage
  std::uint64_t first_death = 0;
};

inline std::ostream& operator<<(std::ostream& out, const Tally& tally) {
  out << tally.identical << " identical, " << tally.reported << " reported, " << tally.deaths << " deaths";
  if (tally.deaths > 0) out << " (first at " << tally.first_death << ")";
  out << ", " << tally.other << " other";
  if (tally.other > 0) out << " (first at " << tally.first_other << ")";
  return out;
}

// Memory that a child and its parent both see.
template <typename T>
class Shared {
 public:
  Shared() {
    void* const memory = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("mmap failed");
    value_ = new (memory) T;
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { ::munmap(value_, sizeof(T)); }
  T* operator->() const { return value_; }
  T& operator*() const { return *value_; }

 private:
  T* value_;
};

// Tries `count` damages: `make(i)` puts the i-th in place, `judge()` looks, `undo(i)` takes it back. A child goes on
// until it dies; the next one takes over after the damage that killed it.
template <typename Make, typename Judge, typename Undo>
Tally try_all(std::uint64_t count, const Make& make, const Judge& judge, const Undo& undo) {
  struct Progress {
    std::uint64_t next = 0;
    Tally tally;
  };
  const Shared<Progress> progress;
  Tally& tally = progress->tally;
  const auto go_on = [&] {
    silence_errors();
    for (; progress->next < count; ++progress->next) {
      make(progress->next);
      const Verdict verdict = judge();
      if (verdict == Verdict::other && tally.other == 0) tally.first_other = progress->next;
      ++(verdict == Verdict::identical ? tally.identical : verdict == Verdict::reported ? tally.reported : tally.other);
      undo(progress->next);
    }
    return 0;
  };
  while (progress->next < count) {
    const Outcome outcome = run_in_child(go_on);
    if (outcome == succeeded) break;
    if (outcome.status == threw) ADD_FAILURE() << "damage " << progress->next << " led to what is no Error";
    if (tally.deaths++ == 0) tally.first_death = progress->next;
    undo(progress->next++);
  }
  EXPECT_EQ(tally.identical + tally.reported + tally.deaths + tally.other, count);
  return tally;
}

// How many bytes are passed over between flips.
struct Strides {
  std::uint64_t usual = 1;
  std::uint64_t thorough = 1;
};

// One bit of every so-many-th byte of a file, or, when thorough, all bits of it.
class BitFlips {
 public:
  BitFlips(const std::filesystem::path& path, const Strides& strides)
      : good_(read_file(path, UINT64_MAX)),
        file_(File::open(path, File::Access::read_write)),
        stride_(is_thorough() ? strides.thorough : strides.usual),
        bits_(is_thorough() ? 8 : 1) {}

  std::uint64_t count() const { return (good_.size() + stride_ - 1) / stride_ * bits_; }
  void make(std::uint64_t i) const {
    const std::uint64_t at = offset(i);
    const std::uint64_t bit = bits_ == 8 ? i % 8 : (at * 5 + at / 8) % 8;
    const std::byte flipped = good_[at] ^ static_cast<std::byte>(1u << bit);
    file_.write_at(at, std::span(&flipped, 1));
  }
  // Puts back what the flip, or a commit after it, has changed.
  void undo(std::uint64_t i) const {
    if (file_.size_bytes() != good_.size()) file_.truncate(good_.size());
    file_.write_at(offset(i), std::span(&good_[offset(i)], 1));
    std::vector<std::byte> now(good_.size());
    file_.read_at(0, now);
    if (now != good_) file_.write_at(0, good_);
  }

 private:
  std::uint64_t offset(std::uint64_t i) const { return i / bits_ * stride_; }

  std::vector<std::byte> good_;
  mutable File file_;
  std::uint64_t stride_;
  std::uint64_t bits_;
};

// Flips bits of `file`, one at a time, and judges each.
template <typename Judge>
Tally flip_bits(const std::filesystem::path& file, const Strides& strides, const Judge& judge) {
  const BitFlips flips(file, strides);
  return try_all(
      flips.count(), [&](std::uint64_t i) { flips.make(i); }, judge, [&](std::uint64_t i) { flips.undo(i); });
}

}  // namespace tenon::testing
