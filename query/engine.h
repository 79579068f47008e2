// SQLite behind one file: a connection without a database, our tables and functions in it, and statements.
//
// The connection reads only: an authorizer refuses all but reading, functions and a few harmless pragmas; it attaches
// nothing, loads no extension and keeps what it sorts in memory. Whatever a table or function throws ends the statement
// and is thrown by the call that ran it. Threads: one at a time, but Engine::interrupt().
#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "query/function.h"
#include "query/table.h"

struct sqlite3;
struct sqlite3_stmt;

namespace tenon {

class Engine;

// A statement under way. Ends before its engine.
class Statement {
 public:
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  bool is_empty() const noexcept { return handle_ == nullptr; }  // blanks and comments
  std::size_t column_count() const noexcept;
  std::string column_name(std::size_t column) const;
  std::string column_type(std::size_t column) const;
  // False after the last row.
  bool step();
  SqlValue value(std::size_t column) const;  // valid until step()
  // Bytes of the text that was prepared and is no part of the statement.
  std::size_t rest_bytes() const noexcept { return rest_bytes_; }

 private:
  friend class Engine;
  Statement(Engine& engine, std::string_view sql);
  Engine& engine_;
  std::string sql_;
  sqlite3_stmt* handle_ = nullptr;
  std::size_t rest_bytes_ = 0;
};

class Engine {
 public:
  // `poll` is called every hundred steps or so of a statement; what it throws ends the statement.
  Engine(SessionState& session, std::function<void()> poll);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  void set_limits(const QueryLimits& limits);
  void add(const Table& table);
  void add(const ScalarFunction& function);
  void add(const AggregateFunction& function);
  void add(const std::string& name, int argument_count, std::function<SqlResult(std::span<const SqlValue>)> call);

  // Throws invalid_argument: see tenon/query.h.
  std::unique_ptr<Statement> prepare(std::string_view sql);

  static bool is_complete(std::string_view sql);
  // Bytes that SQLite has at the moment, in all of this process.
  static std::uint64_t memory_bytes() noexcept;
  // SQLite's own meaning of GLOB, and of LIKE without ESCAPE.
  static bool matches_glob(const std::string& pattern, const std::string& text) noexcept;
  static bool matches_like(const std::string& pattern, const std::string& text) noexcept;

 private:
  friend class Statement;
  friend struct EngineCallbacks;
  [[noreturn]] void fail(int code, std::string_view sql);

  SessionState& session_;
  std::function<void()> poll_;
  sqlite3* connection_ = nullptr;
  std::exception_ptr pending_;  // thrown in a callback
  std::string refused_;         // by the authorizer
};

}  // namespace tenon
