// Damage to every file of a small store. Whoever reads it sees the data as it was, or a typed error: never other data,
// and nobody dies. Only LMDB dies of some damage to its own pages, and only history verbs, writers and verify's child
// let it near them. What a reader was told of, verify finds; what a catalog or a head lost, repair brings back.
//
// TENON_TEST_THOROUGH=1 tries every bit of every byte (many minutes) instead of one bit of some bytes.

#include <gtest/gtest.h>

#include <iostream>
#include <map>

#include "tests/store/child.h"
#include "tests/store/damage.h"
#include "tests/store/store_fixture.h"

namespace tenon::testing {
namespace {

// All that a snapshot says, in plain values; a storage's bytes are read and checked against its digest.
struct SeenTensor {
  std::string name;
  std::vector<std::int64_t> numbers;  // dtype, kind, flags, slot, object, offset, then shape and stride
  std::vector<double> statistics;
  friend bool operator==(const SeenTensor&, const SeenTensor&) = default;
};

struct SeenSnapshot {
  SnapshotId id;
  std::vector<SnapshotId> parents;
  std::string texts;  // message, meta, attachments, structure
  std::vector<SeenTensor> tensors;
  std::vector<Bytes> storages;
  std::map<std::string, bool> is_found;  // each name, by look-up
  friend bool operator==(const SeenSnapshot&, const SeenSnapshot&) = default;
};

SeenTensor see(const Snapshot& snapshot, std::uint32_t index) {
  const TensorRow row = snapshot.row(index);
  SeenTensor seen{.name = std::string(row.name)};
  seen.numbers = {static_cast<std::int64_t>(row.dtype),
                  static_cast<std::int64_t>(row.kind),
                  row.requires_grad,
                  row.slot,
                  row.object,
                  static_cast<std::int64_t>(row.storage_offset_bytes)};
  seen.numbers.insert(seen.numbers.end(), row.shape.begin(), row.shape.end());
  seen.numbers.insert(seen.numbers.end(), row.stride.begin(), row.stride.end());
  if (const auto known = snapshot.statistics(index)) {
    seen.statistics = {static_cast<double>(known->nan_count),
                       static_cast<double>(known->zero_count),
                       known->min,
                       known->max,
                       known->sum,
                       known->squared_deviations};
  }
  return seen;
}

SeenSnapshot see(const Snapshot& snapshot) {
  const SnapshotInfo& info = snapshot.info();
  SeenSnapshot seen{.id = info.id, .parents = info.parents, .texts = info.message + "\n" + info.meta};
  for (const AttachmentRow& attachment : snapshot.attachments()) {
    seen.texts += "\n" + std::string(attachment.name) + "=" +
                  std::string(reinterpret_cast<const char*>(attachment.bytes.data()), attachment.bytes.size());
  }
  const auto structure = snapshot.structure();
  seen.texts += "\n" + std::string(reinterpret_cast<const char*>(structure.data()), structure.size());
  for (std::uint32_t index = 0; index < snapshot.size(); ++index) {
    seen.tensors.push_back(see(snapshot, index));
    seen.is_found[seen.tensors.back().name] = snapshot.find(seen.tensors.back().name) == index;
  }
  for (std::uint32_t slot = 0; slot < snapshot.slot_count(); ++slot) {
    Bytes bytes;
    snapshot.read_verified(slot, [&](auto piece) { bytes.insert(bytes.end(), piece.begin(), piece.end()); });
    seen.storages.push_back(std::move(bytes));
  }
  return seen;
}

Verdict worse(Verdict one, Verdict other) { return std::max(one, other); }

// Identical if what `look` gives is `wanted`; an Error is a report.
template <typename Wanted, typename Look>
Verdict compare(const Wanted& wanted, const Look& look) {
  try {
    return look() == wanted ? Verdict::identical : Verdict::other;
  } catch (const Error&) {
    return Verdict::reported;
  }
}

const std::vector<std::string> names = {"main", "dev", "release/v1"};

// Snapshots on two refs and a tag, of a few kilobytes, with each kind of record in the journal.
class DamageTest : public StoreTest {
 protected:
  DamageTest() {
    Store store = make();
    store.commit(draft(1));
    const SnapshotId first = store.resolve("main");
    store.create_tag("release/v1", first);
    store.commit(draft(2));
    store.commit(draft(3), {.ref = "dev"});
    store.set_ref("short-lived", first);
    store.delete_ref("short-lived");
    store.commit(draft(4), {.ref = "dev"});
    for (const std::string& name : names) by_name_[name] = see(store.snapshot(name));
    history_ = look_at_history();
  }

