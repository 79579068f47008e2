#include "tools/repl_completion.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "tenon/query.h"
#include "tenon/rev_path.h"
#include "tools/repl_commands.h"
#include "tools/sql_output.h"
#include "tools/target.h"

namespace tenon::tools {

namespace {

constexpr std::array keywords = {
    "ALL",   "AND",   "AS",           "ASC",    "AVG",       "BETWEEN",   "BY",        "CASE",    "CAST",   "COUNT",
    "CROSS", "DESC",  "DISTINCT",     "ELSE",   "END",       "EXCEPT",    "EXISTS",    "EXPLAIN", "FALSE",  "FILTER",
    "FROM",  "GLOB",  "GROUP",        "HAVING", "IN",        "INNER",     "INTERSECT", "IS",      "JOIN",   "LEFT",
    "LIKE",  "LIMIT", "MATERIALIZED", "MAX",    "MIN",       "NOT",       "NULL",      "NULLS",   "OFFSET", "ON",
    "OR",    "ORDER", "OUTER",        "OVER",   "PARTITION", "RECURSIVE", "REGEXP",    "ROUND",   "SELECT", "SUM",
    "THEN",  "TRUE",  "UNION",        "USING",  "VALUES",    "WHEN",      "WHERE",     "WINDOW",  "WITH"};

std::string lower(std::string_view text) {
  std::string lowered(text);
  for (char& c : lowered) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lowered;
}

bool begins_with(std::string_view text, std::string_view prefix) { return text.substr(0, prefix.size()) == prefix; }

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

std::size_t word_begin(std::string_view line) {
  std::size_t begin = line.size();
  while (begin > 0 && is_word(line[begin - 1])) --begin;
  return begin;
}

Completion among(const std::vector<std::string>& all, std::string_view line, std::size_t begin) {
  Completion completion{.begin = begin};
  const std::string_view typed = line.substr(begin);
  std::ranges::copy_if(all, std::back_inserter(completion.candidates),
                       [&](const std::string& one) { return begins_with(one, typed); });
  return completion;
}

// Where the text of an open '...' begins in `text`, outside of comments and "..."; nullopt if none is open.
std::optional<std::size_t> open_quote(std::string_view text) {
  char quote = 0;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (quote != 0) {
      if (text[i] != quote) continue;
      const bool is_doubled = text.substr(i + 1, 1) == text.substr(i, 1);
      is_doubled ? void(++i) : void(quote = 0);
    } else if (text[i] == '\'' || text[i] == '"') {
      quote = text[i];
      begin = i + 1;
    } else if (text.substr(i, 2) == "--") {
      i = std::min(text.find('\n', i), text.size());
    }
  }
  return quote == '\'' ? std::optional(begin) : std::nullopt;
}

// As it stands between quotes of SQL.
std::string doubled_quotes(std::string_view text) {
  std::string quoted;
  for (const char c : text) quoted.append(c == '\'' ? 2 : 1, c);
  return quoted;
}

bool takes_rev(std::string_view name) {
  return std::ranges::any_of(Session::tables(), [&](const SqlTableInfo& table) {
    return table.name == name && !table.arguments.empty() && !begins_with(name, "read_");
  });
}

// The rev that the last table of `text` is asked for, as 'odd' in "FROM tensors('odd') WHERE name = '".
std::optional<std::string> named_rev(std::string_view text) {
  for (std::size_t at = text.size(); (at = text.substr(0, at).rfind("('")) != std::string_view::npos;) {
    const std::string_view head = text.substr(0, at);
    const std::size_t begin = at + 2, end = text.find('\'', begin);
    if (end == std::string_view::npos || !takes_rev(lower(head.substr(word_begin(head))))) continue;
    return split_rev(text.substr(begin, end - begin)).rev;
  }
  return std::nullopt;
}

// Whether a table has to come where `text` ends.
bool is_after_from(std::string_view text) {
  const std::size_t last = text.find_last_not_of(" \t\n");
  if (last == std::string_view::npos || last + 1 == text.size()) return false;
  text = text.substr(0, last + 1);
  const std::string word = lower(text.substr(word_begin(text)));
  return word == "from" || word == "join";
}

// The function whose argument begins at the end of `text` (before its quote), and whether it is the first one.
struct Call {
  std::string callee;
  bool is_first = false;
};
Call call_at(std::string_view text) {
  int depth = 0;
  bool has_comma = false;
  for (std::size_t i = text.size(); i-- > 0;) {
    if (text[i] == ')') ++depth;
    if (text[i] == ',' && depth == 0) has_comma = true;
    if (text[i] != '(' || depth-- > 0) continue;
    const std::string_view head = text.substr(0, i);
    return {lower(head.substr(word_begin(head))), !has_comma};
  }
  return {};
}

std::vector<std::string> entries_of(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  std::error_code failed;  // a folder that cannot be read holds nothing to offer
  for (std::filesystem::directory_iterator entry(folder.empty() ? "." : folder, failed), end; !failed && entry != end;
       entry.increment(failed)) {
    std::error_code unknown;
    names.push_back(entry->path().filename().string() + (entry->is_directory(unknown) ? "/" : ""));
  }
  std::ranges::sort(names);
  return names;
}

std::vector<std::string> table_names() {
  std::vector<std::string> names;
  for (const SqlTableInfo& table : Session::tables()) names.push_back(table.name);
  return names;
}

Completion files(std::string_view line, std::size_t begin) {
  const std::string_view typed = line.substr(begin);
  const std::size_t slash = typed.rfind('/');
  const std::size_t folder_size = slash == std::string_view::npos ? 0 : slash + 1;
  return among(entries_of(typed.substr(0, folder_size)), line, begin + folder_size);
}

}  // namespace

