#include "store/layout.h"

#include <cmath>

#include "tests/store/store_fixture.h"

namespace tenon {
namespace {

using testing::bytes_of;
using testing::DraftBuilder;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::IsEmpty;
using testing::IsError;
using testing::pattern;

// Layout columns are used in place, so the bytes must be as aligned as a section is.
class Encoded {
 public:
  explicit Encoded(const Draft& draft) : size_(encode_layout(draft).size()), words_((size_ + 7) / 8) {
    const auto bytes = encode_layout(draft);
    std::memcpy(words_.data(), bytes.data(), size_);
  }
  std::span<std::byte> bytes() { return std::as_writable_bytes(std::span(words_)).first(size_); }
  Layout open() { return Layout::open(bytes(), "layout.seg", 1000); }
  template <typename T>
  void put(const void* field, const T& value) {
    std::memcpy(bytes().data() + offset_of(field), &value, sizeof value);
  }
  std::uint64_t offset_of(const void* field) {
    return static_cast<std::uint64_t>(static_cast<const std::byte*>(field) - bytes().data());
  }
  format::LayoutHeader& header() { return *reinterpret_cast<format::LayoutHeader*>(bytes().data()); }

 private:
  std::size_t size_;
  std::vector<std::uint64_t> words_;
};

DraftBuilder two_by_three() {
  return DraftBuilder{}
      .slot(pattern(24))
      .tensor("b/w", DType::float32, {2, 3})
      .tensor("b/w.T", DType::float32, {3, 2}, {.stride = {1, 3}})
      .slot(pattern(8))
      .tensor("a", DType::int16, {2}, {.stride = {2}, .offset_bytes = 2});
}

TEST(LayoutTest, RowsReadBackAsDrafted) {
  DraftBuilder builder = two_by_three();
  TensorDraft& transposed = builder.draft().tensors[1];
  transposed.kind = TensorKind::parameter;
  transposed.requires_grad = true;
  transposed.is_conj = true;
  transposed.wrapper = "my.Tensor";
  transposed.quantizer = "per_tensor";
  transposed.param = "w";
  transposed.global_shape = {30, 20};
  transposed.global_offset = {3, 2};
  builder.draft().slots[1].location = "cuda:1";
  builder.draft().slots[1].storage_dtype = DType::int16;
  Encoded encoded(builder);
  const Layout layout = encoded.open();

  ASSERT_EQ(layout.tensor_count(), 3u);
  const TensorRow row = layout.tensor(1);
  EXPECT_EQ(row.name, "b/w.T");
  EXPECT_EQ(row.dtype, DType::float32);
  EXPECT_EQ(row.kind, TensorKind::parameter);
  EXPECT_TRUE(row.requires_grad && row.is_conj);
  EXPECT_FALSE(row.is_neg);
  EXPECT_EQ(row.slot, 0u);
  EXPECT_EQ(row.object, 1u);
  EXPECT_THAT(row.shape, ElementsAre(3, 2));
  EXPECT_THAT(row.stride, ElementsAre(1, 3));
  EXPECT_EQ(row.wrapper, "my.Tensor");
  EXPECT_EQ(row.quantizer, "per_tensor");
  EXPECT_EQ(row.param, "w");
  EXPECT_EQ(layout.tensor(0).param, "");
  EXPECT_THAT(row.global_shape, ElementsAre(30, 20));
  EXPECT_THAT(row.global_offset, ElementsAre(3, 2));
  EXPECT_EQ(layout.tensor(2).storage_offset_bytes, 2u);
  EXPECT_THAT(layout.tensor(2).global_shape, IsEmpty());
  ASSERT_EQ(layout.slot_count(), 2u);
  EXPECT_EQ(layout.slot_bytes(1), 8u);
  EXPECT_EQ(layout.slot_dtype(0), DType::invalid);
  EXPECT_EQ(layout.slot_dtype(1), DType::int16);
  EXPECT_EQ(layout.slot_location(0), "cpu");
  EXPECT_EQ(layout.slot_location(1), "cuda:1");
}

TEST(LayoutTest, SameGeometryGivesSameBytesWhateverTheValues) {
  EXPECT_EQ(encode_layout(DraftBuilder{}.slot(pattern(9, 1)).tensor("w")),
            encode_layout(DraftBuilder{}.slot(pattern(9, 2)).tensor("w")));
  EXPECT_NE(encode_layout(DraftBuilder{}.slot(pattern(9)).tensor("w")),
            encode_layout(DraftBuilder{}.slot(pattern(9)).tensor("v")));
}

TEST(LayoutTest, EmptyDraftHasNoRowsAndFindsNothing) {
  Encoded encoded{Draft{}};
  const Layout layout = encoded.open();
  EXPECT_EQ(layout.tensor_count(), 0u);
  EXPECT_EQ(layout.find("w"), std::nullopt);
  EXPECT_THAT(layout.select(""), IsEmpty());
}

TEST(LayoutTest, FindsEveryNameAndNoOther) {
  DraftBuilder builder;
  builder.slot(pattern(1));
  for (int i = 0; i < 500; ++i) builder.tensor("layers." + std::to_string(i) + ".weight");
  Encoded encoded(builder);
  const Layout layout = encoded.open();
  for (std::uint32_t i = 0; i < 500; ++i) EXPECT_EQ(layout.find("layers." + std::to_string(i) + ".weight"), i);
  EXPECT_EQ(layout.find("layers.500.weight"), std::nullopt);
  EXPECT_EQ(layout.find(""), std::nullopt);
  EXPECT_FALSE(error_of([&] { layout.check_names("f"); }));
}

TEST(LayoutTest, SelectMatchesWholeComponentsInOrderOfNames) {
  DraftBuilder builder;
  builder.slot(pattern(1));
  for (const char* name : {"layers.10/w", "layers.1/w", "layers.1.bias", "layers.1", "layers.1-x", "model/a"}) {
    builder.tensor(name);
  }
  Encoded encoded(builder);
  const Layout layout = encoded.open();
  EXPECT_THAT(layout.select("layers.1"), ElementsAre(3, 2, 1));
  EXPECT_THAT(layout.select("layers"), ElementsAre(3, 4, 2, 1, 0));
  EXPECT_THAT(layout.select("model"), ElementsAre(5));
  EXPECT_THAT(layout.select("mode"), IsEmpty());
  EXPECT_THAT(layout.select(""), ElementsAre(3, 4, 2, 1, 0, 5));
}

struct Bounds {
  const char* what;
  DType dtype;
  std::vector<std::int64_t> shape, stride;
  std::uint64_t offset_bytes, slot_bytes;
  bool is_inside;
};

TEST(IsInsideTest, KnowsTheLastByteOfATensor) {
  constexpr std::int64_t huge = INT64_MAX;
  const Bounds all[] = {
      {"exactly full", DType::float32, {2, 3}, {3, 1}, 0, 24, true},
      {"one byte short", DType::float32, {2, 3}, {3, 1}, 0, 23, false},
      {"offset pushes it out", DType::float32, {2, 3}, {3, 1}, 1, 24, false},
      {"0-d at the end", DType::float64, {}, {}, 8, 16, true},
      {"0-d past the end", DType::float64, {}, {}, 9, 16, false},
      {"expanded", DType::uint8, {huge, 1}, {0, 1}, 0, 1, true},
      {"no elements, anywhere", DType::uint8, {0, 5}, {1, 1}, 999, 0, true},
      {"no elements, huge others", DType::uint8, {huge, huge, 0}, {1, 1, 1}, 0, 0, false},
      {"negative size", DType::uint8, {-1}, {1}, 0, 10, false},
      {"negative stride", DType::uint8, {2}, {-1}, 5, 10, false},
      {"number of elements overflows", DType::uint8, {huge, 3}, {0, 0}, 0, 10, false},
      {"reach overflows", DType::uint8, {3, 2}, {huge, 1}, 0, UINT64_MAX, false},
      {"bytes overflow", DType::float64, {huge}, {1}, 0, UINT64_MAX, false},
      {"offset beyond any slot", DType::uint8, {1}, {1}, UINT64_MAX, 10, false},
      {"sub-byte elements share bytes", DType::quint4x2, {3}, {1}, 0, 2, true},
      {"sub-byte elements, one too many", DType::quint4x2, {5}, {1}, 0, 2, false},
  };
  for (const Bounds& b : all) {
    EXPECT_EQ(is_inside(b.dtype, b.shape, b.stride, b.offset_bytes, b.slot_bytes), b.is_inside) << b.what;
  }
}

struct Unsound {
  const char* says;
  std::function<void(Draft&)> spoil;
};

TEST(CheckDraftTest, RefusesWhatIsNotSoundNamingTheTensor) {
  const Unsound all[] = {
      {"has no name", [](Draft& d) { d.tensors[0].name.clear(); }},
      {"'b/w': its name is there twice", [](Draft& d) { d.tensors[1].name = "b/w"; }},
      {"has no valid dtype", [](Draft& d) { d.tensors[0].dtype = DType::invalid; }},
      {"one rank", [](Draft& d) { d.tensors[0].stride.pop_back(); }},
      {"at most 64", [](Draft& d) { d.tensors[0].shape = d.tensors[0].stride = std::vector<std::int64_t>(65, 1); }},
      {"global shape and offset differ", [](Draft& d) { d.tensors[0].global_shape = {1}; }},
      {"'a': reaches outside its storage", [](Draft& d) { d.tensors[2].storage_offset_bytes = 3; }},
      {"names a slot that is not there", [](Draft& d) { d.tensors[0].slot = 2; }},
      {"names a later row", [](Draft& d) { d.tensors[0].object = 0; }},
      {"differs from the row it says it is", [](Draft& d) { d.tensors[1].object = 0; }},
      {"negative or too large",
       [](Draft& d) {
         d.tensors[0].slot = no_slot;
         d.tensors[0].shape = {INT64_MAX, INT64_MAX};
         d.tensors[0].stride = {1, 1};
       }},
  };
  EXPECT_FALSE(error_of([] { check_draft(two_by_three()); }));
  for (const Unsound& unsound : all) {
    DraftBuilder builder = two_by_three();
    unsound.spoil(builder.draft());
    EXPECT_THAT(error_of([&] { check_draft(builder); }), IsError(ErrorKind::invalid_argument, unsound.says));
  }
}

TEST(CheckDraftTest, AcceptsMetaTensorsAndRepeatedObjects) {
  DraftBuilder builder = two_by_three();
  Draft& draft = builder.draft();
  draft.tensors.push_back(draft.tensors[0]);
  draft.tensors[3].name = "tied";
  draft.tensors[3].object = 0;
  draft.tensors.push_back({.name = "meta", .dtype = DType::float32, .shape = {1000, 1000}, .stride = {1000, 1}});
  ASSERT_FALSE(error_of([&] { check_draft(draft); }));
  Encoded encoded(draft);
  EXPECT_EQ(encoded.open().tensor(3).object, 0u);
  EXPECT_EQ(encoded.open().tensor(4).slot, no_slot);
}

class DamagedLayoutTest : public ::testing::Test {
 protected:
  DamagedLayoutTest() : encoded_(shard()) {}
  static Draft shard() {
    DraftBuilder builder = two_by_three();
    builder.draft().tensors[1].wrapper = "my.Tensor";
    builder.draft().tensors[1].global_shape = {30, 20};
    builder.draft().tensors[1].global_offset = {3, 2};
    return builder.draft();
  }
  std::optional<Error> error() {
    return error_of([this] { encoded_.open(); });
  }
  // Columns chain from the counts, each at a multiple of 64: the n-th block of 64 bytes of this small layout.
  std::byte* column(std::size_t block) { return encoded_.bytes().data() + 64 * block; }
  static constexpr std::size_t names_begin = 1, order = 2, name_index = 3, dims_begin = 4, slot = 5, object = 6,
                               extra = 7, offset = 8, dtype = 9, kind = 10, slot_bytes = 12, slot_location = 13,
                               slot_dtype = 14, extras = 15, strings_begin = 16, dims = 17;

