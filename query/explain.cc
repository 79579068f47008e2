#include "query/explain.h"

#include <array>
#include <cctype>
#include <map>

namespace tenon {

namespace {

std::string_view skip_blanks(std::string_view text) {
  for (;;) {
    while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0) text.remove_prefix(1);
    if (text.starts_with("--")) {
      text.remove_prefix(std::min(text.size(), text.find('\n')));
    } else if (text.starts_with("/*")) {
      const std::size_t end = text.find("*/");
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 2);
    } else {
      return text;
    }
  }
}

// The rest after `word`, in whatever case.
std::optional<std::string_view> after_word(std::string_view text, std::string_view word) {
  text = skip_blanks(text);
  if (text.size() < word.size()) return std::nullopt;
  for (std::size_t i = 0; i < word.size(); ++i) {
    if (std::toupper(static_cast<unsigned char>(text[i])) != word[i]) return std::nullopt;
  }
  text.remove_prefix(word.size());
  const bool is_whole =
      text.empty() || (std::isalnum(static_cast<unsigned char>(text.front())) == 0 && text.front() != '_');
  return is_whole ? std::optional(text) : std::nullopt;
}

struct Phrase {
  std::string_view engine;
  std::string_view words;
};
// The longer ones first.
constexpr std::array<Phrase, 14> phrases = {{{"USE TEMP B-TREE FOR ", "sort for "},
                                             {"CORRELATED SCALAR SUBQUERY", "subquery for each row,"},
                                             {"CORRELATED LIST SUBQUERY", "list for each row,"},
                                             {"SCALAR SUBQUERY", "subquery"},
                                             {"LIST SUBQUERY", "list"},
                                             {"MULTI-INDEX OR", "one look for each side of OR"},
                                             {"INDEX ", "side "},
                                             {"CO-ROUTINE ", "rows of "},
                                             {"MATERIALIZE ", "all rows of "},
                                             {"COMPOUND QUERY", "several queries"},
                                             {"LEFT-MOST SUBQUERY", "the first"},
                                             {"RECURSIVE STEP", "again and again"},
                                             {"SCAN ", "scan "},
                                             {"SEARCH ", "search "}}};

std::string in_words(const std::string& detail) {
  for (const Phrase& phrase : phrases) {
    if (detail.starts_with(phrase.engine)) return std::string(phrase.words) + detail.substr(phrase.engine.size());
  }
  return detail;
}

// "SCAN tensors VIRTUAL TABLE INDEX 0:xyz rev=?, name=?" in words: what the engine wrote for itself goes.
std::string readable(const std::string& detail) {
  constexpr std::string_view marker = " VIRTUAL TABLE INDEX ";
  const std::size_t at = detail.find(marker);
  if (at == std::string::npos) return in_words(detail);
  const std::size_t space = detail.find(' ', detail.find(':', at));
  const std::string conditions = space == std::string::npos ? "" : detail.substr(space + 1);
  const std::string table = detail.substr(5, at - 5);
  return "scan " + table + (conditions.empty() ? ": all rows" : ": " + conditions);
}

}  // namespace

std::optional<std::string_view> explained_statement(std::string_view sql) {
  const auto rest = after_word(sql, "EXPLAIN");
  if (!rest || after_word(*rest, "QUERY")) return std::nullopt;
  return skip_blanks(*rest);
}

std::string describe_plan(const std::vector<PlanStep>& steps) {
  std::map<std::int64_t, std::size_t> depth;
  std::string text;
  for (const PlanStep& step : steps) {
    const auto parent = depth.find(step.parent);
    const std::size_t level = parent == depth.end() ? 0 : parent->second + 1;
    depth[step.id] = level;
    text += std::string(2 * level, ' ') + readable(step.detail) + "\n";
  }
  return text;
}

}  // namespace tenon
