#include "formats/quantizer.h"

#include <gtest/gtest.h>

namespace tenon {
namespace {

TEST(Quantizer, TextIsReadBackExactly) {
  for (const double scale : {0.05, 1.0 / 3, 5e-324, 1.7976931348623157e308, 2.0}) {
    const Quantizer quantizer{.scheme = "per_tensor_affine", .scale = scale, .zero_point = -128};
    const auto back = parse_quantizer(to_text(quantizer));
    ASSERT_TRUE(back);
    EXPECT_EQ(back->scale, scale);
    EXPECT_EQ(back->zero_point, -128);
  }
  const auto channels = parse_quantizer("per_channel_affine_float_qparams(axis=3)");
  ASSERT_TRUE(channels);
  EXPECT_EQ(channels->axis, 3);
}

TEST(Quantizer, TextIsWhatTheColumnShows) {
  EXPECT_EQ(to_text({.scheme = "per_tensor_affine", .scale = 0.05, .zero_point = 3}),
            "per_tensor_affine(scale=0.05, zero_point=3)");
  EXPECT_EQ(to_text({.scheme = "per_channel_affine", .axis = 1}), "per_channel_affine(axis=1)");
}

TEST(Quantizer, OtherTextIsNone) {
  for (const char* text :
       {"", "per_tensor_affine", "per_tensor_affine(scale=0.05)", "per_tensor_affine(scale=, zero_point=3)",
        "per_tensor_affine(scale=0.05, zero_point=3) ", "per_tensor_affine(axis=0)", "per_channel_affine(axis=x)",
        "per_channel_affine(axis=99999999999999999999)", "eval(axis=0)"}) {
    EXPECT_FALSE(parse_quantizer(text)) << text;
  }
}

}  // namespace
}  // namespace tenon
