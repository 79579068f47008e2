#include "store/row_statistics.h"

#include <gtest/gtest.h>

namespace tenon {
namespace {

TensorDraft whole(std::uint32_t slot, std::int64_t numel) {
  return {.name = "t", .dtype = DType::float32, .slot = slot, .shape = {numel}, .stride = {1}};
}

Draft draft_of(std::initializer_list<std::uint64_t> slot_bytes) {
  Draft draft;
  for (const std::uint64_t nbytes : slot_bytes) draft.slots.push_back({.nbytes = nbytes});
  return draft;
}

int count_let_in(StatisticsBudget& budget, const TensorDraft& tensor, int times) {
  int count = 0;
  for (int i = 0; i < times; ++i) count += budget.spend(tensor) ? 1 : 0;
  return count;
}

TEST(StatisticsBudgetTest, ASlotIsPassedSoOftenAndEachForItself) {
  const Draft draft = draft_of({4000, 4000, 0});
  StatisticsBudget budget(draft);
  EXPECT_EQ(count_let_in(budget, whole(0, 1000), 100), 16);
  EXPECT_EQ(count_let_in(budget, whole(1, 10), 1700), 1600) << "parts of it count as parts";
  EXPECT_EQ(count_let_in(budget, whole(2, 0), 100), 100);
}

TEST(StatisticsBudgetTest, ExpandedDimensionsCostNothingAndImpossibleOnesAreLeftOut) {
  const Draft draft = draft_of({4});
  StatisticsBudget budget(draft);
  TensorDraft tensor = whole(0, std::int64_t{1} << 40);
  tensor.stride = {0};
  EXPECT_TRUE(budget.spend(tensor));
  tensor.stride = {1};
  EXPECT_FALSE(budget.spend(tensor));
  tensor.shape = {std::int64_t{1} << 62, 8};
  tensor.stride = {8, 1};
  EXPECT_FALSE(budget.spend(tensor));
}

}  // namespace
}  // namespace tenon
