#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "tenon/formats.h"

namespace tenon {
namespace {

std::span<const std::byte> as_pickle(std::string_view text) { return std::as_bytes(std::span(text)); }

const std::array<float, 4> values{1, 2, 3, 4};

PickleSources one_storage() {
  return {.storage = [](const std::string& key) -> std::optional<PickledStorage> {
            if (key != "0") return std::nullopt;
            return PickledStorage{.nbytes = sizeof values, .source = {.memory = std::as_bytes(std::span(values))}};
          },
          .tensor = [](std::int64_t number) -> const TensorDraft* {
            static const TensorDraft vector{.dtype = DType::float32, .slot = 0, .shape = {4}, .stride = {1}};
            static const TensorDraft array{
                .dtype = DType::float32, .slot = 0, .shape = {2}, .stride = {2}, .wrapper = "numpy.ndarray"};
            return number == 0 ? &vector : number == 1 ? &array : nullptr;
          }};
}

std::optional<Error> error_of(std::string_view pickle) {
  try {
    read_torch_pickle(as_pickle(pickle), one_storage());
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

// {"a": tensor 0, "b": [tensor 0, tensor 1]}
constexpr char nested_bytes[] =
    "\x80\x02}(X\x01\x00\x00\x00"
    "aK\x00QX\x01\x00\x00\x00"
    "b](K\x00QK\x01Qeu.";
constexpr std::string_view nested(nested_bytes, sizeof nested_bytes - 1);

TEST(TorchPickle, TensorsByNumberBecomeRowsOfOneSlot) {
  const Draft draft = read_torch_pickle(as_pickle(nested), one_storage());
  ASSERT_EQ(draft.tensors.size(), 3u);
  EXPECT_EQ(draft.tensors[0].name, "a");
  EXPECT_EQ(draft.tensors[1].name, "b/0");
  EXPECT_EQ(draft.tensors[1].object, 0u);
  EXPECT_EQ(draft.tensors[2].wrapper, "numpy.ndarray");
  ASSERT_EQ(draft.slots.size(), 1u);
  EXPECT_EQ(draft.slots[0].nbytes, sizeof values);
  EXPECT_EQ(draft.slots[0].storage_dtype, DType::float32);
}

TEST(TorchPickle, AnUnknownNumberIsNoStorage) {
  const auto error = error_of(std::string_view("\x80\x02K\x07Q.", 6));
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind(), ErrorKind::unsupported);
  EXPECT_THAT(error->what(), ::testing::HasSubstr("not a torch storage"));
}

TEST(TorchPickle, WhatFollowsThePickleIsCorrupt) {
  const auto error = error_of("\x80\x02N.x");
  ASSERT_TRUE(error);
  EXPECT_THAT(error->what(), ::testing::HasSubstr("followed by something else"));
}

}  // namespace
}  // namespace tenon