ReplCompletion::ReplCompletion(std::optional<Store> store) : store_(std::move(store)) {
  const auto add = [this](const std::string& word) {
    auto& forms = words_[lower(word)];
    if (std::ranges::find(forms, word) == forms.end()) forms.push_back(word);
  };
  for (const SqlTableInfo& table : Session::tables()) {
    add(table.name);
    for (const SqlColumnInfo& column : table.columns) add(column.name);
  }
  for (const SqlFunctionInfo& function : Session::functions()) add(function.name);
  for (const char* const keyword : keywords) {
    if (!words_.contains(lower(keyword))) add(keyword);
  }
}

Completion ReplCompletion::complete(std::string_view before, std::string_view line) {
  try {
    const bool is_command =
        before.empty() && begins_with(line.substr(std::min(line.find_first_not_of(' '), line.size())), ".");
    return is_command ? in_command(line) : in_sql(before, line);
  } catch (const Error&) {
    return {};  // a rev that is no rev, say: there is nothing to offer, and the statement will tell
  }
}

Completion ReplCompletion::in_command(std::string_view line) {
  const std::size_t begin = line.find_first_not_of(' ');
  const std::size_t space = line.find(' ', begin);
  if (space == std::string_view::npos) return among(command_names(), line, begin);
  const std::string_view command = line.substr(begin, space - begin);
  const std::size_t word = line.rfind(' ') + 1;
  switch (command_argument(command)) {
    case CommandArgument::none:
      return {};
    case CommandArgument::rev:
      return among(revs(), line, word);
    case CommandArgument::target:
      return target(line, line.find_first_not_of(' ', space));
    case CommandArgument::file:
      return files(line, word);
    case CommandArgument::mode:
      return among({"box", "csv", "json", "jsonl", "line", "list", "markdown"}, line, word);
    case CommandArgument::on_off:
      return among({"off", "on"}, line, word);
    case CommandArgument::topic:
      return among(help_topics(), line, word);
    case CommandArgument::sql:
      break;
  }
  return in_sql("", line);
}

Completion ReplCompletion::in_sql(std::string_view before, std::string_view line) {
  const std::string all = std::string(before) + std::string(line);
  if (const auto quote = open_quote(all)) {
    if (*quote < before.size()) return {};
    const Call call = call_at(std::string_view(all).substr(0, *quote - 1));
    const std::string rev = named_rev(std::string_view(all).substr(0, *quote - 1)).value_or(rev_);
    return in_quotes(line, *quote - before.size(), {.callee = call.callee, .is_first = call.is_first, .rev = rev});
  }
  const std::size_t begin = word_begin(line);
  const std::string typed = lower(line.substr(begin));
  if (is_after_from(std::string_view(all).substr(0, before.size() + begin))) return among(table_names(), line, begin);
  if (typed.empty()) return {};
  Completion completion{.begin = begin};
  for (auto word = words_.lower_bound(typed); word != words_.end() && begins_with(word->first, typed); ++word) {
    completion.candidates.insert(completion.candidates.end(), word->second.begin(), word->second.end());
  }
  return completion;
}

Completion ReplCompletion::in_quotes(std::string_view line, std::size_t begin, const Quoted& quoted) {
  if (begins_with(quoted.callee, "read_")) return files(line, begin);
  if (takes_rev(quoted.callee) && (quoted.is_first || quoted.callee == "diff")) return among(revs(), line, begin);
  std::vector<std::string> names = tensors(quoted.rev);
  std::ranges::transform(names, names.begin(), doubled_quotes);
  Completion completion = among(names, line, begin);
  if (completion.candidates.empty()) return target(line, begin);
  return completion;
}

Completion ReplCompletion::target(std::string_view line, std::size_t begin) {
  if (begin == std::string_view::npos) begin = line.size();
  const std::string_view typed = line.substr(begin);
  if (typed.find(':') == std::string_view::npos) return among(revs(), line, begin);
  const RevPath parts = split_rev(typed);
  if (!parts.has_path) return {};
  return among(tensors(parts.rev), line, line.size() - parts.path.size());
}

std::vector<std::string> ReplCompletion::revs() const {
  std::vector<std::string> names;
  if (!store_) return names;
  for (const RefInfo& ref : store_->refs()) names.push_back(ref.name);
  return names;
}

std::vector<std::string> ReplCompletion::tensors(const std::string& rev) {
  if (!store_) return {};
  const SnapshotId id = store_->resolve(rev);
  if (const auto known = names_.find(id); known != names_.end()) return known->second;
  const Snapshot snapshot = store_->snapshot(rev);
  std::vector<std::string> names;
  for (const std::uint32_t row : snapshot.select("")) names.emplace_back(snapshot.row(row).name);
  return names_[id] = std::move(names);
}

}  // namespace tenon::tools
