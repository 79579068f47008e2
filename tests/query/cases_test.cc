// Runs the statements in cases/*.test, and holds docs/sql.md and the cases to what there is.
//
//   # a comment
//   SELECT ...             the statement, in one or more lines; {files} is the folder with the files
//   ----                   or "---- error KIND", or "---- sorted" where the order of rows does not matter
//   a|b                    the rows, or words of the message
//
// A blank line ends a case. With TENON_UPDATE_CASES=1 the files are written anew with what came: read what changed.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "query_fixture.h"

namespace tenon::testing {
namespace {

const std::filesystem::path source_folder = TENON_SOURCE_FOLDER;
const std::filesystem::path cases_folder = source_folder / "tests/query/cases";

struct Case {
  std::vector<std::string> comments;
  std::string sql;
  std::string mark;  // the line that begins with ----
  std::vector<std::string> expected;
};

std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<Case> read_cases(const std::filesystem::path& path) {
  std::vector<Case> cases;
  std::istringstream in(read_text(path));
  Case one;
  const auto finish = [&] {
    if (!one.mark.empty() || !one.comments.empty()) cases.push_back(one);
    one = {};
  };
  for (std::string line; std::getline(in, line);) {
    if (line.empty()) {
      finish();
    } else if (!one.mark.empty()) {
      one.expected.push_back(line);
    } else if (line.starts_with("----")) {
      one.mark = line;
    } else if (line.starts_with("#") && one.sql.empty()) {
      one.comments.push_back(line);
    } else {
      one.sql += (one.sql.empty() ? "" : "\n") + line;
    }
  }
  finish();
  return cases;
}

std::vector<std::filesystem::path> case_files() {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(cases_folder)) {
    if (entry.path().extension() == ".test") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

// What comes: rows, or "error KIND" and the message.
struct Outcome {
  std::string error;
  std::vector<std::string> lines;
};

Outcome outcome_of(Session& session, std::string sql) {
  const std::string folder = World::get().files().string();
  replace_all(sql, "{files}", folder);
  Outcome outcome;
  try {
    outcome.lines = rows_of(session, sql);
  } catch (const Error& error) {
    outcome.error = error_kind_name(error.kind());
    outcome.lines = {error.what()};
  }
  for (std::string& line : outcome.lines) replace_all(line, folder, "{files}");
  return outcome;
}

class Cases : public ::testing::TestWithParam<std::string> {};

TEST_P(Cases, GiveWhatIsWritten) {
  const auto path = cases_folder / GetParam();
  std::vector<Case> cases = read_cases(path);
  Session session = World::get().session();
  const bool is_updating = std::getenv("TENON_UPDATE_CASES") != nullptr;
  std::ostringstream out;
  for (Case& one : cases) {
    for (const std::string& comment : one.comments) out << comment << '\n';
    if (one.mark.empty()) {
      out << '\n';
      continue;
    }
    Outcome outcome = outcome_of(session, one.sql);
    if (one.mark == "---- sorted") {
      std::sort(outcome.lines.begin(), outcome.lines.end());
      std::sort(one.expected.begin(), one.expected.end());
    }
    if (is_updating) {
      if (!outcome.error.empty() && one.expected.size() == 1 &&
          outcome.lines[0].find(one.expected[0]) != std::string::npos)
        outcome.lines = one.expected;  // words of the message that someone chose
      const std::string mark =
          outcome.error.empty() ? (one.mark == "---- sorted" ? one.mark : "----") : "---- error " + outcome.error;
      out << one.sql << '\n' << mark << '\n';
      for (const std::string& line : outcome.lines) out << line << '\n';
      out << '\n';
    } else if (one.mark.starts_with("---- error ")) {
      EXPECT_EQ("---- error " + outcome.error, one.mark) << one.sql;
      ASSERT_EQ(one.expected.size(), 1u) << one.sql << "\nneeds one line of the message";
      EXPECT_THAT(outcome.lines, ::testing::ElementsAre(::testing::HasSubstr(one.expected[0]))) << one.sql;
    } else {
      EXPECT_EQ(outcome.error, "") << one.sql << '\n' << (outcome.lines.empty() ? "" : outcome.lines[0]);
      if (outcome.error.empty()) {
        EXPECT_EQ(outcome.lines, one.expected) << one.sql;
      }
    }
  }
  if (is_updating) {
    std::string text = out.str();
    while (text.ends_with("\n\n")) text.pop_back();
    std::ofstream(path) << text;
  }
}

std::vector<std::string> case_names() {
  std::vector<std::string> names;
  for (const auto& path : case_files()) names.push_back(path.filename().string());
  return names;
}

INSTANTIATE_TEST_SUITE_P(Sql, Cases, ::testing::ValuesIn(case_names()), [](const auto& one) {
  std::string name = one.param.substr(0, one.param.find('.'));
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

std::string all_statements() {
  std::string text;
  for (const auto& path : case_files()) {
    for (const Case& one : read_cases(path)) text += one.sql + "\n";
  }
  return text;
}

bool has_word(const std::string& text, const std::string& word) {
  const auto is_part = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; };
  for (std::size_t at = 0; (at = text.find(word, at)) != std::string::npos; ++at) {
    const bool begins = at == 0 || !is_part(text[at - 1]);
    const bool ends = at + word.size() == text.size() || !is_part(text[at + word.size()]);
    if (begins && ends) return true;
  }
  return false;
}

TEST(CasesCover, AtLeastAHundredAndFiftyStatements) {
  std::size_t count = 0;
  for (const auto& path : case_files()) {
    for (const Case& one : read_cases(path)) count += one.mark.empty() ? 0 : 1;
  }
  EXPECT_GE(count, 150u);
}

// A table's statements are those that name it; each of its columns must stand in one.
TEST(CasesCover, EveryTableAndEachOfItsColumns) {
  std::map<std::string, std::string> statements;
  for (const auto& path : case_files()) {
    for (const Case& one : read_cases(path)) {
      for (const SqlTableInfo& table : Session::tables()) {
        if (has_word(one.sql, table.name)) statements[table.name] += one.sql + "\n";
      }
    }
  }
  for (const SqlTableInfo& table : Session::tables()) {
    ASSERT_TRUE(statements.contains(table.name)) << table.name;
    const bool is_called =
        table.arguments.empty() || statements[table.name].find(table.name + "(") != std::string::npos;
    EXPECT_TRUE(is_called) << table.name;
    for (const SqlColumnInfo& column : table.columns) {
      const bool is_argument = has_word(table.arguments, column.name);
      if (is_argument) continue;
      EXPECT_TRUE(has_word(statements[table.name], column.name)) << table.name << "." << column.name;
    }
  }
}

TEST(CasesCover, EveryFunction) {
  const std::string statements = all_statements();
  for (const SqlFunctionInfo& function : Session::functions()) {
    const std::string called = function.name == "regexp" ? "REGEXP" : function.name + "(";
    EXPECT_NE(statements.find(called), std::string::npos) << function.name;
  }
}

// The part of docs/sql.md below a heading, up to the next one.
std::string section_of(const std::string& text, const std::string& heading) {
  const std::size_t begin = text.find("### " + heading + "\n");
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find("\n##", begin + 4) - begin);
}

TEST(SqlDocument, HasEveryTableAndColumnWithTheWordsThatHelpShows) {
  const std::string text = read_text(source_folder / "docs/sql.md");
  for (const SqlTableInfo& table : Session::tables()) {
    const std::string heading = table.name + (table.arguments.empty() ? "" : "(" + table.arguments + ")");
    const std::string section = section_of(text, heading);
    ASSERT_NE(section, "") << heading;
    EXPECT_NE(section.find(table.about), std::string::npos) << heading;
    for (const SqlColumnInfo& column : table.columns) {
      EXPECT_NE(section.find("| `" + column.name + "` |"), std::string::npos) << heading << ": " << column.name;
      EXPECT_NE(section.find(column.about), std::string::npos)
          << heading << ": " << column.name << ": " << column.about;
    }
  }
}

TEST(SqlDocument, HasEveryFunction) {
  const std::string text = read_text(source_folder / "docs/sql.md");
  for (const SqlFunctionInfo& function : Session::functions()) {
    EXPECT_NE(text.find("| `" + function.usage + "` | " + function.about), std::string::npos) << function.usage;
  }
}

}  // namespace
}  // namespace tenon::testing
