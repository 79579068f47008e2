// Functions of SQL as the engine takes them. Nothing here knows SQLite.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "query/table.h"

namespace tenon {

struct ScalarFunction {
  std::string_view name;
  std::string_view usage;
  std::string_view about;
  int least_arguments = 0;
  int most_arguments = 0;  // -1: any number
  Cell (*call)(SessionState& session, std::span<const SqlValue> arguments) = nullptr;
};

// Takes rows one by one, then says what they come to. One object for each group.
class Aggregate {
 public:
  virtual ~Aggregate() = default;
  virtual void add(std::span<const SqlValue> arguments) = 0;
  virtual Cell result() = 0;
};

struct AggregateFunction {
  std::string_view name;
  std::string_view usage;
  std::string_view about;
  int arguments = 1;
  std::unique_ptr<Aggregate> (*make)(SessionState& session) = nullptr;
};

}  // namespace tenon
