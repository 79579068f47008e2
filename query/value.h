// Values that a statement gives to tables and functions, read as what these expect.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tenon/query.h"

namespace tenon {

inline bool is_null(const SqlValue& value) { return std::holds_alternative<std::monostate>(value); }
// As SQLite would write it; nullopt for NULL and BLOB.
std::optional<std::string> text_of(const SqlValue& value);
// nullopt for what is no number, nor text that is one.
std::optional<double> real_of(const SqlValue& value);
// nullopt for what is no whole number.
std::optional<std::int64_t> integer_of(const SqlValue& value);

// Throw invalid_argument: "quantile: wanted a number, got ...". `what` names the function and argument.
std::string require_text(const SqlValue& value, std::string_view what);
double require_real(const SqlValue& value, std::string_view what);
std::int64_t require_integer(const SqlValue& value, std::string_view what);

}  // namespace tenon
