// Aggregates that SQLite has not: median, percentile, sparkline.
#pragma once

#include <span>

#include "query/function.h"

namespace tenon {

std::span<const AggregateFunction> aggregates();

}  // namespace tenon
