#include "tools/line_editor.h"

#include <histedit.h>
#include <unistd.h>

#include <algorithm>
#include <clocale>
#include <cstdio>

#include "tenon/error.h"
#include "tenon/name.h"
#include "tools/text.h"

namespace tenon::tools {

namespace {

constexpr int history_entries = 2000;
constexpr std::size_t listed_max = 100;  // candidates that are shown
constexpr std::size_t line_columns = 80;

bool begins_with(std::string_view text, std::string_view prefix) { return text.substr(0, prefix.size()) == prefix; }

// What all candidates begin with.
std::string common_beginning(const std::vector<std::string>& candidates) {
  std::string common = candidates.front();
  for (const std::string& candidate : candidates) {
    const auto [end, other] = std::mismatch(common.begin(), common.end(), candidate.begin(), candidate.end());
    common.erase(end, common.end());
  }
  // No half of a character.
  while (!common.empty() && common.size() < candidates.front().size() &&
         (static_cast<unsigned char>(candidates.front()[common.size()]) & 0xC0) == 0x80) {
    common.pop_back();
  }
  return common;
}

void list(const std::vector<std::string>& candidates) {
  std::size_t width = 0;
  const std::size_t shown = std::min(candidates.size(), listed_max);
  for (std::size_t i = 0; i < shown; ++i) width = std::max(width, display_width(printable(candidates[i])) + 2);
  const std::size_t in_line = std::max<std::size_t>(1, line_columns / width);
  std::string text = "\r\n";
  for (std::size_t i = 0; i < shown; ++i) {
    text += pad_right(printable(candidates[i]), width);
    if ((i + 1) % in_line == 0 || i + 1 == shown) text += "\r\n";
  }
  if (candidates.size() > shown) text += "and " + format_count(candidates.size() - shown) + " more\r\n";
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

std::size_t character_count(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

}  // namespace

class LineEditor::State {
 public:
  explicit State(Complete complete) : complete_(std::move(complete)) {
    // Characters of more than one byte, whatever else the locale says.
    if (std::setlocale(LC_CTYPE, "") == nullptr || MB_CUR_MAX == 1) std::setlocale(LC_CTYPE, "C.UTF-8");
    editor_ = el_init("tenon", stdin, stdout, stderr);
    history_ = history_init();
    if (editor_ == nullptr || history_ == nullptr) {
      close();
      throw Error(ErrorKind::io, {.what = "cannot edit lines at this terminal"});
    }
    history(history_, &event_, H_SETSIZE, history_entries);
    history(history_, &event_, H_SETUNIQUE, 1);
    set_up();
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { close(); }

  EditedLine read(const std::string& prompt) {
    prompt_ = prompt;
    is_cancelled_ = false;
    el_resize(editor_);
    int count = 0;
    const char* const line = el_gets(editor_, &count);
    if (is_cancelled_) {
      el_reset(editor_);
      return {.kind = EditedLine::Kind::cancelled};
    }
    if (line == nullptr || count <= 0) return {.kind = EditedLine::Kind::end};
    std::string text(line, static_cast<std::size_t>(count));
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
    return {.text = std::move(text)};
  }

  void remember(const std::string& line) { history(history_, &event_, H_ENTER, line.c_str()); }
  void load(const char* path) { history(history_, &event_, H_LOAD, path); }
  void save(const char* path) { history(history_, &event_, H_SAVE, path); }

 private:
  static State& of(EditLine* editor) {
    void* state = nullptr;
    el_get(editor, EL_CLIENTDATA, &state);
    return *static_cast<State*>(state);
  }
  static char* prompt_of(EditLine* editor) { return of(editor).prompt_.data(); }
  static unsigned char on_tab(EditLine* editor, int) { return of(editor).complete(); }
  static unsigned char on_cancel(EditLine* editor, int) {
    of(editor).is_cancelled_ = true;
    std::fputs("^C\r\n", stdout);
    std::fflush(stdout);
    return CC_EOF;
  }

  void set_up() {
    el_set(editor_, EL_CLIENTDATA, this);
    el_set(editor_, EL_PROMPT, prompt_of);
    el_set(editor_, EL_EDITOR, "emacs");
    el_set(editor_, EL_HIST, history, history_);
    el_set(editor_, EL_ADDFN, "tenon-complete", "completes what is typed", on_tab);
    el_set(editor_, EL_ADDFN, "tenon-cancel", "gives the line up", on_cancel);
    el_set(editor_, EL_BIND, "^I", "tenon-complete", nullptr);
    el_set(editor_, EL_BIND, "^R", "em-inc-search-prev", nullptr);
    el_set(editor_, EL_SETTY, "-d", "-isig", nullptr);
    el_source(editor_, nullptr);  // what the person has in ~/.editrc
    el_set(editor_, EL_BIND, "^C", "tenon-cancel", nullptr);
  }

  unsigned char complete() {
    const LineInfo* const info = el_line(editor_);
    const std::string_view line(info->buffer, static_cast<std::size_t>(info->cursor - info->buffer));
    const Completion found = complete_(line);
    if (found.candidates.empty()) return CC_REFRESH_BEEP;
    const std::string typed(line.substr(found.begin));
    const std::string common = common_beginning(found.candidates);
    if (common.size() > typed.size() || (found.candidates.size() == 1 && common != typed)) {
      if (begins_with(common, typed)) {
        el_insertstr(editor_, common.c_str() + typed.size());
      } else {  // the case differs
        el_deletestr(editor_, static_cast<int>(character_count(typed)));
        el_insertstr(editor_, common.c_str());
      }
      return CC_REFRESH;
    }
    if (found.candidates.size() == 1) return CC_REFRESH;
    list(found.candidates);
    return CC_REDISPLAY;
  }

  void close() {
    if (history_ != nullptr) history_end(history_);
    if (editor_ != nullptr) el_end(editor_);
  }

  Complete complete_;
  EditLine* editor_ = nullptr;
  History* history_ = nullptr;
  HistEvent event_{};
  std::string prompt_;
  bool is_cancelled_ = false;
};

LineEditor::LineEditor(Complete complete) : state_(std::make_unique<State>(std::move(complete))) {}
LineEditor::~LineEditor() = default;
EditedLine LineEditor::read(const std::string& prompt) { return state_->read(prompt); }
void LineEditor::remember(const std::string& line) { state_->remember(line); }
void LineEditor::load_history(const std::filesystem::path& path) { state_->load(path.c_str()); }
void LineEditor::save_history(const std::filesystem::path& path) { state_->save(path.c_str()); }

}  // namespace tenon::tools
