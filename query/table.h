// What a table of SQL is to the engine: columns, a plan for what a statement asks of them, and a cursor over rows.
// Nothing here knows SQLite.
//
// Lifetime: a Table lives as long as the program, a Cursor as long as a statement needs it; a cursor may be begun
// several times. Threads: those of the session. Errors: what plan(), begin(), next() and column() throw ends the
// statement and comes out of it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tenon/digest.h"
#include "tenon/query.h"

namespace tenon {

// What a column or function gives. A view is valid until its cursor moves, or its function returns.
using Cell =
    std::variant<std::monostate, std::int64_t, double, std::string_view, std::string, std::span<const std::byte>>;

inline Cell cell_of(bool value) { return std::int64_t{value}; }
// Counts above 2^63 become REAL.
inline Cell cell_of(std::uint64_t value) {
  return value > INT64_MAX ? Cell(static_cast<double>(value)) : Cell(static_cast<std::int64_t>(value));
}
template <typename T>
Cell cell_of(const std::optional<T>& value) {
  return value ? Cell(*value) : Cell();
}

enum class ColumnRole : std::uint8_t {
  plain,
  argument,           // hidden; given in parentheses after the table's name, or by "WHERE argument = ..."
  required_argument,  // without it there are no rows to speak of
  on_request,         // hidden; costly, so that * leaves it out
};

inline bool is_argument(ColumnRole role) {
  return role == ColumnRole::argument || role == ColumnRole::required_argument;
}

// How a table makes use of what is compared with a column: as bits.
enum PushedOps : std::uint8_t { push_nothing = 0, push_equal = 1, push_patterns = 2, push_range = 4 };

struct Column {
  std::string_view name;
  std::string_view type;  // see SqlColumn
  std::string_view about;
  ColumnRole role = ColumnRole::plain;
  std::uint8_t pushed = push_nothing;
};

enum class Op : std::uint8_t { equal, less, less_equal, greater, greater_equal, glob, like };

// A condition that the statement has and a plan may use. Those that it does not use, or uses for a part, the engine
// looks at itself, row by row.
struct Condition {
  int column = 0;
  Op op = Op::equal;
};
// With its value: valid during Cursor::begin().
struct Bound {
  int column = 0;
  Op op = Op::equal;
  SqlValue value{};
};

struct Ordering {
  int column = 0;
  bool is_descending = false;
};

enum class RowOrder : std::uint8_t { any, ascending, descending };

// What a plan uses, in the order in which Cursor::begin() gets the values.
struct Plan {
  std::vector<Condition> used{};
  double rows = 1e6;               // that will come, about
  double cost = 1e6;               // of having them: 1 for a row of columns that are at hand
  RowOrder order = RowOrder::any;  // of name; the one that was asked for, if it can be had
  bool is_unique = false;          // at most one row comes

  bool uses(int column, Op op) const {
    for (const Condition& one : used) {
      if (one.column == column && one.op == op) return true;
    }
    return false;
  }
};

class SessionState;

// What tells a row from the others of its table, given the same arguments, by whatever conditions it was found: where
// a statement has OR, the engine looks once for each side, and knows by this what it has had already.
struct RowKey {
  Digest owner{};  // the snapshot, say
  std::uint64_t number = 0;
};

class Cursor {
 public:
  virtual ~Cursor() = default;
  // Goes to the first row.
  virtual void begin(std::span<const Bound> bounds, RowOrder order) = 0;
  virtual bool at_end() const = 0;
  virtual void next() = 0;
  // Of the current row. Arguments are asked for only if they were given, and answered with that.
  virtual Cell column(int index) = 0;
  virtual RowKey key() const = 0;
};

class Table {
 public:
  virtual ~Table() = default;
  virtual std::string_view name() const = 0;
  virtual std::string_view about() const = 0;
  // Arguments last.
  virtual std::span<const Column> columns() const = 0;
  // `plan` has used every condition that the columns' `pushed` and `role` allow; this says what that comes to.
  virtual void estimate(Plan& plan, std::span<const Ordering> order, SessionState& session) const = 0;
  virtual std::unique_ptr<Cursor> open(SessionState& session) const = 0;
};

}  // namespace tenon
