// What differs between snapshots, and by how much.
#include "tenon/diff.h"

#include <cmath>

#include "store/difference.h"
#include "store_fixture.h"
#include "tenon/name.h"

namespace tenon::testing {
namespace {

class DiffTest : public StoreTest {
 protected:
  Snapshot commit(Store& store, const Draft& draft) const { return store.snapshot(to_hex(store.commit(draft).id)); }
  static const DiffRow& row_of(const std::vector<DiffRow>& rows, std::string_view name) {
    for (const DiffRow& row : rows) {
      if (row.name == name) return row;
    }
    throw std::runtime_error("no row " + std::string(name));
  }
  static Bytes floats(const std::vector<float>& values) { return bytes_of(values); }
};

TEST_F(DiffTest, EachKindOfChangeIsNamed) {
  Store store = make();
  const Snapshot older = commit(store, DraftBuilder{}
                                           .slot(floats({1, 2, 3, 4}))
                                           .tensor("same", DType::float32, {4})
                                           .slot(floats({1, 2, 3, 4}))
                                           .tensor("changed", DType::float32, {4})
                                           .slot(floats({5, 6}))
                                           .tensor("removed", DType::float32, {2})
                                           .slot(floats({7, 8}))
                                           .tensor("old.name", DType::float32, {2})
                                           .slot(floats({1, 1}))
                                           .tensor("retyped", DType::float32, {2})
                                           .slot(floats({1, 1, 1, 1}))
                                           .tensor("reshaped", DType::float32, {4}));
  const Snapshot newer = commit(store, DraftBuilder{}
                                           .slot(floats({1, 2, 3, 4}))
                                           .tensor("same", DType::float32, {4})
                                           .slot(floats({1, 2, 3, 8}))
                                           .tensor("changed", DType::float32, {4})
                                           .slot(floats({7, 8}))
                                           .tensor("new.name", DType::float32, {2})
                                           .slot(bytes_of<double>({1, 3}))
                                           .tensor("retyped", DType::float64, {2})
                                           .slot(floats({1, 1, 1, 1}))
                                           .tensor("reshaped", DType::float32, {2, 2})
                                           .slot(floats({9}))
                                           .tensor("added", DType::float32, {1}));
  const auto rows = diff(older, newer);
  ASSERT_EQ(rows.size(), 7u);
  EXPECT_EQ(row_of(rows, "same").change, Change::same);
  EXPECT_EQ(row_of(rows, "added").change, Change::added);
  EXPECT_EQ(row_of(rows, "removed").change, Change::removed);
  EXPECT_EQ(row_of(rows, "new.name").change, Change::renamed);
  EXPECT_EQ(row_of(rows, "new.name").old_name, "old.name");
  EXPECT_EQ(row_of(rows, "reshaped").change, Change::reshaped);
  const DiffRow& changed = row_of(rows, "changed");
  EXPECT_EQ(changed.change, Change::changed);
  ASSERT_TRUE(changed.difference);
  EXPECT_EQ(changed.difference->count, 4u);
  EXPECT_EQ(changed.difference->changed_count, 1u);
  EXPECT_EQ(changed.difference->l2, 4);
  EXPECT_EQ(changed.difference->max_abs, 4);
  EXPECT_DOUBLE_EQ(changed.difference->relative_change(), 4 / std::sqrt(30.0));
  const DiffRow& retyped = row_of(rows, "retyped");
  EXPECT_EQ(retyped.change, Change::retyped);
  ASSERT_TRUE(retyped.difference);
  EXPECT_EQ(retyped.difference->changed_count, 1u);
  EXPECT_EQ(retyped.difference->l2, 2);
}

TEST_F(DiffTest, ParametersMatchWhateverTheyWereWrappedIn) {
  Store store = make();
  const Snapshot older =
      commit(store, DraftBuilder{}.slot(floats({1, 2})).tensor("model/fc.weight", DType::float32, {2}));
  const Snapshot newer = commit(
      store, DraftBuilder{}.slot(floats({1, 3})).tensor("model/module._orig_mod.fc.weight", DType::float32, {2}));
  EXPECT_EQ(diff(older, newer).size(), 2u);
  const auto rows = diff(older, newer, {.by_param = true});
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].change, Change::changed);
  EXPECT_EQ(rows[0].old_name, "model/fc.weight");
}

