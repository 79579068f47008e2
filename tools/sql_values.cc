#include "tools/sql_values.h"

#include <fmt/format.h>

#include <cmath>

#include "tenon/name.h"

namespace tenon::tools {
namespace {

std::string with_point(std::string digits) {
  return digits.find_first_of(".e") == std::string::npos ? std::move(digits) + ".0" : digits;
}

}  // namespace

std::string ExactText::operator()(double value) const {
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  return with_point(fmt::format("{}", value));
}

std::string ExactText::operator()(std::span<const std::byte> value) const {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * value.size());
  for (const std::byte byte : value) {
    text += digits[std::to_integer<unsigned>(byte) >> 4];
    text += digits[std::to_integer<unsigned>(byte) & 15];
  }
  return text;
}

std::string ReadableText::operator()(double value) const {
  return std::isfinite(value) ? with_point(fmt::format("{:.6g}", value)) : ExactText{}(value);
}

std::string ReadableText::operator()(std::string_view value) const { return printable(value); }

std::string ReadableText::operator()(std::span<const std::byte> value) const { return "x'" + ExactText{}(value) + "'"; }

}  // namespace tenon::tools
