// A JSON value being made, and the few readings of JSON that the command needs. The JSON library stays in json.cc.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace tenon::tools {

// Text that is JSON already, e.g. the metadata of a snapshot.
struct RawJson {
  std::string text;
};

// Doubles that JSON cannot hold become the strings "nan", "inf" and "-inf".
class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;
  using Value =
      std::variant<std::nullptr_t, bool, std::int64_t, std::uint64_t, double, std::string, RawJson, Array, Object>;

  Json(std::nullptr_t = nullptr) {}
  Json(bool value) : value_(value) {}
  template <std::signed_integral T>
  Json(T value) : value_(static_cast<std::int64_t>(value)) {}
  template <std::unsigned_integral T>
  requires(!std::same_as<T, bool>) Json(T value) : value_(static_cast<std::uint64_t>(value)) {}
  Json(double value) : value_(value) {}
  Json(const char* text) : value_(std::string(text)) {}
  Json(std::string_view text) : value_(std::string(text)) {}
  Json(std::string text) : value_(std::move(text)) {}
  Json(RawJson raw) : value_(std::move(raw)) {}
  Json(Array array) : value_(std::move(array)) {}
  Json(Object object) : value_(std::move(object)) {}
  template <typename T>
  Json(const std::optional<T>& value) {
    if (value) *this = Json(*value);
  }

  const Value& value() const noexcept { return value_; }

 private:
  Value value_ = nullptr;
};

Json to_json(std::span<const std::int64_t> numbers);
Json to_json(std::span<const std::string> texts);

// One line, without a line break. Bytes that are no UTF-8 are replaced.
std::string dump(const Json& json);

// `object` (JSON text) with each "key=value" set: numbers and true/false as such, anything else as a string.
// Throws invalid_argument for an assignment without '=' or with an empty key.
std::string set_members(const std::string& object, std::span<const std::string> assignments);

}  // namespace tenon::tools
