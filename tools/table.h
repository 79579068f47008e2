// Rows of text in aligned columns, fitted to the line by eliding the column that can best bear it.
#pragma once

#include <string>
#include <vector>

#include "tools/output.h"

namespace tenon::tools {

enum class Align : std::uint8_t { left, right };

struct Column {
  std::string title;
  Align align = Align::left;
  bool is_elastic = false;  // may be elided when the line is too narrow
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // REQUIRES: one cell per column. Control characters are the caller's to escape.
  void add(std::vector<std::string> cells);
  void print(Output& output) const;

 private:
  std::vector<std::size_t> widths(std::size_t line_columns) const;

  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace tenon::tools
