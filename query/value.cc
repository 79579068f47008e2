#include "query/value.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace tenon {

namespace {

template <typename T>
std::optional<T> parse(std::string_view text) {
  T number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

[[noreturn]] void refuse(std::string_view what, std::string_view wanted, const SqlValue& value) {
  const auto text = text_of(value);
  throw Error(ErrorKind::invalid_argument, {.what = std::string(what) + " has a wrong argument",
                                            .got = is_null(value) ? "NULL"
                                                   : text         ? "'" + *text + "'"
                                                                  : "a blob",
                                            .wanted = std::string(wanted)});
}

}  // namespace

std::optional<std::string> text_of(const SqlValue& value) {
  if (const auto* text = std::get_if<std::string_view>(&value)) return std::string(*text);
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return std::to_string(*integer);
  if (const auto* real = std::get_if<double>(&value)) {
    std::string digits = fmt::format("{:.15g}", *real);
    return digits.find_first_of(".en") == std::string::npos ? digits + ".0" : digits;
  }
  return std::nullopt;
}

std::optional<double> real_of(const SqlValue& value) {
  if (const auto* real = std::get_if<double>(&value)) return *real;
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return static_cast<double>(*integer);
  if (const auto* text = std::get_if<std::string_view>(&value)) return parse<double>(*text);
  return std::nullopt;
}

std::optional<std::int64_t> integer_of(const SqlValue& value) {
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return *integer;
  if (const auto* real = std::get_if<double>(&value)) {
    const bool is_whole = std::floor(*real) == *real && std::abs(*real) < 0x1p62;
    return is_whole ? std::optional(static_cast<std::int64_t>(*real)) : std::nullopt;
  }
  if (const auto* text = std::get_if<std::string_view>(&value)) return parse<std::int64_t>(*text);
  return std::nullopt;
}

std::string require_text(const SqlValue& value, std::string_view what) {
  auto text = text_of(value);
  if (!text) refuse(what, "text", value);
  return std::move(*text);
}

double require_real(const SqlValue& value, std::string_view what) {
  const auto real = real_of(value);
  if (!real) refuse(what, "a number", value);
  return *real;
}

std::int64_t require_integer(const SqlValue& value, std::string_view what) {
  const auto integer = integer_of(value);
  if (!integer) refuse(what, "a whole number", value);
  return *integer;
}

}  // namespace tenon
