#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "formats/numpy_value.h"
#include "tenon/error.h"
#include "tests/formats/pickles.h"

namespace tenon {
namespace {

using testing::ElementsAre;

std::string byte_string(const std::string& data) { return "C" + std::string{static_cast<char>(data.size())} + data; }

std::string dtype(const std::string& code, const std::string& order = "<", const std::string& fields = "N") {
  return "cnumpy\ndtype\n(" + text(code) + "\x89\x88tR(" + number(3) + text(order) + "N" + fields + "N" + number(-1) +
         number(-1) + number(0) + "tb";
}

struct Array {
  std::string function = "cnumpy.core.multiarray\n_reconstruct\n";
  std::string type = "cnumpy\nndarray\n";
  std::int64_t version = 1;
  std::vector<std::int64_t> shape{2, 3};
  std::string element = dtype("i2");
  std::string order = "\x89";  // C
  std::string data = byte_string(std::string(12, 'x'));

  std::string pickle() const {
    return function + "(" + type + tuple({0}) + byte_string("b") + "tR(" + number(version) + tuple(shape) + element +
           order + data + "tb";
  }
};

PickleGraph graph_of(const std::string& body) { return read_pickle(bytes_of("\x80\2" + body + ".")).graph; }

std::optional<NumpyArray> parsed(const std::string& body) {
  const PickleGraph graph = graph_of(body);
  return parse_numpy_array(graph, graph.root);
}

TEST(NumpyValue, ArraysAreUnderstood) {
  const auto array = parsed(Array{}.pickle());
  ASSERT_TRUE(array);
  EXPECT_EQ(array->dtype, DType::int16);
  EXPECT_THAT(array->shape, ElementsAre(2, 3));
  EXPECT_THAT(array->stride, ElementsAre(3, 1));
}

TEST(NumpyValue, FortranOrderBecomesStrides) {
  const auto array = parsed(Array{.order = "\x88"}.pickle());
  ASSERT_TRUE(array);
  EXPECT_THAT(array->stride, ElementsAre(1, 2));
}

TEST(NumpyValue, BuffersOfProtocolFiveAreArrays) {
  const std::string head = "cnumpy._core.numeric\n_frombuffer\n(" + Array{}.data + dtype("i2") + tuple({2, 3});
  EXPECT_TRUE(parsed(head + text("C") + "tR"));
  EXPECT_FALSE(parsed(head + text("K") + "tR"));
}

TEST(NumpyValue, WhatNoRowExpressesIsNone) {
  const std::vector<Array> others = {
      {.function = "cmy.core.multiarray\n_reconstruct\n"},
      {.type = "cnumpy\nmatrix\n"},
      {.version = 2},
      {.shape = {2, 4}},
      {.shape = {-2, -3}},
      {.shape = {std::int64_t{1} << 62, 4, 6}},
      {.element = dtype("i2", ">")},
      {.element = dtype("O8", "|")},
      {.element = dtype("U2")},
      {.element = dtype("i2", "<", tuple({1}))},
      {.element = "N"},
      {.order = "N"},
      {.data = text("xxxxxxxxxxxx")},
      {.data = "]"},
  };
  for (std::size_t i = 0; i < others.size(); ++i) EXPECT_FALSE(parsed(others[i].pickle())) << i;
  const std::string whole = Array{}.pickle();
  EXPECT_FALSE(parsed(whole.substr(0, whole.find("tR(") + 2)));  // no state
  EXPECT_FALSE(parsed(Array{.element = "cnumpy\ndtype\n(" + text("i2") + "\x89\x88tR"}.pickle()));
}

TEST(NumpyValue, ArraysAreMadeAsTheyWere) {
  PickleGraph graph = graph_of(Array{.order = "\x88"}.pickle());
  const auto array = parse_numpy_array(graph, graph.root);
  const TensorRow row{.name = "a", .dtype = array->dtype, .shape = array->shape, .stride = array->stride};
  const std::string data(graph.text(array->data));
  const NodeId made = make_numpy_array(graph, array->function, row, graph.add_text(PickleKind::bytes, data));
  const auto again = parse_numpy_array(graph, made);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->shape, array->shape);
  EXPECT_EQ(again->stride, array->stride);
  EXPECT_EQ(graph.text(again->data), data);
  EXPECT_EQ(graph.global_module(again->function), "numpy.core.multiarray");
}

TEST(NumpyValue, WhatNumpyCannotHoldIsRefused) {
  PickleGraph graph;
  const NodeId function = graph.add_global("numpy._core.multiarray", "_reconstruct");
  const std::vector<std::int64_t> shape{2, 2};
  const std::vector<std::int64_t> dense{2, 1};
  const std::vector<std::int64_t> spread{4, 1};
  const NodeId data = graph.add_text(PickleKind::bytes, std::string(16, 'x'));
  EXPECT_THROW(make_numpy_array(graph, function, {.dtype = DType::bfloat16, .shape = shape, .stride = dense}, data),
               Error);
  EXPECT_THROW(make_numpy_array(graph, function, {.dtype = DType::float32, .shape = shape, .stride = spread}, data),
               Error);
}

TEST(NumpyValue, ScalarsAreShownAsNumbers) {
  const auto shown = [](const std::string& code, const std::string& data, const std::string& order = "<") {
    const PickleGraph graph =
        graph_of("cnumpy._core.multiarray\nscalar\n(" + dtype(code, order) + byte_string(data) + "tR");
    return numpy_scalar_text(graph, graph.root).value_or("none");
  };
  EXPECT_EQ(shown("f8", data_of<double>({0.1})), "numpy.float64(0.1)");
  EXPECT_EQ(shown("f2", data_of<std::uint16_t>({0xC100})), "numpy.float16(-2.5)");
  EXPECT_EQ(shown("i1", "\xff", "|"), "numpy.int8(-1)");
  EXPECT_EQ(shown("b1", "\1", "|"), "numpy.bool(True)");
  EXPECT_EQ(shown("c8", data_of<float>({1, -2})), "numpy.complex64(1-2j)");
  EXPECT_EQ(shown("f8", "short"), "none");
  EXPECT_EQ(shown("f8", data_of<double>({0.1}), ">"), "none");
}

}  // namespace
}  // namespace tenon
