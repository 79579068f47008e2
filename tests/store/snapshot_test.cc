#include "tenon/snapshot.h"

#include <complex>

#include "store/snapshot_state.h"
#include "store/suggest.h"
#include "tests/store/child.h"
#include "tests/store/store_fixture.h"

namespace tenon {
namespace {

using format::Extent;
using format::SectionKind;
using testing::Bytes;
using testing::bytes_of;
using testing::copy_of;
using testing::DraftBuilder;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsError;
using testing::one_tensor;
using testing::pattern;

void fill(const View& view, std::size_t size, int value) { std::memset(view.mutable_data(), value, size); }

class SnapshotTest : public testing::StoreTest {
 protected:
  Snapshot commit_and_open(const Draft& draft, Mode mode = Mode::shared) {
    if (!file_exists(path())) make();
    open().commit(draft);
    return open().snapshot("main", {.mode = mode});
  }
};

// What holds in every mode.
class ModeTest : public SnapshotTest, public ::testing::WithParamInterface<Mode> {};
// What holds where writing is possible.
class WritableModeTest : public SnapshotTest, public ::testing::WithParamInterface<Mode> {};

const auto mode_name = [](const auto& info) {
  return info.param == Mode::shared ? "shared" : info.param == Mode::copy ? "copy" : "private";
};
INSTANTIATE_TEST_SUITE_P(Modes, ModeTest, ::testing::Values(Mode::shared, Mode::private_, Mode::copy), mode_name);
INSTANTIATE_TEST_SUITE_P(Modes, WritableModeTest, ::testing::Values(Mode::private_, Mode::copy), mode_name);

constexpr std::size_t sizes[] = {1, 63, 64, 4095, 4096, leaf_bytes - 1, leaf_bytes, leaf_bytes + 1, 3 << 20};

TEST_P(ModeTest, SlotsOfAllSizesReadBackExact) {
  DraftBuilder draft;
  for (const std::size_t size : sizes) draft.slot(pattern(size, size)).tensor(std::to_string(size));
  const Snapshot snapshot = commit_and_open(draft, GetParam());
  EXPECT_EQ(snapshot.mode(), GetParam());
  for (const std::size_t size : sizes) {
    EXPECT_EQ(copy_of(snapshot[std::to_string(size)].bytes()), pattern(size, size)) << size;
  }
}

TEST_P(ModeTest, SlotsWithoutBytesHaveAPointerAndNoBytes) {
  const Snapshot snapshot = commit_and_open(DraftBuilder{}
                                                .slot(Bytes{})
                                                .tensor("empty", DType::float32, {0, 3})
                                                .slot(Bytes{})
                                                .tensor("other", DType::uint8, {0}, {.offset_bytes = 1000}),
                                            GetParam());
  for (const char* name : {"empty", "other"}) {
    EXPECT_NE(snapshot[name].data(), nullptr) << name;
    EXPECT_THAT(snapshot[name].bytes(), IsEmpty()) << name;
    EXPECT_THAT(snapshot[name].storage(), IsEmpty()) << name;
  }
  EXPECT_EQ(snapshot["empty"].numel(), 0u);
  EXPECT_EQ(snapshot.slot(0).nbytes, 0u);
  EXPECT_EQ(snapshot.slot(0).key, digest_bytes({}));
  snapshot.read_verified(0, [](std::span<const std::byte>) { FAIL() << "there is nothing to hand over"; });
}

TEST_P(ModeTest, ViewsReachIntoTheirSlot) {
  const Snapshot snapshot =
      commit_and_open(DraftBuilder{}
                          .slot(bytes_of<float>({0, 1, 2, 3, 4, 5}))
                          .tensor("w", DType::float32, {2, 3})
                          .tensor("w.T", DType::float32, {3, 2}, {.stride = {1, 3}})
                          .tensor("scalar", DType::float32, {}, {.offset_bytes = 20})
                          .tensor("expanded", DType::float32, {1000, 3}, {.stride = {0, 1}, .offset_bytes = 12})
                          .tensor("none", DType::float32, {0, 7}, {.offset_bytes = 24}),
                      GetParam());
  const auto w = snapshot["w"].accessor<float, 2>();
  EXPECT_EQ(w(1, 2), 5);
  const View transposed = snapshot["w.T"];
  EXPECT_EQ((transposed.accessor<float, 2>()(2, 1)), 5);
  EXPECT_FALSE(transposed.is_contiguous());
  EXPECT_THAT(error_of([&] { transposed.bytes(); }), IsError(ErrorKind::invalid_argument, "not contiguous"));
  EXPECT_EQ(*snapshot["scalar"].data<float>(), 5);
  EXPECT_EQ(snapshot["scalar"].numel(), 1u);
  EXPECT_THAT(snapshot["scalar"].shape(), IsEmpty());
  EXPECT_EQ(snapshot["scalar"].bytes().size(), 4u);
  EXPECT_EQ((snapshot["expanded"].accessor<float, 2>()(999, 1)), 4);
  EXPECT_EQ(snapshot["expanded"].numel(), 3000u);
  EXPECT_THAT(snapshot["none"].bytes(), IsEmpty());
  EXPECT_EQ(snapshot["none"].storage().size(), 24u);
  EXPECT_EQ(snapshot["w"].data(), snapshot["w.T"].data());
  EXPECT_EQ(snapshot["scalar"].data(), snapshot["w"].data() + 20);
}

TEST_P(ModeTest, ReadingVerifiedGivesTheSlotsBytes) {
  DraftBuilder draft;
  for (const std::size_t size : sizes) draft.slot(pattern(size, size)).tensor(std::to_string(size));
  const Snapshot snapshot = commit_and_open(draft, GetParam());
  for (std::uint32_t slot = 0; slot < snapshot.slot_count(); ++slot) {
    Bytes read;
    snapshot.read_verified(
        slot, [&](std::span<const std::byte> piece) { read.insert(read.end(), piece.begin(), piece.end()); });
    EXPECT_EQ(read, pattern(sizes[slot], sizes[slot])) << sizes[slot];
  }
}

TEST_P(ModeTest, VerifiedRangesComeInAnyOrder) {
  const Bytes bytes = pattern(5 * leaf_bytes + 17);
  const Snapshot snapshot = commit_and_open(one_tensor(bytes), GetParam());
  const VerifiedReader read = snapshot.verified_reader(0);
  Bytes result(bytes.size());
  for (const std::size_t begin : {4 * leaf_bytes, leaf_bytes, 0 * leaf_bytes}) {
    const std::size_t end = begin == leaf_bytes ? 4 * leaf_bytes : begin == 0 ? leaf_bytes : bytes.size();
    read(begin, std::span(result).subspan(begin, end - begin));
  }
  EXPECT_EQ(result, bytes);
}

TEST_P(ModeTest, StaysReadableWhenTheStoreIsGone) {
  const Bytes bytes = pattern(100'000);
  View view;
  {
    const Snapshot snapshot = commit_and_open(one_tensor(bytes), GetParam());
    std::filesystem::remove_all(path());
    Bytes read;
    snapshot.read_verified(
        0, [&](std::span<const std::byte> piece) { read.insert(read.end(), piece.begin(), piece.end()); });
    EXPECT_EQ(read, bytes);
    view = snapshot["w"];
  }
  EXPECT_EQ(copy_of(view.bytes()), bytes);
  EXPECT_EQ(view.name(), "w");
}

TEST_P(WritableModeTest, WritesAreSeenByEveryViewOfTheSlotAndNoOther) {
  const Snapshot snapshot = commit_and_open(DraftBuilder{}
                                                .slot(pattern(10))
                                                .tensor("numbers", DType::uint8, {10})
                                                .tensor("evens", DType::uint8, {5}, {.stride = {2}})
                                                .slot(pattern(10, 2))
                                                .tensor("other"),
                                            GetParam());
  fill(snapshot["numbers"], 10, 7);
  const auto evens = snapshot["evens"].accessor<std::uint8_t, 1>();
  for (int i = 0; i < 5; ++i) EXPECT_EQ(evens(i), 7);
  EXPECT_EQ(static_cast<const void*>(snapshot.slot_bytes(0).data()), snapshot["numbers"].data());
  EXPECT_EQ(copy_of(snapshot["other"].bytes()), pattern(10, 2));
}

// Small slots are packed into one page; from 64 KiB on they have pages of their own.
TEST_P(WritableModeTest, SlotsOfEqualContentDoNotAlias) {
  for (const std::size_t size : {std::size_t{1}, std::size_t{100}, std::size_t{4096}, leaf_bytes - 1, leaf_bytes,
                                 leaf_bytes + 1, std::size_t{2 << 20}}) {
    DraftBuilder draft;
    for (const char* name : {"a", "b", "c", "d"}) draft.slot(pattern(size)).tensor(name);
    const Snapshot snapshot = commit_and_open(draft, GetParam());
    ASSERT_EQ(Segment::open(segment(1))->storages().size(), 1u);
    fill(snapshot["a"], size, 1);
    fill(snapshot["c"], size, 3);
    EXPECT_EQ(copy_of(snapshot["a"].bytes()), Bytes(size, std::byte{1})) << size;
    EXPECT_EQ(copy_of(snapshot["b"].bytes()), pattern(size)) << size;
    EXPECT_EQ(copy_of(snapshot["c"].bytes()), Bytes(size, std::byte{3})) << size;
    EXPECT_EQ(copy_of(snapshot["d"].bytes()), pattern(size)) << size;
    std::filesystem::remove_all(path());
  }
}

TEST_P(WritableModeTest, WritesAreSeenByNoOtherLoadAndNeverReachTheStore) {
  const Bytes bytes = pattern(200'000);
  const Snapshot mine = commit_and_open(DraftBuilder{}.slot(bytes).tensor("a").slot(bytes).tensor("b"), GetParam());
  const Snapshot theirs = open().snapshot("main", {.mode = GetParam()});
  const Snapshot shared = open().snapshot("main");
  const Bytes before = testing::content_of_file(segment(1));
  fill(mine["a"], bytes.size(), 1);
  fill(mine["b"], bytes.size(), 2);
  for (const Snapshot& other : {theirs, shared, open().snapshot("main", {.mode = GetParam()})}) {
    EXPECT_EQ(copy_of(other["a"].bytes()), bytes);
    EXPECT_EQ(copy_of(other["b"].bytes()), bytes);
  }
  EXPECT_EQ(testing::content_of_file(segment(1)), before);
  EXPECT_THAT(damage(), IsEmpty());
}

TEST_P(WritableModeTest, WritesDoNotDisturbVerifiedReading) {
  const Bytes bytes = pattern(200'000);
  const Snapshot snapshot = commit_and_open(one_tensor(bytes), GetParam());
  fill(snapshot["w"], bytes.size(), 0);
  Bytes read;
  snapshot.read_verified(
      0, [&](std::span<const std::byte> piece) { read.insert(read.end(), piece.begin(), piece.end()); });
  EXPECT_EQ(read, bytes);
}

TEST_P(WritableModeTest, AForkedChildWritesForItself) {
  const Snapshot snapshot = commit_and_open(one_tensor(pattern(100'000)), GetParam());
  EXPECT_EQ(testing::run_in_child([&] {
              fill(snapshot["w"], 100'000, 1);
              return copy_of(snapshot["w"].bytes()) == Bytes(100'000, std::byte{1}) ? 0 : 1;
            }),
            testing::succeeded);
  EXPECT_EQ(copy_of(snapshot["w"].bytes()), pattern(100'000));
}

TEST_F(SnapshotTest, SharedModeGivesNoWritablePointerAndReadOnlyPages) {
  const Snapshot snapshot = commit_and_open(one_tensor(pattern(100)));
  EXPECT_THAT(error_of([&] { snapshot["w"].mutable_data(); }),
              IsError(ErrorKind::invalid_argument, "mapped read-only"));
  const testing::Outcome outcome = testing::run_in_child([&] {
    ::signal(SIGSEGV, SIG_DFL);
    *const_cast<volatile std::byte*>(snapshot["w"].data()) = std::byte{1};
    return 0;
  });
  EXPECT_EQ(outcome.signal, SIGSEGV);
}

TEST_F(SnapshotTest, EqualSlotsShareOnePhysicalCopyInSharedMode) {
  const Snapshot snapshot =
      commit_and_open(DraftBuilder{}.slot(pattern(100)).tensor("a").slot(pattern(100)).tensor("b"));
  EXPECT_EQ(snapshot["a"].data(), snapshot["b"].data());
}

TEST_F(SnapshotTest, RowsAndSlotsTellWhatWasDrafted) {
  DraftBuilder draft = one_tensor(pattern(100));
  draft.draft().tensors[0].kind = TensorKind::buffer;
  draft.draft().slots[0].location = "cuda:0";
  draft.draft().slots[0].storage_dtype = DType::uint8;
  const Snapshot snapshot = commit_and_open(draft);
  ASSERT_EQ(snapshot.size(), 1u);
  EXPECT_EQ(snapshot.row(0).name, "w");
  EXPECT_EQ(snapshot.row(0).kind, TensorKind::buffer);
  EXPECT_EQ(snapshot.slot(0).nbytes, 100u);
  EXPECT_EQ(snapshot.slot(0).location, "cuda:0");
  EXPECT_EQ(snapshot.slot(0).storage_dtype, DType::uint8);
  EXPECT_EQ(snapshot.slot(0).key, digest_storage(pattern(100)));
}

TEST_F(SnapshotTest, MetaTensorsHaveNoView) {
  DraftBuilder draft = one_tensor(pattern(100));
  draft.draft().tensors.push_back({.name = "meta", .dtype = DType::float32, .shape = {5}, .stride = {1}});
  const Snapshot snapshot = commit_and_open(draft);
  EXPECT_THAT(error_of([&] { snapshot["meta"]; }), IsError(ErrorKind::invalid_argument, "'meta' has no bytes"));
}

TEST_F(SnapshotTest, TypedAccessIsChecked) {
  const Snapshot snapshot = commit_and_open(DraftBuilder{}
                                                .slot(pattern(33))
                                                .tensor("odd", DType::float32, {2}, {.offset_bytes = 1})
                                                .tensor("half", DType::float16, {2})
                                                .tensor("complex", DType::complex64, {1}, {.offset_bytes = 8}));
  EXPECT_THAT(error_of([&] { snapshot["half"].data<float>(); }),
              IsError(ErrorKind::invalid_argument, "got float16, wanted float32"));
  EXPECT_THAT(error_of([&] { snapshot["odd"].data<float>(); }), IsError(ErrorKind::invalid_argument, "not aligned"));
  EXPECT_THAT(error_of([&] { snapshot["complex"].accessor<std::complex<float>, 2>(); }),
              IsError(ErrorKind::invalid_argument, "another rank"));
  EXPECT_FALSE(error_of([&] { snapshot["complex"].data<std::complex<float>>(); }));
  EXPECT_EQ(snapshot["odd"].bytes().size(), 8u);
}

TEST_F(SnapshotTest, SelectsFindsAndSuggests) {
  DraftBuilder draft;
  draft.slot(pattern(1));
  for (const char* name : {"model/layers.1.weight", "model/layers.10.weight", "model/layers.1.bias", "optim/step"}) {
    draft.tensor(name);
  }
  const Snapshot snapshot = commit_and_open(draft);
  EXPECT_EQ(snapshot.find("optim/step"), 3u);
  EXPECT_EQ(snapshot.find("optim"), std::nullopt);
  EXPECT_THAT(snapshot.select("model/layers.1"), ElementsAre(2, 0));
  EXPECT_THAT(snapshot.select(""), ElementsAre(2, 0, 1, 3));
  EXPECT_THAT(error_of([&] { snapshot["model/layers.1.wieght"]; }),
              IsError(ErrorKind::not_found, "did you mean 'model/layers.1.weight'"));
  EXPECT_THAT(error_of([&] { snapshot["layers.10.weight"]; }),
              IsError(ErrorKind::not_found, "did you mean 'model/layers.10.weight'"));
  EXPECT_THAT(error_of([&] { snapshot["\x1b[2J"]; }), IsError(ErrorKind::not_found, "\\x1b[2J"));
}

TEST(SuggestTest, NamesTheThreeNearestAndNothingFarFetched) {
  EXPECT_EQ(suggest("mian", {"main", "dev"}), "did you mean 'main'?");
  EXPECT_EQ(suggest("v1", {"v2", "v3", "v4", "v5"}), "did you mean 'v2', 'v3', 'v4'?");
  EXPECT_EQ(suggest("nrom", {"ndim", "norm"}), "did you mean 'norm', 'ndim'?");
  EXPECT_EQ(suggest("w", {"b", "low", "model/w"}), "did you mean 'model/w'?");
  EXPECT_EQ(suggest("zzzz", {"main", "dev"}), "");
  EXPECT_EQ(suggest("", {"main"}), "");
  EXPECT_EQ(suggest(std::string(300, 'a'), {"main"}), "");
}

TEST_F(SnapshotTest, CopiesOfAHandleAreOneLoad) {
  const Snapshot snapshot = commit_and_open(one_tensor(pattern(100)), Mode::private_);
  const Snapshot same = snapshot;
  fill(snapshot["w"], 100, 1);
  EXPECT_EQ(copy_of(same["w"].bytes()), Bytes(100, std::byte{1}));
}

TEST_F(SnapshotTest, DamagedLeafIsNeverHandedOver) {
  const Bytes bytes = pattern(40 * leaf_bytes);
  const Snapshot snapshot = commit_and_open(one_tensor(bytes));
  const std::uint64_t begin = Segment::open(segment(1))->storages()[0].offset;
  const std::uint64_t leaf = 20;
  testing::flip_byte(segment(1), begin + leaf * leaf_bytes + 5);
  std::uint64_t handed_over = 0;
  const auto error = error_of(
      [&] { snapshot.read_verified(0, [&](std::span<const std::byte> piece) { handed_over += piece.size(); }); });
  EXPECT_THAT(error, IsError(ErrorKind::corrupt, "their digest differs"));
  EXPECT_EQ(error->facts().file, segment(1).string());
  EXPECT_EQ(error->facts().offset, begin + leaf * leaf_bytes);
  EXPECT_GT(handed_over, 0u);
  EXPECT_LE(handed_over, leaf * leaf_bytes);
}

TEST_F(SnapshotTest, DamagedMetadataIsRefusedOnOpening) {
  for (const SectionKind kind :
       {SectionKind::layout, SectionKind::keys, SectionKind::binding, SectionKind::structure, SectionKind::record}) {
    DraftBuilder draft = one_tensor(pattern(100));
    draft.draft().structure = pattern(50);
    commit_and_open(draft);
    testing::flip_byte(segment(1), section_begin(1, kind));
    EXPECT_THAT(error_of([&] { open().snapshot(); }), IsError(ErrorKind::corrupt, segment(1).string()))
        << static_cast<int>(kind);
    std::filesystem::remove_all(path());
  }
}

TEST_F(SnapshotTest, DamagedStatisticsAndAttachmentsAreToldWhenAskedFor) {
  DraftBuilder draft = one_tensor(pattern(100));
  draft.draft().attachments = {{"a", pattern(10)}};
  commit_and_open(draft);
  testing::flip_byte(segment(1), section_begin(1, SectionKind::statistics) + 70);
  testing::flip_byte(segment(1), section_begin(1, SectionKind::attachments));
  const Snapshot snapshot = open().snapshot();
  EXPECT_EQ(copy_of(snapshot["w"].bytes()), pattern(100));
  for (int again = 0; again < 2; ++again) {
    EXPECT_THAT(error_of([&] { snapshot.statistics(0); }), IsError(ErrorKind::corrupt, "checksum differs"));
    EXPECT_THAT(error_of([&] { snapshot.attachments(); }), IsError(ErrorKind::corrupt, "checksum differs"));
  }
}

// Segments with bindings that no commit makes yet: a storage in pieces of several segments.
class StitchedTest : public ::testing::TestWithParam<Mode> {
 protected:
  static constexpr std::uint64_t page = 4096;

  // A segment that only holds bytes; returns how others refer to it, and where its bytes begin.
  format::SegmentReference write_pieces(std::uint64_t sequence, const Bytes& bytes) {
    SegmentWriter writer(directory_.path(), {1, 2});
    const std::uint64_t offset = writer.place_storage(format::align_up(std::uint64_t{bytes.size()}, page));
    writer.write(offset, bytes);
    writer.add_section(SectionKind::storages, {});
    writer.seal(sequence);
    const Digest uuid = writer.uuid();
    writer.publish(directory_.path() / segment_file_name(sequence), false);
    EXPECT_EQ(offset, page);
    return {uuid, sequence, std::filesystem::file_size(directory_.path() / segment_file_name(sequence))};
  }

  // A snapshot whose slots are placed as `placements` says; its segment holds `own`, from offset 4096 on.
  std::shared_ptr<const SnapshotState> open(const Draft& draft, const std::vector<Bytes>& contents, const Bytes& own,
                                            std::vector<Placement> placements, Mode mode) {
    const auto path = directory_.path() / segment_file_name(9);
    remove_file(path);
    SegmentWriter writer(directory_.path(), {1, 2});
    if (!own.empty()) writer.write(writer.place_storage(own.size()), own);
    writer.add_section(SectionKind::storages, {});
    Record record;
    record.info.tensor_count = draft.tensors.size();
    record.info.slot_count = draft.slots.size();
    const auto layout = encode_layout(draft);
    record.layout = digest_bytes(layout);
    std::vector<Digest> keys;
    for (const Bytes& content : contents) keys.push_back(digest_storage(content));
    record.keys = digest_bytes(std::as_bytes(std::span(keys)));
    record.structure = digest_bytes({});
    segments_[0] = {writer.uuid(), 0, 0};
    writer.add_section(SectionKind::layout, layout);
    writer.add_section(SectionKind::keys, std::as_bytes(std::span(keys)));
    writer.add_section(SectionKind::binding, encode_binding({.segments = segments_, .slots = std::move(placements)}));
    writer.add_section(SectionKind::structure, {});
    writer.add_section(SectionKind::record, encode_record(record));
    writer.seal(9);
    writer.publish(path, false);
    return SnapshotState::open({directory_.path()}, File::open(path), nullptr, nullptr, mode);
  }

  // "w", of three pieces: 128 KiB of segment 1, 64 KiB of the snapshot's own, the last 100 bytes of segment 2.
  std::shared_ptr<const SnapshotState> open_three_pieces(Mode mode) {
    segments_ = {{}, write_pieces(1, first_), write_pieces(2, third_)};
    return open(one_tensor(whole_), {whole_}, second_,
                {{{1, 0, page, first_.size()}, {0, 0, page, second_.size()}, {2, 0, page, third_.size()}}}, mode);
  }
  static Bytes verified(const SnapshotState& state, std::uint32_t slot = 0) {
    Bytes read;
    state.read_verified(slot,
                        [&](std::span<const std::byte> piece) { read.insert(read.end(), piece.begin(), piece.end()); });
    return read;
  }
  std::optional<Error> error_of_placement(const Placement& placement) {
    return error_of([&] { open(one_tensor(whole_), {whole_}, second_, {placement}, GetParam()); });
  }

  testing::TemporaryDirectory directory_;
  const Bytes first_ = pattern(2 * leaf_bytes, 1), second_ = pattern(leaf_bytes, 2), third_ = pattern(100, 3);
  const Bytes whole_ = [this] {
    Bytes all = first_;
    all.insert(all.end(), second_.begin(), second_.end());
    all.insert(all.end(), third_.begin(), third_.end());
    return all;
  }();
  std::vector<format::SegmentReference> segments_;
};
class WritableStitchedTest : public StitchedTest {};
INSTANTIATE_TEST_SUITE_P(Modes, WritableStitchedTest, ::testing::Values(Mode::private_, Mode::copy), mode_name);
INSTANTIATE_TEST_SUITE_P(Modes, StitchedTest, ::testing::Values(Mode::shared, Mode::private_, Mode::copy), mode_name);

TEST_P(StitchedTest, PiecesReadAsOneRange) {
  const auto state = open_three_pieces(GetParam());
  EXPECT_EQ(copy_of({state->slot_data(0), whole_.size()}), whole_);
  EXPECT_EQ(state->placement(0).size(), 3u);
  EXPECT_EQ(verified(*state), whole_);
  const Snapshot snapshot = SnapshotState::handle(state);
  EXPECT_EQ(copy_of(snapshot["w"].bytes()), whole_);
}

TEST_P(WritableStitchedTest, WritesStayInTheLoad) {
  const auto state = open_three_pieces(GetParam());
  const Bytes before = testing::content_of_file(directory_.path() / segment_file_name(1));
  std::memset(state->slot_data(0), 7, whole_.size());
  const auto other = SnapshotState::open({directory_.path()}, File::open(directory_.path() / segment_file_name(9)),
                                         nullptr, nullptr, GetParam());
  EXPECT_EQ(copy_of({other->slot_data(0), whole_.size()}), whole_);
  EXPECT_EQ(verified(*state), whole_);
  EXPECT_EQ(testing::content_of_file(directory_.path() / segment_file_name(1)), before);
}

TEST_P(StitchedTest, SlotsOverTheSamePiecesDoNotAliasWhereWritable) {
  segments_ = {{}, write_pieces(1, first_)};
  const Placement pieces = {{1, 0, page, leaf_bytes}, {1, 0, page + leaf_bytes, leaf_bytes}};
  const auto state = open(DraftBuilder{}.slot(first_).tensor("a").slot(first_).tensor("b").slot(first_).tensor("c"),
                          {first_, first_, first_}, {}, {pieces, pieces, {{1, 0, page, 2 * leaf_bytes}}}, GetParam());
  if (GetParam() != Mode::shared) std::memset(state->slot_data(1), 7, first_.size());
  EXPECT_EQ(copy_of({state->slot_data(0), first_.size()}), first_);
  EXPECT_EQ(copy_of({state->slot_data(2), first_.size()}), first_);
}

TEST_P(StitchedTest, PiecesMayComeInAnyOrderAndRepeat) {
  segments_ = {{}, write_pieces(1, first_)};
  const std::span half_b = std::span(first_).subspan(leaf_bytes);
  Bytes content = copy_of(half_b);
  content.insert(content.end(), first_.begin(), first_.begin() + leaf_bytes);
  content.insert(content.end(), half_b.begin(), half_b.end());
  const Extent a{1, 0, page, leaf_bytes}, b{1, 0, page + leaf_bytes, leaf_bytes};
  const auto state = open(one_tensor(content), {content}, {}, {{b, a, b}}, GetParam());
  EXPECT_EQ(copy_of({state->slot_data(0), content.size()}), content);
  EXPECT_EQ(verified(*state), content);
}

TEST_P(StitchedTest, SmallSlotInPiecesOfPagesIsOneLeaf) {
  segments_ = {{}, write_pieces(1, first_)};
  const Bytes content = copy_of(std::span(first_).first(2 * page + 10));
  const auto state =
      open(one_tensor(content), {content}, {}, {{{1, 0, page, page}, {1, 0, 2 * page, page + 10}}}, GetParam());
  EXPECT_EQ(copy_of({state->slot_data(0), content.size()}), content);
  EXPECT_EQ(verified(*state), content);
}

TEST_P(StitchedTest, DamagedPieceIsFoundByVerifiedReading) {
  open_three_pieces(GetParam());
  testing::flip_byte(directory_.path() / segment_file_name(2), page + 50);
  const auto state = SnapshotState::open({directory_.path()}, File::open(directory_.path() / segment_file_name(9)),
                                         nullptr, nullptr, GetParam());
  EXPECT_THAT(error_of([&] { verified(*state); }), IsError(ErrorKind::corrupt, "their digest differs"));
}

TEST_P(StitchedTest, MissingOrExchangedSegmentIsTold) {
  open_three_pieces(GetParam());
  const auto open_again = [this] {
    SnapshotState::open({directory_.path()}, File::open(directory_.path() / segment_file_name(9)), nullptr, nullptr,
                        GetParam());
  };
  remove_file(directory_.path() / segment_file_name(2));
  EXPECT_THAT(error_of(open_again), IsError(ErrorKind::not_found, "a segment that the snapshot needs is gone"));
  write_pieces(2, third_);
  EXPECT_THAT(error_of(open_again), IsError(ErrorKind::corrupt, "another segment is in this one's place"));
}

TEST_P(StitchedTest, PiecesThatDoNotFitAreRefused) {
  open_three_pieces(GetParam());
  const std::uint64_t size = whole_.size();
  const Extent first{1, 0, page, first_.size()}, second{0, 0, page, second_.size()}, third{2, 0, page, third_.size()};
  EXPECT_FALSE(error_of_placement({first, second, third}));
  const auto with = [](Extent extent, std::uint64_t offset, std::uint64_t bytes) {
    extent.offset = offset;
    extent.size = bytes;
    return extent;
  };
  EXPECT_THAT(error_of_placement({first, second}), IsError(ErrorKind::corrupt, "do not add up"));
  EXPECT_THAT(error_of_placement({first, second, second}), IsError(ErrorKind::corrupt, "placed outside its segment"));
  EXPECT_THAT(error_of_placement({first, second, third, third}), IsError(ErrorKind::corrupt, "outside its segment"));
  EXPECT_THAT(error_of_placement({first, second, with(third, page, 0), third}),
              IsError(ErrorKind::corrupt, "outside its segment"));
  EXPECT_THAT(error_of_placement({with(first, UINT64_MAX - 4095, first.size), second, third}),
              IsError(ErrorKind::corrupt, "outside its segment"));
  EXPECT_THAT(error_of_placement({with(first, page, size), third}), IsError(ErrorKind::corrupt, "outside its segment"));
  EXPECT_THAT(error_of_placement({with(first, page + 64, leaf_bytes), first, third}),
              IsError(ErrorKind::corrupt, "not aligned to pages"));
  EXPECT_THAT(error_of_placement({with(first, page, 100), first, second}),
              IsError(ErrorKind::corrupt, "not aligned to pages"));
}

// One file is open at a time, on opening and on reading.
TEST_P(StitchedTest, ASlotMayDrawOnMoreSegmentsThanTheProcessHasDescriptors) {
  constexpr std::uint64_t count = 60;
  segments_ = {{}};
  Placement pieces;
  Bytes content;
  for (std::uint32_t i = 1; i <= count; ++i) {
    const Bytes piece = pattern(leaf_bytes, i);
    segments_.push_back(write_pieces(i + 100, piece));
    pieces.push_back({i, 0, page, leaf_bytes});
    content.insert(content.end(), piece.begin(), piece.end());
  }
  const auto outcome = testing::run_in_child([&] {
    const rlimit few{32, 32};
    ::setrlimit(RLIMIT_NOFILE, &few);
    const auto state = open(one_tensor(content), {content}, {}, {pieces}, GetParam());
    const bool is_mapped = std::memcmp(state->slot_data(0), content.data(), content.size()) == 0;
    return is_mapped && verified(*state) == content ? 0 : 1;
  });
  EXPECT_EQ(outcome, testing::succeeded);
}

// Sizes are the layout's, which whoever forged the file has chosen; many slots may lie over the same few bytes.
TEST_P(StitchedTest, SlotsThatAddUpToMoreThanAnythingCanBeAreRefused) {
  segments_ = {{}};
  DraftBuilder draft;
  for (int i = 0; i < 4; ++i) {
    draft.slot(std::uint64_t{1} << 60, [](std::uint64_t, std::span<std::byte>) {}).tensor("t" + std::to_string(i));
  }
  EXPECT_THAT(error_of([&] { open(draft, std::vector<Bytes>(4), {}, std::vector<Placement>(4), GetParam()); }),
              IsError(ErrorKind::corrupt, "slots are larger together than anything can be"));
}

TEST_P(StitchedTest, OnePieceOutsideItsSegmentIsRefused) {
  segments_ = {{}, write_pieces(1, first_)};
  EXPECT_THAT(error_of_placement({{1, 0, page, whole_.size()}}), IsError(ErrorKind::corrupt, "outside its segment"));
  EXPECT_THAT(error_of_placement({{1, 0, ((std::uint64_t{1} << 40) - 1) * 64, whole_.size()}}),
              IsError(ErrorKind::corrupt, "outside its segment"));
}

}  // namespace
}  // namespace tenon
