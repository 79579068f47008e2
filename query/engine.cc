#include "query/engine.h"

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <new>
#include <numeric>
#include <type_traits>

#include "query/statement_error.h"
#include "query/value.h"
#include "store/digest.h"
#include "tenon/error.h"

namespace tenon {

namespace {

// Few, since each may take a text of the longest that is allowed.
constexpr int steps_between_polls = 100;
// What a person writes is far below these; SQLite's parser and planner stay small and quick within them.
constexpr int expression_depth_max = 200;
constexpr int compound_selects_max = 100;
constexpr int columns_max = 500;
constexpr int arguments_max = 64;
constexpr int pattern_bytes_max = 4096;
constexpr int program_steps_max = 250'000;

// SQLite's own, whose files are memory: a connection can open no other, and a sort in "files" goes by runs that fit the
// processor's cache, which one in memory does not (a third of the time for a million rows).
constexpr const char* file_system = "memdb";

// Pragmas that only tell what there is.
constexpr std::array<std::string_view, 5> harmless_pragmas = {"table_info", "table_xinfo", "table_list",
                                                              "function_list", "collation_list"};
// SQL functions that reach outside of the statement.
constexpr std::array<std::string_view, 2> refused_functions = {"load_extension", "fts3_tokenizer"};

// What is declared for types that are text to SQLite: it would take '2027' for a number beside any other type.
constexpr std::string_view text_suffix = "_TEXT";
bool is_text(std::string_view type) { return type == "JSON" || type == "TIMESTAMP"; }

SqlValue value_of(sqlite3_value* value) {
  switch (sqlite3_value_type(value)) {
    case SQLITE_INTEGER:
      return std::int64_t{sqlite3_value_int64(value)};
    case SQLITE_FLOAT:
      return sqlite3_value_double(value);
    case SQLITE_TEXT: {
      const auto* text = reinterpret_cast<const char*>(sqlite3_value_text(value));
      return std::string_view(text, static_cast<std::size_t>(sqlite3_value_bytes(value)));
    }
    case SQLITE_BLOB: {
      const auto* bytes = static_cast<const std::byte*>(sqlite3_value_blob(value));
      return std::span<const std::byte>(bytes, static_cast<std::size_t>(sqlite3_value_bytes(value)));
    }
    default:
      return std::monostate();
  }
}

void set_text(sqlite3_context* context, std::string_view text) {
  sqlite3_result_text64(context, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
}

void set_blob(sqlite3_context* context, std::span<const std::byte> bytes) {
  if (bytes.empty()) return sqlite3_result_zeroblob(context, 0);
  sqlite3_result_blob64(context, bytes.data(), bytes.size(), SQLITE_TRANSIENT);
}

// SQLite makes NULL of NaN by itself.
template <typename Value>
void set_result(sqlite3_context* context, const Value& result) {
  std::visit(
      [context](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, std::monostate>) {
          sqlite3_result_null(context);
        } else if constexpr (std::is_same_v<T, std::int64_t>) {
          sqlite3_result_int64(context, value);
        } else if constexpr (std::is_same_v<T, double>) {
          sqlite3_result_double(context, value);
        } else if constexpr (std::is_convertible_v<const T&, std::string_view>) {
          set_text(context, value);
        } else {
          set_blob(context, value);
        }
      },
      result);
}

std::vector<SqlValue> values_of(int count, sqlite3_value** values) {
  std::vector<SqlValue> converted;
  converted.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) converted.push_back(value_of(values[i]));
  return converted;
}

std::optional<Op> op_of(unsigned char code) {
  switch (code) {
    case SQLITE_INDEX_CONSTRAINT_EQ:
      return Op::equal;
    case SQLITE_INDEX_CONSTRAINT_LT:
      return Op::less;
    case SQLITE_INDEX_CONSTRAINT_LE:
      return Op::less_equal;
    case SQLITE_INDEX_CONSTRAINT_GT:
      return Op::greater;
    case SQLITE_INDEX_CONSTRAINT_GE:
      return Op::greater_equal;
    case SQLITE_INDEX_CONSTRAINT_GLOB:
      return Op::glob;
    case SQLITE_INDEX_CONSTRAINT_LIKE:
      return Op::like;
    default:
      return std::nullopt;
  }
}

const char* symbol_of(Op op) {
  switch (op) {
    case Op::equal:
      return "=";
    case Op::less:
      return "<";
    case Op::less_equal:
      return "<=";
    case Op::greater:
      return ">";
    case Op::greater_equal:
      return ">=";
    case Op::glob:
      return " GLOB ";
    case Op::like:
      return " LIKE ";
  }
  return "";
}

bool may_push(const Column& column, Op op) {
  if (is_argument(column.role)) return op == Op::equal;
  switch (op) {
    case Op::equal:
      return (column.pushed & push_equal) != 0;
    case Op::glob:
    case Op::like:
      return (column.pushed & push_patterns) != 0;
    default:
      return (column.pushed & push_range) != 0;
  }
}

}  // namespace

