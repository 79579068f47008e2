// How a value of SQL is written.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "tenon/query.h"

namespace tenon::tools {

// For programs: enough digits to read the same number back, text and bytes (in hex) as they are; NULL is empty.
struct ExactText {
  std::string operator()(std::monostate) const { return {}; }
  std::string operator()(std::int64_t value) const { return std::to_string(value); }
  std::string operator()(double value) const;
  std::string operator()(std::string_view value) const { return std::string(value); }
  std::string operator()(std::span<const std::byte> value) const;
};

// For people: six digits, control characters escaped, NULL and x'00ff' as SQL has them.
struct ReadableText {
  std::string operator()(std::monostate) const { return "NULL"; }
  std::string operator()(std::int64_t value) const { return std::to_string(value); }
  std::string operator()(double value) const;
  std::string operator()(std::string_view value) const;
  std::string operator()(std::span<const std::byte> value) const;
};

}  // namespace tenon::tools