  static DraftBuilder draft(std::uint64_t number) {
    DraftBuilder builder;
    builder.slot(pattern(200 + number, number)).tensor("model/bias");
    builder.slot(bytes_of<float>({1, 2, 3, -4, 5.5f, static_cast<float>(number)}))
        .tensor("model/weight", DType::float32, {2, 3})
        .tensor("model/weight.T", DType::float32, {3, 2}, {.stride = {1, 3}})
        .tensor("model/row", DType::float32, {3}, {.offset_bytes = 12});
    builder.slot(pattern(700, 1)).tensor("same");
    builder.slot(Bytes{}).tensor("empty");
    builder.message("commit " + std::to_string(number));
    builder.draft().meta = R"({"loss": )" + std::to_string(number) + "}";
    builder.draft().attachments.push_back({"config.json", pattern(40, number)});
    builder.draft().structure = pattern(30, 9);
    return builder;
  }

  struct History {
    std::vector<std::string> refs;
    std::vector<SnapshotId> main;
    std::vector<SnapshotId> dev;
    std::vector<SnapshotId> by_prefix;
    SeenSnapshot before_main;
    friend bool operator==(const History&, const History&) = default;
  };

  History look_at_history() const {
    const Store store = open();
    History history;
    for (const RefInfo& ref : store.refs()) {
      history.refs.push_back(ref.name + (ref.is_tag ? " tag " : " ") + to_hex(ref.id) + std::to_string(ref.sequence));
    }
    for (const SnapshotInfo& info : store.log("main")) history.main.push_back(info.id);
    for (const SnapshotInfo& info : store.log("dev")) history.dev.push_back(info.id);
    for (const auto& [name, seen] : by_name_) history.by_prefix.push_back(store.resolve(to_hex(seen.id).substr(0, 8)));
    history.before_main = see(store.snapshot("main~1"));
    return history;
  }

  Verdict judge_heads() const {
    Verdict verdict = Verdict::identical;
    for (const auto& [name, wanted] : by_name_) {
      verdict = worse(verdict, compare(wanted, [&] { return see(open().snapshot(name)); }));
    }
    return verdict;
  }
  Verdict judge_history() const {
    return compare(history_, [&] { return look_at_history(); });
  }
  Verdict judge_reading() const { return worse(judge_heads(), judge_history()); }

  // A reader who was told of damage must not hear from verify that all is well. Verify itself never throws for damage,
  // but where there is no store left to look at.
  Verdict judge_verify(Verdict seen_by_reader) const {
    try {
      const bool is_clean = Store::verify(path(), {.read_data = true}).damage.empty();
      if (!is_clean) return Verdict::reported;
      return seen_by_reader == Verdict::identical ? Verdict::identical : Verdict::other;
    } catch (const Error& error) {
      return error.kind() == ErrorKind::no_store ? Verdict::reported : Verdict::other;
    }
  }

  // Everything that is read without the catalog's pages.
  std::vector<std::filesystem::path> files() const {
    std::vector<std::filesystem::path> found = {path() / "TENON", journal(), catalog() / "lock"};
    for (const auto& directory : {heads(), segments()}) {
      for (const std::string& name : list_directory(directory)) found.push_back(directory / name);
    }
    return found;
  }
  std::filesystem::path data() const { return catalog() / "data.mdb"; }
  std::string name_of(const std::filesystem::path& file) const {
    return std::filesystem::relative(file, path()).string();
  }

