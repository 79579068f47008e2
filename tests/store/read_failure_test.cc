// A disk that does not give what was written: told, named, and mended from elsewhere; it ends no verify and no repair.
#include "store/repair.h"
#include "store/storage_check.h"
#include "store/verify.h"
#include "tests/store/child.h"
#include "tests/store/read_failures.h"
#include "tests/store/store_fixture.h"

namespace tenon::testing {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;

constexpr std::size_t piece = 1 << 20;  // that is read at once

class ReadFailureTest : public StoreTest {
 protected:
  // Mutations 1 and 2, their storages in segments of their own and of different lengths.
  void make_two() {
    Store store = make();
    first_ = store.commit(one_tensor(pattern(3 * piece, 1)), {.ref = "first"}).id;
    second_ = store.commit(one_tensor(pattern(5000, 2)), {.ref = "second"}).id;
  }
  std::uint64_t storage_offset(std::uint64_t sequence) const {
    return Segment::open(segment(sequence))->storages()[0].offset;
  }

  // What `action` returns in a process to which the disk does not give what is at `offset`.
  std::vector<std::string> lines_without(std::uint64_t offset,
                                         const std::function<std::vector<std::string>()>& action) const {
    const auto out = base() / "lines";
    const Outcome outcome = run_in_child([&] {
      fail_reads_at(offset);
      std::string text;
      for (const std::string& line : action()) text += line + "\n";
      write_file(out, std::as_bytes(std::span(text)));
      return 0;
    });
    EXPECT_EQ(outcome, succeeded);
    const Bytes bytes = content_of_file(out);
    std::vector<std::string> lines(1);
    for (const std::byte byte : bytes) {
      if (byte == std::byte{'\n'})
        lines.emplace_back();
      else
        lines.back() += static_cast<char>(byte);
    }
    lines.pop_back();
    return lines;
  }
  std::vector<std::string> findings_without(std::uint64_t offset) const {
    return lines_without(offset, [this] {
      std::vector<std::string> lines;
      for (const Damage& d : Store::verify(path(), {.read_data = true}).damage) {
        std::string line = std::filesystem::path(d.file).filename().string() + " at " +
                           std::to_string(d.offset.value_or(0)) + ": " + d.what;
        for (const std::string& id : d.snapshots) line += " " + id;
        lines.push_back(std::move(line));
      }
      return lines;
    });
  }
  // A store that has the bytes of "first", at another offset.
  std::filesystem::path make_other() const {
    const auto other = base() / "other.tenon";
    Store store = Store::init(other, {.durability = Durability::relaxed});
    store.commit(DraftBuilder{}.slot(pattern(5 * piece, 9)).tensor("x").slot(pattern(3 * piece, 1)).tensor("w"));
    return other;
  }

  SnapshotId first_, second_;
};

TEST_F(ReadFailureTest, VerifyNamesTheStorageAndWhomItHurtsAndGoesOn) {
  make_two();
  flip_byte(segment(2), storage_offset(2));
  const std::uint64_t lost = storage_offset(1) + piece;
  EXPECT_THAT(findings_without(lost),
              ElementsAre(segment_file_name(1) + " at " + std::to_string(lost) +
                              ": stored bytes cannot be read: Input/output error " + to_hex(first_),
                          segment_file_name(2) + " at " + std::to_string(storage_offset(2)) +
                              ": stored bytes differ from their digest " + to_hex(second_)));
}

TEST_F(ReadFailureTest, VerifyTellsOfMetadataWithoutDyingAndGoesOn) {
  make_two();
  const auto segment_1 = Segment::open(segment(1));
  const auto findings = findings_without(segment_1->data_bytes());
  EXPECT_THAT(findings, Contains(MatchesRegex(segment_file_name(1) + ".*segment cannot be read.*Input/output error")));
  EXPECT_THAT(findings, Contains(HasSubstr("in no whole segment")));
  EXPECT_THAT(findings, ::testing::Not(Contains(HasSubstr(segment_file_name(2)))));
}

TEST_F(ReadFailureTest, RepairTakesTheStorageFromAnotherStore) {
  make_two();
  const auto other = make_other();
  const std::uint64_t offset = storage_offset(1);
  ASSERT_NE(Segment::open(other / "segments" / segment_file_name(1))->storages()[1].offset, offset);
  const auto mended = lines_without(offset, [&] { return Store::repair(path(), {.from = other}).mended; });
  EXPECT_THAT(mended, ElementsAre("storage at offset " + std::to_string(offset) + " of " + segment_file_name(1)));
  EXPECT_THAT(damage(), IsEmpty());
  EXPECT_EQ(copy_of(open().snapshot("first")["w"].bytes()), pattern(3 * piece, 1));
}

TEST_F(ReadFailureTest, RepairLeavesAndTellsWhatTheOtherStoreLacks) {
  Store store = make();
  store.commit(DraftBuilder{}.slot(pattern(3 * piece, 1)).tensor("w").slot(pattern(2 * piece, 7)).tensor("x"));
  const auto whole = Segment::open(segment(1));
  const auto storages = whole->storages();
  const std::uint64_t lacking = storages[1].offset;
  flip_byte(segment(1), storages[0].offset);
  const Bytes before = content_of_file(segment(1));
  const auto other = make_other();
  const auto dropped = lines_without(lacking, [&] { return Store::repair(path(), {.from = other}).dropped; });
  EXPECT_THAT(dropped,
              ElementsAre(HasSubstr("storage at offset " + std::to_string(lacking)), HasSubstr("is left as it is")));
  EXPECT_EQ(content_of_file(segment(1)), before);
}

TEST_F(ReadFailureTest, RepairDropsASegmentWhoseMetadataCannotBeReadAndKeepsTheRest) {
  make_two();
  const std::uint64_t metadata = Segment::open(segment(1))->data_bytes();
  const auto dropped = lines_without(metadata, [&] { return Store::repair(path()).dropped; });
  EXPECT_THAT(dropped, Contains(HasSubstr("segment cannot be read")));
  EXPECT_EQ(open().refs().size(), 1u);
  EXPECT_EQ(copy_of(open().snapshot("second")["w"].bytes()), pattern(5000, 2));
  Store::repair(path());  // the disk reads again
  EXPECT_EQ(copy_of(open().snapshot("first")["w"].bytes()), pattern(3 * piece, 1));
}

// Long work holds up nobody: a commit made while new data is read would else wait for 60 s, and give up.
TEST_F(ReadFailureTest, CommitsGoOnWhileVerifyReadsWhatCameMeanwhile) {
  Store store = make();
  store.commit(one_tensor(pattern(2 * piece, 1)));
  std::uint64_t commits = 0;
  const auto commit_two = [&](const Progress& progress) {
    const bool is_in_new_data = progress.done > 2 * piece;
    if (commits == (is_in_new_data ? 1u : 0u)) store.commit(one_tensor(pattern(2 * piece, 2 + commits++)));
  };
  const VerifyReport report = Store::verify(path(), {.read_data = true, .progress = commit_two});
  EXPECT_EQ(commits, 2u);
  EXPECT_THAT(report.damage, IsEmpty());
  EXPECT_GE(report.read_bytes, 4 * piece);
}

}  // namespace
}  // namespace tenon::testing
