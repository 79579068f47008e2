// How a quantized tensor's integers stand for numbers, as the text in a row's quantizer column. Scales and zero points
// of channels are tensors of their own: rows NAME.scales and NAME.zero_points.
//
//   per_tensor_affine(scale=0.05, zero_point=3)
//   per_channel_affine(axis=0)
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tenon {

struct Quantizer {
  std::string scheme;  // torch's name of the scheme
  double scale = 1;
  std::int64_t zero_point = 0;
  std::int64_t axis = 0;

  bool is_per_tensor() const noexcept { return scheme == "per_tensor_affine" || scheme == "per_tensor_symmetric"; }
  bool is_per_channel() const noexcept {
    return scheme == "per_channel_affine" || scheme == "per_channel_symmetric" ||
           scheme == "per_channel_affine_float_qparams";
  }
};

// The scale comes back bit for bit, NaN payloads aside.
std::string to_text(const Quantizer& quantizer);
// nullopt if it is not what to_text writes.
std::optional<Quantizer> parse_quantizer(std::string_view text);

}  // namespace tenon