  template <typename Judge>
  static Tally truncate(const std::filesystem::path& file, std::uint64_t stride, const Judge& judge) {
    const Bytes good = content_of_file(file);
    File opened = File::open(file, File::Access::read_write);
    const std::uint64_t count = (good.size() + stride - 1) / stride;
    return try_all(
        count, [&](std::uint64_t i) { opened.truncate(i * stride); }, judge,
        [&](std::uint64_t) {
          opened.truncate(good.size());
          opened.write_at(0, good);
        });
  }

  // Damages a copy of the store, repairs it there, and puts the original back.
  template <typename Damage, typename Expect>
  void after_repair(const Damage& damage_it, const Expect& expect) const {
    const auto aside = base() / "good";
    std::filesystem::rename(path(), aside);
    std::filesystem::copy(aside, path(), std::filesystem::copy_options::recursive);
    damage_it();
    const std::optional<Error> error = error_of([&] { expect(Store::repair(path())); });
    EXPECT_FALSE(error) << error->what();
    std::filesystem::remove_all(path());
    std::filesystem::rename(aside, path());
  }
  void expect_all_restored(const RepairReport& report) const {
    EXPECT_THAT(report.dropped, ::testing::IsEmpty());
    EXPECT_EQ(judge_heads(), Verdict::identical);
    EXPECT_EQ(judge_history(), Verdict::identical);
    EXPECT_THAT(damage(), ::testing::IsEmpty());
  }

  const SeenSnapshot& wanted(const std::string& name) const { return by_name_.at(name); }