TEST_F(DiffTest, TensorsOfOneContentAreRenamedOnlyWhereTheirLastPartIsTheSame) {
  Store store = make();
  const auto zeros = [&] { return floats({0, 0}); };
  const Snapshot older = commit(store, DraftBuilder{}
                                           .slot(zeros())
                                           .tensor("a.bias", DType::float32, {2})
                                           .slot(zeros())
                                           .tensor("a.shift", DType::float32, {2}));
  const Snapshot newer = commit(store, DraftBuilder{}
                                           .slot(zeros())
                                           .tensor("b.shift", DType::float32, {2})
                                           .slot(zeros())
                                           .tensor("b.other", DType::float32, {2}));
  const auto rows = diff(older, newer);
  EXPECT_EQ(row_of(rows, "b.shift").old_name, "a.shift");
  EXPECT_EQ(row_of(rows, "b.other").change, Change::added);
  EXPECT_EQ(row_of(rows, "a.bias").change, Change::removed);
}

TEST_F(DiffTest, AViewAndACopyOfItAreTheSame) {
  Store store = make();
  const Snapshot older = commit(
      store, DraftBuilder{}.slot(floats({1, 2, 3, 4, 5, 6})).tensor("w", DType::float32, {2, 3}, {.stride = {1, 2}}));
  const Snapshot newer =
      commit(store, DraftBuilder{}.slot(floats({1, 3, 5, 2, 4, 6})).tensor("w", DType::float32, {2, 3}));
  EXPECT_EQ(diff(older, newer)[0].change, Change::same);
}

TEST_F(DiffTest, EqualSlotsCostNothing) {
  Store store = make();
  const Snapshot older = commit(store, one_tensor(pattern(1 << 20)));
  const Snapshot newer = commit(store, one_tensor(pattern(1 << 20)).message("again"));
  // Bytes are not looked at: damage in them does not show.
  flip_byte(segment(1), 70000);
  EXPECT_EQ(diff(older, newer)[0].change, Change::same);
}

TEST_F(DiffTest, WhatWasWrittenInMemoryCounts) {
  Store store = make();
  commit(store, one_tensor(pattern(64)));
  const Snapshot older = store.snapshot("main");
  const Snapshot mine = store.snapshot("main", {.mode = Mode::private_});
  EXPECT_EQ(diff(older, mine)[0].change, Change::same);
  *mine["w"].mutable_data() ^= std::byte{1};
  EXPECT_EQ(diff(older, mine)[0].change, Change::changed);
}

StridedTensor dense(DType dtype, const Bytes& bytes, const std::int64_t& size, const std::int64_t& stride) {
  return {dtype, bytes.data(), {&size, 1}, {&stride, 1}};
}

// Against a plain loop, in sizes that fill vectors and that do not.
TEST(DifferenceTest, SumsAreThoseOfAPlainLoop) {
  for (const std::int64_t size : {1, 7, 64, 1000, 5000, 70001}) {
    std::vector<float> a(static_cast<std::size_t>(size)), b(a);
    double squares = 0, older = 0, largest = 0;
    std::uint64_t changed = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      a[i] = static_cast<float>(i % 97) * 0.5F - 20;
      b[i] = i % 3 == 0 ? a[i] : a[i] + static_cast<float>(i % 11) * 0.25F;
      changed += a[i] != b[i] ? 1 : 0;
      const double d = static_cast<double>(b[i]) - static_cast<double>(a[i]);
      squares += d * d;
      older += static_cast<double>(a[i]) * static_cast<double>(a[i]);
      largest = std::max(largest, std::abs(d));
    }
    const std::int64_t one = 1;
    const Bytes x = bytes_of(a), y = bytes_of(b);
    const auto d = strided_difference(dense(DType::float32, x, size, one), dense(DType::float32, y, size, one));
    ASSERT_TRUE(d);
    EXPECT_EQ(d->changed_count, changed) << size;
    EXPECT_NEAR(d->l2, std::sqrt(squares), 1e-9 * std::sqrt(squares)) << size;
    EXPECT_NEAR(d->older_norm, std::sqrt(older), 1e-9 * std::sqrt(older)) << size;
    EXPECT_EQ(d->max_abs, largest) << size;
  }
}

