// How a statement will be answered, for a person.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tenon {

// Of "EXPLAIN SELECT ...", the statement; nullopt for others, and for EXPLAIN QUERY PLAN, which is SQLite's own.
std::optional<std::string_view> explained_statement(std::string_view sql);

struct PlanStep {  // a row of EXPLAIN QUERY PLAN
  std::int64_t id = 0;
  std::int64_t parent = 0;
  std::string detail{};
};

// A line a step, each indented below the one that it is a part of.
std::string describe_plan(const std::vector<PlanStep>& steps);

}  // namespace tenon
