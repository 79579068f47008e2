// One line of text from a person at a terminal: editing keys, history, completion. libedit is included by
// line_editor.cc alone. Ctrl-C gives the line up, and is no signal while a line is read.
//
// Threads: one. Errors: Error(io) where the terminal cannot be used.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tenon::tools {

// What may stand where the cursor is.
struct Completion {
  std::size_t begin = 0;  // of the part of the line, up to the cursor, that a candidate replaces
  std::vector<std::string> candidates{};
};
// Gets the line up to the cursor.
using Complete = std::function<Completion(std::string_view line)>;

struct EditedLine {
  enum class Kind : std::uint8_t {
    line,
    cancelled,  // Ctrl-C
    end         // Ctrl-D on an empty line
  };
  Kind kind = Kind::line;
  std::string text{};  // without its newline
};

class LineEditor {
 public:
  explicit LineEditor(Complete complete);
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;
  ~LineEditor();

  EditedLine read(const std::string& prompt);
  void remember(const std::string& line);
  // Does nothing where there is no such file, or it cannot be written: history is a convenience.
  void load_history(const std::filesystem::path& path);
  void save_history(const std::filesystem::path& path);

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace tenon::tools
