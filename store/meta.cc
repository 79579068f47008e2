#include "store/meta.h"

#include <nlohmann/json.hpp>

namespace tenon {

namespace {

using Json = nlohmann::json;

constexpr int nesting_max = 8;  // of objects that are looked into

Json parse(std::string_view meta) { return Json::parse(meta, nullptr, false); }

const Json* find(const Json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  if (const auto found = object.find(std::string(key)); found != object.end()) return &*found;
  const std::size_t dot = key.find('.');
  if (dot == std::string_view::npos) return nullptr;
  const auto outer = object.find(std::string(key.substr(0, dot)));
  return outer == object.end() ? nullptr : find(*outer, key.substr(dot + 1));
}

void add_keys(const Json& object, const std::string& prefix, int levels, std::vector<std::string>& keys) {
  for (const auto& [key, value] : object.items()) {
    if (value.is_number()) keys.push_back(prefix + key);
    if (value.is_object() && levels > 0) add_keys(value, prefix + key + ".", levels - 1, keys);
  }
}

}  // namespace

std::optional<double> meta_number(std::string_view meta, std::string_view key) {
  const Json object = parse(meta);
  const Json* const found = find(object, key);
  if (found == nullptr || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

std::vector<std::string> meta_number_keys(std::string_view meta) {
  std::vector<std::string> keys;
  const Json object = parse(meta);
  if (object.is_object()) add_keys(object, "", nesting_max, keys);
  return keys;
}

}  // namespace tenon
