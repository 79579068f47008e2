// Questions in SQL: SQLite's language over a store's history, its tensors' values, and foreign files.
//
// The tables and functions are listed in docs/sql.md, and by Session::tables() and functions(). Nothing is copied into
// SQLite: rows come straight from the catalog and from mapped columns. A session reads only; it attaches nothing, loads
// no extension, and opens no file but those that a statement names in a read_ function.
//
// Owner and lifetime: a Session keeps its store and what it opened; Rows keep the session's insides, and may outlive
// it. What a statement reads of history is read in short batches: nothing is held while nobody calls next().
// Threads: one at a time for a Session and its Rows, but interrupt(), which may be called from any.
// Errors: tenon::Error. What is wrong with a statement is invalid_argument with Facts::file == sql_source,
// Facts::offset the byte in the statement's text where it is wrong (if known), and close names in Facts::hint. A limit
// throws limit, interrupt() throws interrupted. After an error the session goes on with the next statement.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "tenon/error.h"
#include "tenon/export.h"
#include "tenon/store.h"

namespace tenon {

inline constexpr std::string_view sql_source = "SQL";  // Facts::file of what is wrong with a statement

// One value of a row: NULL, INTEGER, REAL, TEXT, BLOB. Text and bytes belong to the Rows. There is no NaN: see
// docs/sql.md.
using SqlValue = std::variant<std::monostate, std::int64_t, double, std::string_view, std::span<const std::byte>>;
// The same, owning: what a function of the caller's returns.
using SqlResult = std::variant<std::monostate, std::int64_t, double, std::string, std::vector<std::byte>>;

struct QueryLimits {
  std::chrono::milliseconds deadline{0};                // of one statement, over all of its rows; 0: none
  std::uint64_t memory_bytes = std::uint64_t{1} << 30;  // that one statement may take; mapped tensors do not count
  std::uint64_t value_bytes = std::uint64_t{64} << 20;  // of one text or blob
  std::uint64_t statement_bytes = std::uint64_t{1} << 20;
};

struct SqlColumn {
  std::string name;
  std::string type;  // as declared: INTEGER, REAL, TEXT, BOOLEAN (0 and 1), JSON (text), TIMESTAMP (text); empty for an
                     // expression
};

class SessionState;
class RowsState;

// The rows of one statement, one after the other. Moved, not copied.
class TENON_API Rows {
 public:
  Rows(Rows&&) noexcept;
  Rows& operator=(Rows&&) noexcept;
  ~Rows();

  const std::vector<SqlColumn>& columns() const noexcept;
  // Goes to the next row, the first one at first; false after the last. Throws as the file's head says.
  bool next();
  // A value of the current row. REQUIRES: next() returned true, column < columns().size(). Text and bytes are valid
  // until next().
  SqlValue operator[](std::size_t column) const;
  // What follows the statement in the text that was given: a part of that text, empty if nothing but blanks and
  // comments.
  std::string_view rest() const noexcept;

 private:
  friend class Session;
  explicit Rows(std::unique_ptr<RowsState> state) noexcept;
  std::unique_ptr<RowsState> state_;
};

struct SqlColumnInfo {
  std::string name;
  std::string type;   // as in SqlColumn
  std::string about;  // one clause, with the unit
};

struct SqlTableInfo {
  std::string name;
  std::string arguments;  // "rev [, glob]"; empty for a plain table
  std::string about;
  std::vector<SqlColumnInfo> columns;
};

struct SqlFunctionInfo {
  std::string name;
  std::string usage;  // "quantile(tensor, q)"
  std::string about;
  bool is_aggregate = false;
};

class TENON_API Session {
 public:
  // Without a store only the read_ functions and plain SQL have something to say.
  explicit Session(std::optional<Store> store = {}, const QueryLimits& limits = {});
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  // Begins the first statement of `sql`. Blank text gives rows without columns. Named and numbered parameters are NULL.
  Rows query(std::string_view sql);
  // How the first statement of `sql` will be answered: one line a step, indented, for a person.
  std::string explain(std::string_view sql);
  // Whether `sql` ends with a whole statement, `;` included, so that a line editor need not ask for more.
  static bool is_complete(std::string_view sql);

  // Ends the statement that is running, and any Rows with it; nothing if none is. Safe in a signal handler.
  void interrupt() noexcept;
  // Called every few milliseconds while a statement runs, in its thread. What it throws ends the statement and comes
  // out of query() or next().
  void set_progress(std::function<void()> progress);
  void set_limits(const QueryLimits& limits);
  const QueryLimits& limits() const noexcept;

  // Adds a function of SQL, or replaces one of the caller's; the names of functions(), LIKE and GLOB are taken:
  // invalid_argument. `argument_count` -1: any number. What `call` throws ends
  // the statement and comes out as it is.
  void register_function(const std::string& name, int argument_count,
                         std::function<SqlResult(std::span<const SqlValue>)> call);

  // What there is to ask, in the order of docs/sql.md; the same for every session. SQLite's own functions are left out.
  static const std::vector<SqlTableInfo>& tables();
  static const std::vector<SqlFunctionInfo>& functions();

 private:
  std::shared_ptr<SessionState> state_;
};

}  // namespace tenon
