// The public handles over SessionState.
#include "tenon/query.h"

#include <algorithm>
#include <cassert>
#include <cctype>

#include "query/catalogue.h"
#include "query/explain.h"
#include "query/session_state.h"

namespace tenon {

// Ends the statement whatever happens: when its last row was given, when it fails, when the Rows go.
class RowsState {
 public:
  RowsState(std::shared_ptr<SessionState> session, std::string_view sql) : session_(std::move(session)) {
    session_->begin_statement();
    try {
      statement_ = session_->engine().prepare(sql);
      rest = sql.substr(sql.size() - std::min(sql.size(), statement_->rest_bytes()));
      for (std::size_t i = 0; i < statement_->column_count(); ++i) {
        columns.push_back({statement_->column_name(i), statement_->column_type(i)});
      }
    } catch (...) {
      end();
      throw;
    }
  }
  // Rows that are known already: those of EXPLAIN.
  RowsState(std::string column, std::vector<std::string> lines, std::string_view what_follows)
      : rest(what_follows), lines_(std::move(lines)) {
    columns.push_back({std::move(column), "TEXT"});
  }
  RowsState(const RowsState&) = delete;
  RowsState& operator=(const RowsState&) = delete;
  ~RowsState() { end(); }

  bool next() {
    if (!session_) return ++line_ <= lines_.size();
    if (!statement_) return false;
    try {
      if (statement_->step()) return true;
    } catch (...) {
      end();
      throw;
    }
    end();
    return false;
  }
  SqlValue value(std::size_t column) const {
    if (!session_) return std::string_view(lines_[line_ - 1]);
    assert(statement_);
    return statement_->value(column);
  }

  std::vector<SqlColumn> columns;
  std::string_view rest;

 private:
  void end() noexcept {
    if (!session_ || is_ended_) return;
    is_ended_ = true;
    statement_.reset();
    session_->end_statement();
  }

  std::shared_ptr<SessionState> session_;  // none: `lines_` are the rows
  std::unique_ptr<Statement> statement_;
  bool is_ended_ = false;
  std::vector<std::string> lines_;
  std::size_t line_ = 0;
};

Rows::Rows(std::unique_ptr<RowsState> state) noexcept : state_(std::move(state)) {}
Rows::Rows(Rows&&) noexcept = default;
Rows& Rows::operator=(Rows&&) noexcept = default;
Rows::~Rows() = default;
const std::vector<SqlColumn>& Rows::columns() const noexcept { return state_->columns; }
bool Rows::next() { return state_->next(); }
SqlValue Rows::operator[](std::size_t column) const { return state_->value(column); }
std::string_view Rows::rest() const noexcept { return state_->rest; }

Session::Session(std::optional<Store> store, const QueryLimits& limits)
    : state_(std::make_shared<SessionState>(std::move(store), limits)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

namespace {

// Where a part of a statement is wrong, the whole is wrong so many bytes later.
template <typename Action>
auto shifted(std::size_t bytes, const Action& action) {
  try {
    return action();
  } catch (const Error& error) {
    Facts facts = error.facts();
    if (facts.file == sql_source && facts.offset) *facts.offset += bytes;
    throw Error(error.kind(), std::move(facts));
  }
}

}  // namespace

Rows Session::query(std::string_view sql) {
  const auto explained = explained_statement(sql);
  if (!explained) return Rows(std::make_unique<RowsState>(state_, sql));
  const std::string plan = shifted(sql.size() - explained->size(), [&] { return explain(*explained); });
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < plan.size();) {
    const std::size_t end = plan.find('\n', begin);
    lines.push_back(plan.substr(begin, end - begin));
    begin = end + 1;
  }
  RowsState whole(state_, *explained);
  return Rows(std::make_unique<RowsState>("plan", std::move(lines), whole.rest));
}

std::string Session::explain(std::string_view sql) {
  const std::string asked = "EXPLAIN QUERY PLAN " + std::string(sql);
  std::vector<PlanStep> steps;
  shifted(sql.size() - asked.size(), [&] {  // modulo 2^64: back by as much
    RowsState rows(state_, asked);
    while (rows.next()) {
      steps.push_back({std::get<std::int64_t>(rows.value(0)), std::get<std::int64_t>(rows.value(1)),
                       std::string(std::get<std::string_view>(rows.value(3)))});
    }
  });
  return describe_plan(steps);
}

bool Session::is_complete(std::string_view sql) { return Engine::is_complete(sql); }
void Session::interrupt() noexcept { state_->stop(); }
void Session::set_progress(std::function<void()> progress) { state_->set_progress(std::move(progress)); }
void Session::set_limits(const QueryLimits& limits) { state_->set_limits(limits); }
const QueryLimits& Session::limits() const noexcept { return state_->limits(); }

namespace {

// Tables answer GLOB and LIKE by themselves, and documents say what our own functions do.
bool is_taken(std::string_view name) {
  const auto is_it = [&](std::string_view other) {
    const auto lower = [](char c) { return std::tolower(static_cast<unsigned char>(c)); };
    return std::ranges::equal(name, other, {}, lower, lower);
  };
  return is_it("like") || is_it("glob") ||
         std::ranges::any_of(Session::functions(), [&](const SqlFunctionInfo& one) { return is_it(one.name); });
}

}  // namespace

void Session::register_function(const std::string& name, int argument_count,
                                std::function<SqlResult(std::span<const SqlValue>)> call) {
  if (is_taken(name)) {
    throw Error(ErrorKind::invalid_argument,
                {.what = "'" + name + "' has a meaning already", .hint = "take another name"});
  }
  state_->engine().add(name, argument_count, std::move(call));
}

namespace {

std::string arguments_of(const Table& table) {
  std::string text;
  std::size_t brackets = 0;
  for (const Column& column : table.columns()) {
    if (!is_argument(column.role)) continue;
    const bool is_optional = column.role == ColumnRole::argument;
    if (is_optional) ++brackets;
    const std::string_view lead = is_optional ? (text.empty() ? "[" : "[, ") : (text.empty() ? "" : ", ");
    text.append(lead).append(column.name);
  }
  return text + std::string(brackets, ']');
}

}  // namespace

const std::vector<SqlTableInfo>& Session::tables() {
  static const std::vector<SqlTableInfo> tables = [] {
    std::vector<SqlTableInfo> all;
    for (const Table* table : all_tables()) {
      SqlTableInfo& info = all.emplace_back();
      info.name = table->name();
      info.arguments = arguments_of(*table);
      info.about = table->about();
      for (const Column& column : table->columns()) {
        info.columns.push_back({std::string(column.name), std::string(column.type), std::string(column.about)});
      }
    }
    return all;
  }();
  return tables;
}

const std::vector<SqlFunctionInfo>& Session::functions() {
  static const std::vector<SqlFunctionInfo> functions = [] {
    std::vector<SqlFunctionInfo> all;
    const auto add = [&](const auto& function, bool is_aggregate) {
      all.push_back(
          {std::string(function.name), std::string(function.usage), std::string(function.about), is_aggregate});
    };
    for (const ScalarFunction& function : all_scalar_functions()) add(function, false);
    for (const AggregateFunction& function : all_aggregate_functions()) add(function, true);
    return all;
  }();
  return functions;
}

}  // namespace tenon
