#include "tools/json.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "tenon/error.h"

namespace tenon::tools {
namespace {

using Library = nlohmann::ordered_json;

Library convert(const Json& json);

struct Converter {
  Library operator()(std::nullptr_t) const { return nullptr; }
  Library operator()(bool value) const { return value; }
  Library operator()(std::int64_t value) const { return value; }
  Library operator()(std::uint64_t value) const { return value; }
  Library operator()(double value) const {
    if (std::isnan(value)) return "nan";
    if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
    return value;
  }
  Library operator()(const std::string& text) const { return text; }
  Library operator()(const RawJson& raw) const {
    // What cannot be parsed is handed on as text rather than breaking the line it stands in.
    Library parsed = Library::parse(raw.text, nullptr, false);
    return parsed.is_discarded() ? Library(raw.text) : parsed;
  }
  Library operator()(const Json::Array& array) const {
    Library result = Library::array();
    for (const Json& item : array) result.push_back(convert(item));
    return result;
  }
  Library operator()(const Json::Object& object) const {
    Library result = Library::object();
    for (const auto& [key, value] : object) result[key] = convert(value);
    return result;
  }
};

Library convert(const Json& json) { return std::visit(Converter{}, json.value()); }

Library parse_scalar(const std::string& text) {
  Library parsed = Library::parse(text, nullptr, false);
  // Digits alone that became a float were too many to be kept.
  const bool is_rounded = parsed.is_number_float() && text.find_first_of(".eE") == std::string::npos;
  return (parsed.is_number() && !is_rounded) || parsed.is_boolean() ? parsed : Library(text);
}

}  // namespace

Json to_json(std::span<const std::int64_t> numbers) { return Json::Array(numbers.begin(), numbers.end()); }

Json to_json(std::span<const std::string> texts) { return Json::Array(texts.begin(), texts.end()); }

std::string dump(const Json& json) { return convert(json).dump(-1, ' ', false, Library::error_handler_t::replace); }

std::string set_members(const std::string& object, std::span<const std::string> assignments) {
  Library result = Library::parse(object, nullptr, false);
  if (!result.is_object()) result = Library::object();
  for (const std::string& assignment : assignments) {
    const std::size_t equals = assignment.find('=');
    if (equals == std::string::npos || equals == 0) {
      throw Error(ErrorKind::invalid_argument,
                  {.what = "metadata needs a key and a value", .got = assignment, .wanted = "KEY=VALUE"});
    }
    result[assignment.substr(0, equals)] = parse_scalar(assignment.substr(equals + 1));
  }
  return result.dump(-1, ' ', false, Library::error_handler_t::replace);
}

}  // namespace tenon::tools
