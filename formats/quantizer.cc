#include "formats/quantizer.h"

#include <charconv>

#include <fmt/format.h>

namespace tenon {

namespace {

bool take(std::string_view& text, std::string_view expected) {
  if (!text.starts_with(expected)) return false;
  text.remove_prefix(expected.size());
  return true;
}

template <class Number>
bool take_number(std::string_view& text, Number& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

}  // namespace

std::string to_text(const Quantizer& quantizer) {
  if (quantizer.is_per_channel()) return fmt::format("{}(axis={})", quantizer.scheme, quantizer.axis);
  return fmt::format("{}(scale={}, zero_point={})", quantizer.scheme, quantizer.scale, quantizer.zero_point);
}

std::optional<Quantizer> parse_quantizer(std::string_view text) {
  const std::size_t open = text.find('(');
  if (open == std::string_view::npos) return std::nullopt;
  Quantizer quantizer{.scheme = std::string(text.substr(0, open))};
  text.remove_prefix(open);
  const bool is_read = quantizer.is_per_tensor()
                           ? take(text, "(scale=") && take_number(text, quantizer.scale) &&
                                 take(text, ", zero_point=") && take_number(text, quantizer.zero_point)
                           : quantizer.is_per_channel() && take(text, "(axis=") && take_number(text, quantizer.axis);
  return is_read && text == ")" ? std::optional(quantizer) : std::nullopt;
}

}  // namespace tenon