// What SQLite calls. No exception may pass through it: it is kept in the engine, and thrown by whoever ran the
// statement.
struct EngineCallbacks {
  struct Module {  // of one table
    Module(Engine& engine_, const Table& table_) : engine(&engine_), table(&table_), order(declared_order(table_)) {}
    Engine* engine;
    const Table* table;
    std::vector<int> order;  // the table's columns as SQLite counts them
  };
  struct VirtualTable : sqlite3_vtab {
    Module* module = nullptr;
  };
  struct OpenCursor : sqlite3_vtab_cursor {
    std::unique_ptr<Cursor> cursor;
    std::string arguments;      // as they were given
    std::uint64_t missing = 0;  // those that were not: bits by declared column
  };
  struct Scalar {
    Engine* engine;
    ScalarFunction function;
  };
  struct Custom {
    Engine* engine;
    std::function<SqlResult(std::span<const SqlValue>)> call;
  };
  struct Grouping {
    Engine* engine;
    AggregateFunction function;
  };

  template <typename Action>
  static int guarded(Engine& engine, Action action) noexcept {
    try {
      action();
      return SQLITE_OK;
    } catch (...) {
      if (!engine.pending_) engine.pending_ = std::current_exception();
      return SQLITE_ERROR;
    }
  }
  template <typename Action>
  static void guarded(Engine& engine, sqlite3_context* context, Action action) noexcept {
    if (guarded(engine, action) != SQLITE_OK) sqlite3_result_error(context, "thrown by a function", -1);
  }
  template <typename T>
  static void destroy(void* object) {
    delete static_cast<T*>(object);
  }

  // ---- tables