TEST(DifferenceTest, NaNsCountAsChangedAndTakePartInNothingElse) {
  const float nan = std::nanf(""), inf = INFINITY;
  const std::int64_t size = 6, one = 1;
  const Bytes a = bytes_of<float>({1, nan, nan, inf, 2, 3}), b = bytes_of<float>({1, nan, 5, inf, nan, 4});
  const auto d = strided_difference(dense(DType::float32, a, size, one), dense(DType::float32, b, size, one));
  ASSERT_TRUE(d);
  EXPECT_EQ(d->changed_count, 3u);
  EXPECT_EQ(d->l2, 1);
  EXPECT_EQ(d->max_abs, 1);
  EXPECT_EQ(d->older_norm, inf);
}

TEST(DifferenceTest, EveryTypeWithNumbersIsCompared) {
  const std::int64_t size = 2, one = 1;
  for (const DTypeInfo& info : all_dtypes()) {
    const Bytes a(2 * item_bytes(info.dtype), std::byte{0x3C}), b(2 * item_bytes(info.dtype), std::byte{0x3D});
    const auto d = strided_difference(dense(info.dtype, a, size, one), dense(info.dtype, b, size, one));
    const bool has_numbers = info.kind != DTypeClass::quantized && info.kind != DTypeClass::bits && info.bits >= 8 &&
                             info.dtype != DType::float4_e2m1fn_x2 &&
                             !(info.dtype >= DType::uint1 && info.dtype <= DType::int7);
    EXPECT_EQ(d.has_value(), has_numbers) << info.name;
    if (!d) continue;
    EXPECT_EQ(d->changed_count, 2u) << info.name;
    EXPECT_EQ(d->max_abs > 0, info.dtype != DType::bool8) << info.name;
  }
}

TEST(DifferenceTest, ComplexElementsDifferByTheMagnitudeOfTheDifference) {
  const std::int64_t size = 1, one = 1;
  const Bytes a = bytes_of<float>({1, 1}), b = bytes_of<float>({4, 5});
  const auto d = strided_difference(dense(DType::complex64, a, size, one), dense(DType::complex64, b, size, one));
  EXPECT_EQ(d->max_abs, 5);
  EXPECT_EQ(d->l2, 5);
}

TEST(DifferenceTest, ExpandedDimensionsCountEveryRepetitionWithoutVisitingIt) {
  const Bytes a = bytes_of<float>({1, 2}), b = bytes_of<float>({1, 4});
  const std::vector<std::int64_t> shape = {std::int64_t{1} << 40, 2}, stride = {0, 1};
  const auto d =
      strided_difference({DType::float32, a.data(), shape, stride}, {DType::float32, b.data(), shape, stride});
  ASSERT_TRUE(d);
  EXPECT_EQ(d->changed_count, std::uint64_t{1} << 40);
  EXPECT_EQ(d->l2, 2.0 * (1 << 20));
}

TEST(ParamNameTest, WrappersAreStripped) {
  EXPECT_EQ(param_name("fc.weight"), "fc.weight");
  EXPECT_EQ(param_name("model/module.fc.weight"), "model/fc.weight");
  EXPECT_EQ(param_name("model/_orig_mod.module.layers.0._checkpoint_wrapped_module.weight"), "model/layers.0.weight");
  EXPECT_EQ(param_name("a._fsdp_wrapped_module.b._orig_mod.weight"), "a.b.weight");
  EXPECT_EQ(param_name("encoder.module.weight"), "encoder.module.weight");  // may be a submodule's own name
  EXPECT_EQ(param_name("module"), "module");
  EXPECT_EQ(param_name("optim/state/0/exp_avg"), "optim/state/0/exp_avg");
  EXPECT_EQ(param_name("a/\"b/module.x\""), "a/\"b/module.x\"");
  EXPECT_EQ(param_name("."), ".");
}

}  // namespace
}  // namespace tenon::testing
