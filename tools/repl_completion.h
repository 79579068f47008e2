// What may be typed next in the REPL: dot commands, SQL, tables, functions, columns, revs, tensors, files.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/store.h"
#include "tools/line_editor.h"

namespace tenon::tools {

class ReplCompletion {
 public:
  explicit ReplCompletion(std::optional<Store> store);

  // Tensors are those of this rev where none is named.
  void use(const std::string& rev) { rev_ = rev; }
  // `before`: the lines of the statement so far; `line`: the one that is typed, up to the cursor.
  Completion complete(std::string_view before, std::string_view line);

 private:
  Completion in_command(std::string_view line);
  Completion in_sql(std::string_view before, std::string_view line);
  struct Quoted {
    std::string callee{};   // whose argument it is; empty for a value that is compared
    bool is_first = false;  // argument
    std::string rev{};      // whose tensors it may name
  };
  Completion in_quotes(std::string_view line, std::size_t begin, const Quoted& quoted);
  std::vector<std::string> revs() const;
  std::vector<std::string> tensors(const std::string& rev);
  // "REV", or "REV:NAME" from the colon on.
  Completion target(std::string_view line, std::size_t begin);

  std::optional<Store> store_;
  std::string rev_ = "main";
  std::map<std::string, std::vector<std::string>> words_;  // of SQL, by their lower-case form
  std::map<SnapshotId, std::vector<std::string>> names_;   // of the tensors of snapshots that were asked for
};

}  // namespace tenon::tools