  Encoded encoded_;
};

TEST_F(DamagedLayoutTest, HeaderIsChecked) {
  EXPECT_FALSE(error());
  EXPECT_THAT(error_of([this] { Layout::open(encoded_.bytes().first(63), "layout.seg", 0); }),
              IsError(ErrorKind::corrupt, "shorter than its header"));
  encoded_.header().magic[0] = 'X';
  EXPECT_THAT(error(), IsError(ErrorKind::corrupt, "wrong magic"));
}

TEST_F(DamagedLayoutTest, AParamMustBeAStringThatIsThere) {
  format::Extra extra_row;
  std::memcpy(&extra_row, column(extras), sizeof extra_row);
  for (const std::uint32_t wrong : {encoded_.header().string_count, format::none}) {
    extra_row.param = wrong;
    std::memcpy(column(extras), &extra_row, sizeof extra_row);
    EXPECT_THAT(error(), IsError(ErrorKind::corrupt, "a string that is not there"));
  }
}

TEST_F(DamagedLayoutTest, CountsMustMakeUpTheSize) {
  const auto with = [](const auto& spoil) {
    Encoded encoded(shard());
    spoil(encoded.header());
    return error_of([&] { encoded.open(); });
  };
  const auto size_is_wrong = IsError(ErrorKind::corrupt, "size does not follow");
  EXPECT_THAT(with([](auto& h) { h.tensor_count = 0xFFFFFFFF; }), size_is_wrong);
  EXPECT_THAT(with([](auto& h) { h.slot_count = 0xFFFFFFFF; }), size_is_wrong);
  EXPECT_THAT(with([](auto& h) { h.string_count = 0xFFFFFFFF; }), size_is_wrong);
  EXPECT_THAT(with([](auto& h) { h.extra_count = 0xFFFFFFFF; }), size_is_wrong);
  EXPECT_THAT(with([](auto& h) { h.total_bytes += 1; }), size_is_wrong);
  EXPECT_THAT(with([](auto& h) { h.name_index_size = 4; }), IsError(ErrorKind::corrupt, "name index of the wrong"));
  EXPECT_THAT(with([](auto& h) { h.dims_count = UINT64_MAX / 8; }), IsError(ErrorKind::corrupt, "counts more"));
  EXPECT_THAT(with([](auto& h) { h.names_bytes = UINT64_MAX; }), IsError(ErrorKind::corrupt, "counts more"));
  EXPECT_THAT(with([](auto& h) { h.strings_bytes = UINT64_MAX; }), IsError(ErrorKind::corrupt, "counts more"));
}

TEST_F(DamagedLayoutTest, EveryColumnIsChecked) {
  struct Damage {
    std::size_t block, index;
    std::uint32_t value;
    const char* says;
  };
  const Damage words[] = {
      {names_begin, 1, 1000, "names are out of order"},
      {names_begin, 3, 0, "do not fill their column"},
      {order, 0, 3, "order names no row"},
      {dims_begin, 1, 3, "dimensions are out of order"},
      {slot, 1, 2, "slot is not there"},
      {object, 0, 1, "object is a later row"},
      {extra, 1, 1, "extra is not there"},
      {offset, 0, 1, "reaches outside its slot"},
      {dtype, 0, 0, "unknown dtype"},
      {dtype, 0, 0xFFFFFFFF, "unknown dtype"},
      {kind, 0, 3, "unknown kind"},
      {slot_bytes, 0, 23, "reaches outside its slot"},
      {slot_location, 1, 7, "slot location is no string"},
      {slot_dtype, 0, 200, "unknown storage dtype"},
      {extras, 0, 9, "names a string that is not there"},
      {extras, 2, 11, "shard dimensions lie outside"},
      {extras, 3, 0xFFFFFFFF, "shard dimensions lie outside"},
      {strings_begin, 1, 1000, "strings are out of order"},
      {strings_begin, 0, 1, "strings"},
      {dims, 0, 3, "reaches outside its slot"},
      {dims, 1, 0x80000000, "reaches outside its slot"},
  };
  for (const Damage& damage : words) {
    encoded_ = Encoded(shard());
    ASSERT_FALSE(error());
    std::memcpy(column(damage.block) + 4 * damage.index, &damage.value, 4);
    EXPECT_THAT(error(), IsError(ErrorKind::corrupt, damage.says)) << damage.block << " " << damage.index;
  }
}

TEST_F(DamagedLayoutTest, ErrorsNameFileAndOffsetOfTheColumn) {
  std::memset(column(kind), 9, 1);
  const auto found = error();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->facts().file, "layout.seg");
  EXPECT_EQ(found->facts().offset, 1000u + 64 * kind);
}

TEST_F(DamagedLayoutTest, WrongOrderAndNameIndexAreFoundByCheckNames) {
  const std::uint32_t wrong_order[] = {0, 1, 2};
  std::memcpy(column(order), wrong_order, sizeof wrong_order);
  EXPECT_THAT(error_of([this] { encoded_.open().check_names("f"); }), IsError(ErrorKind::corrupt, "sorted order"));

  encoded_ = Encoded(shard());
  std::memset(column(name_index), 0xFF, 8 * 4);
  EXPECT_THAT(error_of([this] { encoded_.open().check_names("f"); }), IsError(ErrorKind::corrupt, "name index"));
}

TEST_F(DamagedLayoutTest, FullNameIndexWithoutTheNameEndsTheSearch) {
  std::memset(column(name_index), 0, 8 * 4);  // every entry: row 0
  EXPECT_EQ(encoded_.open().find("a"), std::nullopt);
}

}  // namespace
}  // namespace tenon