  // What is called in FROM has its arguments in the first hidden columns, so those on request come after them.
  static std::vector<int> declared_order(const Table& table) {
    assert(table.columns().size() <= 64);  // bits in OpenCursor::missing
    std::vector<int> order(table.columns().size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_partition(order, [&](int column) {
      return table.columns()[static_cast<std::size_t>(column)].role != ColumnRole::on_request;
    });
    return order;
  }
  static int column_of(const Module& module, int declared) {
    return declared < 0 ? declared : module.order[static_cast<std::size_t>(declared)];
  }

  static int connect(sqlite3* connection, void* data, int, const char* const*, sqlite3_vtab** out, char**) {
    auto* module = static_cast<Module*>(data);
    return guarded(*module->engine, [&] {
      std::string declaration = "CREATE TABLE x(";
      for (const int index : module->order) {
        const Column& column = module->table->columns()[static_cast<std::size_t>(index)];
        if (declaration.back() != '(') declaration += ", ";
        declaration += '"' + std::string(column.name) + "\" " + std::string(column.type);
        if (is_text(column.type)) declaration += text_suffix;
        if (column.role != ColumnRole::plain) declaration += " HIDDEN";
      }
      const int code = sqlite3_declare_vtab(connection, (declaration + ")").c_str());
      if (code != SQLITE_OK) throw std::bad_alloc();
      auto made = std::make_unique<VirtualTable>();
      made->module = module;
      *out = made.release();
    });
  }

  static int disconnect(sqlite3_vtab* table) {
    delete static_cast<VirtualTable*>(table);
    return SQLITE_OK;
  }

  // What is compared with an argument and cannot be had yet must be had first: another order of the join has it.
  static int best_index(sqlite3_vtab* base, sqlite3_index_info* info) {
    const Module& module = *static_cast<VirtualTable*>(base)->module;
    const auto columns = module.table->columns();
    Plan plan;
    for (int i = 0; i < info->nConstraint; ++i) {
      const auto& one = info->aConstraint[i];
      if (one.iColumn < 0) continue;
      const int column = column_of(module, one.iColumn);
      const Column& declared = columns[static_cast<std::size_t>(column)];
      const bool is_given = is_argument(declared.role);
      const bool is_is = is_given && one.op == SQLITE_INDEX_CONSTRAINT_IS;
      const auto op = is_is ? std::optional(Op::equal) : op_of(one.op);
      if (!op) continue;
      if (is_given && op == Op::equal && one.usable == 0) return SQLITE_CONSTRAINT;
      if (one.usable == 0 || !may_push(declared, *op)) continue;
      if (*op == Op::equal && plan.uses(column, Op::equal)) continue;
      if (*op == Op::equal && !is_given && sqlite3_stricmp(sqlite3_vtab_collation(info, i), "BINARY") != 0) {
        continue;
      }
      plan.used.push_back({column, *op});
      info->aConstraintUsage[i].argvIndex = static_cast<int>(plan.used.size());
      info->aConstraintUsage[i].omit = is_given ? 1 : 0;
    }
    return guarded(*module.engine, [&] { finish(module, plan, *info); });
  }

  static void finish(const Module& module, Plan& plan, sqlite3_index_info& info) {
    std::vector<Ordering> order;
    for (int i = 0; i < info.nOrderBy; ++i) {
      order.push_back({column_of(module, info.aOrderBy[i].iColumn), info.aOrderBy[i].desc != 0});
    }
    module.table->estimate(plan, order, module.engine->session_);
    info.estimatedRows = static_cast<sqlite3_int64>(std::clamp(plan.rows, 1.0, 1e15));
    info.estimatedCost = plan.cost;
    info.orderByConsumed = plan.order != RowOrder::any ? 1 : 0;
    info.idxNum = static_cast<int>(plan.order);
    info.idxFlags = plan.is_unique ? SQLITE_INDEX_SCAN_UNIQUE : 0;
    const std::string text = describe(*module.table, plan);
    info.idxStr = sqlite3_mprintf("%s", text.c_str());
    info.needToFreeIdxStr = 1;
  }

  // For EXPLAIN, and for filter(), which reads the columns and operators back.
  static std::string describe(const Table& table, const Plan& plan) {
    std::string text;
    for (const Condition& one : plan.used) {
      text += static_cast<char>('!' + (one.column + 1) % 90);
      text += static_cast<char>('!' + (one.column + 1) / 90);
      text += static_cast<char>('A' + static_cast<int>(one.op));
    }
    text += ' ';
    for (const Condition& one : plan.used) {
      if (text.back() != ' ') text += ", ";
      text += table.columns()[static_cast<std::size_t>(one.column)].name;
      text += std::string(symbol_of(one.op)) + '?';
    }
    return plan.order == RowOrder::any ? text : text + (plan.used.empty() ? "in order" : ", in order");
  }

  static std::vector<Bound> bounds_of(const char* text, int count, sqlite3_value** values) {
    std::vector<Bound> bounds;
    for (int i = 0; i < count; ++i, text += 3) {
      const int column = (text[0] - '!') + 90 * (text[1] - '!') - 1;
      bounds.push_back({column, static_cast<Op>(text[2] - 'A'), value_of(values[i])});
    }
    return bounds;
  }

  // Text that differs where an argument does.
  static std::string arguments_of(std::span<const Bound> bounds, const Table& table) {
    std::string text;
    for (const Bound& bound : bounds) {
      if (!is_argument(table.columns()[static_cast<std::size_t>(bound.column)].role)) continue;
      const std::string value = text_of(bound.value).value_or("");
      text += std::to_string(bound.column) + ':' + std::to_string(value.size()) + ':' + value;
    }
    return text;
  }

  static int open(sqlite3_vtab* base, sqlite3_vtab_cursor** out) {
    const Module& module = *static_cast<VirtualTable*>(base)->module;
    return guarded(*module.engine, [&] {
      auto made = std::make_unique<OpenCursor>();
      made->cursor = module.table->open(module.engine->session_);
      *out = made.release();
    });
  }

  static int close(sqlite3_vtab_cursor* cursor) {
    delete static_cast<OpenCursor*>(cursor);
    return SQLITE_OK;
  }

  static const Module& module_of(sqlite3_vtab_cursor* cursor) {
    return *static_cast<VirtualTable*>(cursor->pVtab)->module;
  }
  static Engine& engine_of(sqlite3_vtab_cursor* cursor) { return *module_of(cursor).engine; }

  // An argument that is compared below OR, say, was not there when the rows were looked for: there is nothing to
  // compare it with, and no row would be right.
  static std::uint64_t missing_arguments(const Module& module, std::span<const Bound> bounds) {
    std::uint64_t missing = 0;
    for (std::size_t i = 0; i < module.order.size(); ++i) {
      const int column = module.order[i];
      const auto is_it = [&](const Bound& bound) { return bound.column == column; };
      const bool is_missing = is_argument(module.table->columns()[static_cast<std::size_t>(column)].role) &&
                              std::ranges::none_of(bounds, is_it);
      missing |= std::uint64_t{is_missing} << i;
    }
    return missing;
  }

  [[noreturn]] static void throw_not_given(const Table& table, std::size_t column) {
    const std::string table_name(table.name()), name(table.columns()[column].name);
    throw Error(ErrorKind::invalid_argument,
                {.what = "'" + name + "' of " + table_name + " is an argument, and was not given",
                 .file = std::string(sql_source),
                 .wanted = table_name + "(...), or " + name + " = ... that stands by AND",
                 .hint = "it cannot be compared below OR: use UNION ALL"});
  }

  static int filter(sqlite3_vtab_cursor* base, int order, const char* text, int count, sqlite3_value** values) {
    auto& open = *static_cast<OpenCursor*>(base);
    return guarded(engine_of(base), [&] {
      const std::vector<Bound> bounds = bounds_of(text, count, values);
      open.arguments = arguments_of(bounds, *module_of(base).table);
      open.missing = missing_arguments(module_of(base), bounds);
      open.cursor->begin(bounds, static_cast<RowOrder>(order));
    });
  }

  static int next(sqlite3_vtab_cursor* base) {
    return guarded(engine_of(base), [&] { static_cast<OpenCursor*>(base)->cursor->next(); });
  }

  static int eof(sqlite3_vtab_cursor* base) { return static_cast<OpenCursor*>(base)->cursor->at_end() ? 1 : 0; }

  static int column(sqlite3_vtab_cursor* base, sqlite3_context* context, int index) {
    const Module& module = module_of(base);
    auto& open = *static_cast<OpenCursor*>(base);
    return guarded(*module.engine, [&] {
      const int column = column_of(module, index);
      if ((open.missing >> index & 1) != 0) throw_not_given(*module.table, static_cast<std::size_t>(column));
      set_result(context, open.cursor->column(column));
    });
  }

  static int rowid(sqlite3_vtab_cursor* base, sqlite3_int64* out) {
    const auto& open = *static_cast<OpenCursor*>(base);
    return guarded(engine_of(base), [&] {
      const RowKey key = open.cursor->key();
      std::string text = open.arguments;
      text.append(reinterpret_cast<const char*>(&key.owner), sizeof key.owner);
      text.append(reinterpret_cast<const char*>(&key.number), sizeof key.number);
      const Digest digest = digest_bytes(std::as_bytes(std::span(text)));
      std::memcpy(out, &digest, sizeof *out);
    });
  }

  // ---- functions

  static void call_scalar(sqlite3_context* context, int count, sqlite3_value** values) {
    const auto& scalar = *static_cast<const Scalar*>(sqlite3_user_data(context));
    guarded(*scalar.engine, context,
            [&] { set_result(context, scalar.function.call(scalar.engine->session_, values_of(count, values))); });
  }

  static void call_custom(sqlite3_context* context, int count, sqlite3_value** values) {
    const auto& custom = *static_cast<const Custom*>(sqlite3_user_data(context));
    guarded(*custom.engine, context, [&] { set_result(context, custom.call(values_of(count, values))); });
  }

  static void aggregate_step(sqlite3_context* context, int count, sqlite3_value** values) {
    const auto& grouping = *static_cast<const Grouping*>(sqlite3_user_data(context));
    auto* place = static_cast<Aggregate**>(sqlite3_aggregate_context(context, sizeof(Aggregate*)));
    if (place == nullptr) return sqlite3_result_error_nomem(context);
    guarded(*grouping.engine, context, [&] {
      if (*place == nullptr) *place = grouping.function.make(grouping.engine->session_).release();
      (*place)->add(values_of(count, values));
    });
  }

  // Also called, its result unused, where the statement was ended.
  static void aggregate_final(sqlite3_context* context) {
    const auto& grouping = *static_cast<const Grouping*>(sqlite3_user_data(context));
    auto* place = static_cast<Aggregate**>(sqlite3_aggregate_context(context, 0));
    guarded(*grouping.engine, context, [&] {
      std::unique_ptr<Aggregate> group(place == nullptr ? nullptr : *place);
      if (!group) group = grouping.function.make(grouping.engine->session_);
      if (place != nullptr) *place = nullptr;
      set_result(context, group->result());
    });
  }

  // ---- the connection

  static int progress(void* data) {
    auto& engine = *static_cast<Engine*>(data);
    return guarded(engine, engine.poll_) == SQLITE_OK ? 0 : 1;
  }

  static int authorize(void* data, int action, const char* first, const char* second, const char*, const char*) {
    auto& engine = *static_cast<Engine*>(data);
    const std::string_view name = first == nullptr ? "" : first;
    const std::string_view detail = second == nullptr ? "" : second;
    const bool is_schema = name == "sqlite_master" || name == "sqlite_temp_master";
    const auto is_in = [](const auto& names, std::string_view wanted) {
      return std::any_of(names.begin(), names.end(), [&](std::string_view one) {
        return one.size() == wanted.size() &&
               sqlite3_strnicmp(one.data(), wanted.data(), static_cast<int>(one.size())) == 0;
      });
    };
    switch (action) {
      case SQLITE_SELECT:
      case SQLITE_READ:
      case SQLITE_RECURSIVE:
        return SQLITE_OK;
      case SQLITE_FUNCTION:
        if (!is_in(refused_functions, detail)) return SQLITE_OK;
        engine.refused_ = std::string(detail) + "()";
        return SQLITE_DENY;
      case SQLITE_PRAGMA:
        if (is_in(harmless_pragmas, name)) return SQLITE_OK;
        engine.refused_ = "PRAGMA " + std::string(name);
        return SQLITE_DENY;
      case SQLITE_UPDATE:  // how SQLite declares a table; a statement's own may not, the connection being defensive
        if (is_schema) return SQLITE_OK;
        [[fallthrough]];
      default:
        if (engine.refused_.empty()) engine.refused_ = refused_action(action);
        return SQLITE_DENY;
    }
  }

  static const char* refused_action(int action) {
    switch (action) {
      case SQLITE_ATTACH:
        return "ATTACH";
      case SQLITE_DETACH:
        return "DETACH";
      case SQLITE_INSERT:
        return "a change to a table";
      case SQLITE_UPDATE:
        return "UPDATE";
      case SQLITE_DELETE:
        return "DELETE";
      case SQLITE_TRANSACTION:
      case SQLITE_SAVEPOINT:
        return "a transaction";
      default:
        return "a change to the schema";
    }
  }

  static const sqlite3_module* module_methods() {
    static const sqlite3_module methods = [] {
      sqlite3_module m{};  // no xCreate: the table is there without being made, and there is one
      m.xConnect = connect;
      m.xBestIndex = best_index;
      m.xDisconnect = disconnect;
      m.xOpen = open;
      m.xClose = close;
      m.xFilter = filter;
      m.xNext = next;
      m.xEof = eof;
      m.xColumn = column;
      m.xRowid = rowid;
      return m;
    }();
    return &methods;
  }
};

namespace {

void require_ok(int code) {
  if (code != SQLITE_OK) throw Error(ErrorKind::limit, {.what = std::string("SQLite: ") + sqlite3_errstr(code)});
}

}  // namespace

Engine::Engine(SessionState& session, std::function<void()> poll) : session_(session), poll_(std::move(poll)) {
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_MEMORY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
  require_ok(sqlite3_open_v2(":memory:", &connection_, flags, file_system));
  require_ok(sqlite3_exec(connection_, "PRAGMA temp_store=FILE", nullptr, nullptr, nullptr));
  for (const int setting : {SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, SQLITE_DBCONFIG_DQS_DML, SQLITE_DBCONFIG_DQS_DDL,
                            SQLITE_DBCONFIG_TRUSTED_SCHEMA, SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER}) {
    require_ok(sqlite3_db_config(connection_, setting, 0, nullptr));
  }
  require_ok(sqlite3_db_config(connection_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr));
  sqlite3_extended_result_codes(connection_, 0);
  sqlite3_limit(connection_, SQLITE_LIMIT_EXPR_DEPTH, expression_depth_max);
  sqlite3_limit(connection_, SQLITE_LIMIT_COMPOUND_SELECT, compound_selects_max);
  sqlite3_limit(connection_, SQLITE_LIMIT_COLUMN, columns_max);
  sqlite3_limit(connection_, SQLITE_LIMIT_FUNCTION_ARG, arguments_max);
  sqlite3_limit(connection_, SQLITE_LIMIT_LIKE_PATTERN_LENGTH, pattern_bytes_max);
  sqlite3_limit(connection_, SQLITE_LIMIT_VDBE_OP, program_steps_max);
  sqlite3_limit(connection_, SQLITE_LIMIT_ATTACHED, 0);
  sqlite3_limit(connection_, SQLITE_LIMIT_TRIGGER_DEPTH, 1);
  sqlite3_limit(connection_, SQLITE_LIMIT_WORKER_THREADS, 0);
  require_ok(sqlite3_set_authorizer(connection_, EngineCallbacks::authorize, this));
  sqlite3_progress_handler(connection_, steps_between_polls, EngineCallbacks::progress, this);
}

Engine::~Engine() { sqlite3_close_v2(connection_); }

void Engine::set_limits(const QueryLimits& limits) {
  const auto bounded = [](std::uint64_t bytes) {
    return static_cast<int>(std::min<std::uint64_t>(bytes, 1'000'000'000));
  };
  sqlite3_limit(connection_, SQLITE_LIMIT_LENGTH, bounded(limits.value_bytes));
  sqlite3_limit(connection_, SQLITE_LIMIT_SQL_LENGTH, bounded(limits.statement_bytes));
}

void Engine::add(const Table& table) {
  using Module = EngineCallbacks::Module;
  require_ok(sqlite3_create_module_v2(connection_, std::string(table.name()).c_str(), EngineCallbacks::module_methods(),
                                      new Module(*this, table), EngineCallbacks::destroy<Module>));
}

void Engine::add(const ScalarFunction& function) {
  using Scalar = EngineCallbacks::Scalar;
  const bool is_open = function.most_arguments < 0;
  for (int count = is_open ? -1 : function.least_arguments; count <= (is_open ? -1 : function.most_arguments);
       ++count) {
    require_ok(sqlite3_create_function_v2(connection_, std::string(function.name).c_str(), count, SQLITE_UTF8,
                                          new Scalar{this, function}, EngineCallbacks::call_scalar, nullptr, nullptr,
                                          EngineCallbacks::destroy<Scalar>));
  }
}

void Engine::add(const AggregateFunction& function) {
  using Grouping = EngineCallbacks::Grouping;
  require_ok(sqlite3_create_function_v2(
      connection_, std::string(function.name).c_str(), function.arguments, SQLITE_UTF8, new Grouping{this, function},
      nullptr, EngineCallbacks::aggregate_step, EngineCallbacks::aggregate_final, EngineCallbacks::destroy<Grouping>));
}

void Engine::add(const std::string& name, int argument_count,
                 std::function<SqlResult(std::span<const SqlValue>)> call) {
  using Custom = EngineCallbacks::Custom;
  const int code = sqlite3_create_function_v2(connection_, name.c_str(), argument_count, SQLITE_UTF8,
                                              new Custom{this, std::move(call)}, EngineCallbacks::call_custom, nullptr,
                                              nullptr, EngineCallbacks::destroy<Custom>);
  if (code == SQLITE_OK) return;
  throw Error(ErrorKind::invalid_argument, {.what = "no function can be called '" + name + "'",
                                            .got = std::to_string(argument_count) + " arguments",
                                            .wanted = "a name of 1 to 255 bytes, and -1 to 64 arguments"});
}

std::unique_ptr<Statement> Engine::prepare(std::string_view sql) {
  pending_ = nullptr;
  refused_.clear();
  return std::unique_ptr<Statement>(new Statement(*this, sql));
}

void Engine::fail(int code, std::string_view sql) {
  if (pending_) std::rethrow_exception(std::exchange(pending_, nullptr));
  if (code == SQLITE_NOMEM) throw Error(ErrorKind::limit, {.what = "out of memory", .file = std::string(sql_source)});
  const int offset = sqlite3_error_offset(connection_);
  throw_statement_error({.message = sqlite3_errmsg(connection_),
                         .refused = std::exchange(refused_, {}),
                         .is_too_big = code == SQLITE_TOOBIG,
                         .offset = offset < 0 ? std::nullopt : std::optional<std::size_t>(offset)},
                        sql);
}

bool Engine::is_complete(std::string_view sql) { return sqlite3_complete(std::string(sql).c_str()) == 1; }

std::uint64_t Engine::memory_bytes() noexcept { return static_cast<std::uint64_t>(sqlite3_memory_used()); }

bool Engine::matches_glob(const std::string& pattern, const std::string& text) noexcept {
  return sqlite3_strglob(pattern.c_str(), text.c_str()) == 0;
}

bool Engine::matches_like(const std::string& pattern, const std::string& text) noexcept {
  return sqlite3_strlike(pattern.c_str(), text.c_str(), 0) == 0;
}

Statement::Statement(Engine& engine, std::string_view sql) : engine_(engine), sql_(sql) {
  if (sql.find('\0') != std::string_view::npos) {
    throw Error(ErrorKind::invalid_argument,
                {.what = "a zero byte in a statement", .file = std::string(sql_source), .offset = sql.find('\0')});
  }
  if (sql.size() > static_cast<std::size_t>(sqlite3_limit(engine.connection_, SQLITE_LIMIT_SQL_LENGTH, -1))) {
    throw Error(ErrorKind::limit, {.what = "the statement is too long",
                                   .file = std::string(sql_source),
                                   .got = std::to_string(sql.size()) + " bytes"});
  }
  const char* rest = nullptr;
  const int code =
      sqlite3_prepare_v3(engine.connection_, sql_.c_str(), static_cast<int>(sql_.size() + 1), 0, &handle_, &rest);
  if (code != SQLITE_OK) engine.fail(code, sql_);
  rest_bytes_ = rest == nullptr ? 0 : sql_.size() - static_cast<std::size_t>(rest - sql_.c_str());
}

Statement::~Statement() { sqlite3_finalize(handle_); }

std::size_t Statement::column_count() const noexcept { return static_cast<std::size_t>(sqlite3_column_count(handle_)); }

std::string Statement::column_name(std::size_t column) const {
  const char* name = sqlite3_column_name(handle_, static_cast<int>(column));
  if (name == nullptr) throw std::bad_alloc();
  return name;
}

std::string Statement::column_type(std::size_t column) const {
  const char* type = sqlite3_column_decltype(handle_, static_cast<int>(column));
  std::string declared = type == nullptr ? "" : type;
  if (declared.ends_with(text_suffix)) declared.resize(declared.size() - text_suffix.size());
  return declared;
}

bool Statement::step() {
  if (handle_ == nullptr) return false;
  const int code = sqlite3_step(handle_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  engine_.fail(code, sql_);
}

SqlValue Statement::value(std::size_t column) const {
  return value_of(sqlite3_column_value(handle_, static_cast<int>(column)));
}

}  // namespace tenon