 private:
  std::map<std::string, SeenSnapshot> by_name_;
  History history_;
};

Tally operator+(const Tally& one, const Tally& other) {
  return {one.identical + other.identical, one.reported + other.reported, one.deaths + other.deaths,
          one.other + other.other};
}

TEST_F(DamageTest, IsCleanUndamaged) {
  EXPECT_EQ(judge_reading(), Verdict::identical);
  EXPECT_EQ(judge_verify(Verdict::identical), Verdict::identical);
}

TEST_F(DamageTest, NoFlippedBitShowsOtherData) {
  Tally sum;
  for (const auto& file : files()) {
    const Tally tally = flip_bits(file, {3, 1}, [&] { return judge_reading(); });
    EXPECT_EQ(tally.other, 0u) << name_of(file) << ": " << tally;
    EXPECT_EQ(tally.deaths, 0u) << name_of(file) << ": " << tally;
    sum = sum + tally;
  }
  std::cout << "reading: " << sum << "\n";
  EXPECT_GT(sum.identical, 0u);
  EXPECT_GT(sum.reported, 0u);
}

TEST_F(DamageTest, VerifyFindsEveryFlippedBitThatAReaderStumblesOver) {
  Tally sum;
  for (const auto& file : files()) {
    const Tally tally = flip_bits(file, {37, 4}, [&] { return judge_verify(judge_reading()); });
    EXPECT_EQ(tally.other, 0u) << name_of(file) << ": " << tally;
    EXPECT_EQ(tally.deaths, 0u) << name_of(file) << ": " << tally;
    sum = sum + tally;
  }
  std::cout << "verify: " << sum << "\n";
  EXPECT_GT(sum.reported, 0u);
}

TEST_F(DamageTest, ADamagedCatalogDoesNotTouchWhoReadsHeads) {
  const Tally tally = flip_bits(data(), {101, 8}, [&] { return judge_heads(); });
  EXPECT_EQ(tally.reported + tally.deaths + tally.other, 0u) << tally;
  EXPECT_GT(tally.identical, 100u);
}

TEST_F(DamageTest, ADamagedCatalogShowsNoOtherHistoryAndDoesNotKillVerify) {
  const Tally reading = flip_bits(data(), {41, 1}, [&] { return judge_history(); });
  std::cout << "history: " << reading << "\n";
  EXPECT_EQ(reading.other, 0u) << reading;
  EXPECT_GT(reading.identical, 0u);
  EXPECT_GT(reading.reported, 0u);
  const Tally verifying = flip_bits(data(), {157, 16}, [&] { return judge_verify(Verdict::identical); });
  EXPECT_EQ(verifying.other + verifying.deaths, 0u) << verifying;
  EXPECT_GT(verifying.reported, 0u);
}

TEST_F(DamageTest, EveryTruncationIsHarmlessOrReported) {
  for (const auto& file : files()) {
    const std::uint64_t stride = is_thorough() ? 1 : 5;
    const Tally tally = truncate(file, stride, [&] { return judge_reading(); });
    EXPECT_EQ(tally.other + tally.deaths, 0u) << name_of(file) << ": " << tally;
    const Tally found = truncate(file, is_thorough() ? 1 : 61, [&] { return judge_verify(Verdict::reported); });
    EXPECT_EQ(found.identical + found.deaths + found.other, 0u) << name_of(file) << ": " << found;
  }
  const Tally heads_only = truncate(data(), is_thorough() ? 64 : 1000, [&] { return judge_heads(); });
  EXPECT_EQ(heads_only.reported + heads_only.deaths + heads_only.other, 0u) << heads_only;
  const Tally history = truncate(data(), is_thorough() ? 64 : 500, [&] { return judge_history(); });
  EXPECT_EQ(history.identical + history.deaths + history.other, 0u) << history;
}

TEST_F(DamageTest, BytesAppendedAreHarmlessOrReported) {
  for (const auto& file : files()) {
    const Bytes good = content_of_file(file);
    for (const std::size_t more : {1, 8, 640, 4096}) {
      append_to_file(file, pattern(more, more));
      EXPECT_NE(judge_reading(), Verdict::other) << name_of(file) << " with " << more << " more";
      std::filesystem::resize_file(file, good.size());
    }
  }
  EXPECT_EQ(judge_reading(), Verdict::identical);
}

TEST_F(DamageTest, MissingFilesAreReportedOrMadeUpFor) {
  for (const auto& file : files()) {
    const auto aside = base() / "aside";
    std::filesystem::rename(file, aside);
    EXPECT_NE(judge_reading(), Verdict::other) << name_of(file);
    const bool is_head = file.parent_path() == heads();
    if (is_head) {
      EXPECT_EQ(judge_heads(), Verdict::identical) << name_of(file) << ": the catalog knows it, too";
    } else {
      EXPECT_EQ(judge_verify(Verdict::reported), Verdict::reported) << name_of(file);
    }
    std::filesystem::rename(aside, file);
  }
  for (const auto& directory : {segments(), heads(), catalog()}) {
    std::filesystem::rename(directory, base() / "aside");
    EXPECT_NE(judge_reading(), Verdict::other) << name_of(directory);
    EXPECT_EQ(judge_verify(Verdict::reported), Verdict::reported) << name_of(directory);
    std::filesystem::rename(base() / "aside", directory);
  }
  EXPECT_EQ(judge_reading(), Verdict::identical);
}

TEST_F(DamageTest, SwappedFilesAreReported) {
  const auto all = files();
  int tried = 0;
  for (const auto& one : all) {
    for (const auto& other : all) {
      if (one.parent_path() != other.parent_path() || !(one < other)) continue;
      const auto swap = [&] {
        std::filesystem::rename(one, base() / "aside");
        std::filesystem::rename(other, one);
        std::filesystem::rename(base() / "aside", other);
      };
      swap();
      EXPECT_NE(judge_reading(), Verdict::other) << name_of(one) << " and " << name_of(other);
      EXPECT_EQ(judge_verify(Verdict::reported), Verdict::reported) << name_of(one) << " and " << name_of(other);
      swap();
      ++tried;
    }
  }
  EXPECT_GE(tried, 9);
}

TEST_F(DamageTest, FilesOfAnotherStoreAreReported) {
  const auto here = path();
  const auto elsewhere = base() / "elsewhere.tenon";
  std::filesystem::rename(here, base() / "good");
  {
    Store other = make();
    other.commit(draft(5));
    other.create_tag("release/v1", other.resolve("main"));
    other.commit(draft(6));
    other.commit(draft(7), {.ref = "dev"});
  }
  std::filesystem::rename(here, elsewhere);
  std::filesystem::rename(base() / "good", here);
  auto all = files();
  all.push_back(data());
  int tried = 0;
  for (const auto& file : all) {
    const auto foreign = elsewhere / std::filesystem::relative(file, here);
    if (!std::filesystem::exists(foreign)) continue;
    std::filesystem::rename(file, base() / "aside");
    std::filesystem::copy_file(foreign, file);
    EXPECT_NE(judge_reading(), Verdict::other) << name_of(file);
    if (file.filename() != "lock") {
      EXPECT_EQ(judge_verify(Verdict::reported), Verdict::reported) << name_of(file);
    }
    std::filesystem::rename(base() / "aside", file);
    ++tried;
  }
  EXPECT_GE(tried, 8);
}

TEST_F(DamageTest, ACatalogFromThePastIsReported) {
  const auto past = base() / "past";
  std::filesystem::copy_file(data(), past);
  Store store = open();
  store.commit(draft(8));
  std::filesystem::copy_file(past, data(), std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(error_of([&] { (void)open().log("main"); }), IsError(ErrorKind::corrupt, "stale"));
  EXPECT_THAT(error_of([&] { open().commit(draft(9)); }), IsError(ErrorKind::corrupt, "stale"));
  EXPECT_EQ(judge_verify(Verdict::reported), Verdict::reported);
}

TEST_F(DamageTest, RepairBringsBackWhatTheCatalogLost) {
  const Bytes good = content_of_file(data());
  const std::uint64_t stride = is_thorough() ? 97 : 2311;
  for (std::uint64_t at = 0; at < good.size(); at += stride) {
    after_repair([&] { flip_byte(data(), at); }, [&](const RepairReport& report) { expect_all_restored(report); });
  }
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{100}, good.size() / 2}) {
    after_repair([&] { std::filesystem::resize_file(data(), size); },
                 [&](const RepairReport& report) { expect_all_restored(report); });
  }
  for (const auto& gone : {data(), catalog() / "lock", catalog()}) {
    after_repair([&] { std::filesystem::remove_all(gone); },
                 [&](const RepairReport& report) { expect_all_restored(report); });
  }
}

TEST_F(DamageTest, RepairBringsBackHeadsAndSuperblock) {
  for (const std::string& name : names) {
    after_repair([&] { flip_byte(head(name), 40); }, [&](const RepairReport& report) { expect_all_restored(report); });
  }
  after_repair([&] { std::filesystem::remove_all(heads()); },
               [&](const RepairReport& report) { expect_all_restored(report); });
  after_repair([&] { flip_byte(path() / "TENON", 100); },
               [&](RepairReport report) {
                 EXPECT_THAT(report.dropped, ::testing::ElementsAre(::testing::HasSubstr("superblock")));
                 report.dropped.clear();
                 expect_all_restored(report);
               });
}

TEST_F(DamageTest, RepairSaysWhichSnapshotsALostSegmentTakesAlong) {
  after_repair([&] { std::filesystem::resize_file(segment(1), 500); },
               [&](const RepairReport& report) {
                 EXPECT_THAT(report.dropped, ::testing::Not(::testing::IsEmpty()));
                 EXPECT_NE(judge_heads(), Verdict::other);
                 const Store store = open();
                 for (const RefInfo& ref : store.refs()) EXPECT_EQ(see(store.snapshot(ref.name)), wanted(ref.name));
                 EXPECT_FALSE(error_of([&] { open().commit(draft(9)); }));
               });
}

}  // namespace
}  // namespace tenon::testing
