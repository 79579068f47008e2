// Every table and function that a session has, in the order of docs/sql.md.
#pragma once

#include <span>

#include "query/function.h"
#include "query/table.h"

namespace tenon {

std::span<const Table* const> all_tables();
std::span<const ScalarFunction> all_scalar_functions();
std::span<const AggregateFunction> all_aggregate_functions();

}  // namespace tenon
