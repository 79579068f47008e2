// repl: statements and dot commands, one after the other, from a person or a file.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>

#include "tenon/name.h"
#include "tenon/query.h"
#include "tenon/rev_path.h"
#include "tenon/summary.h"
#include "tools/failure.h"
#include "tools/histogram.h"
#include "tools/line_editor.h"
#include "tools/pager.h"
#include "tools/plot.h"
#include "tools/progress.h"
#include "tools/repl_commands.h"
#include "tools/repl_completion.h"
#include "tools/sql_output.h"
#include "tools/standard_streams.h"
#include "tools/target.h"
#include "tools/text.h"
#include "tools/verbs.h"

namespace tenon::tools {

namespace {

constexpr std::size_t box_rows_max = 2000;  // the middle is left out beyond
constexpr std::size_t plot_rows_max = 1'000'000;
constexpr std::size_t plot_columns = 80;
constexpr std::size_t plot_height = 12;
constexpr std::uint32_t histogram_bins = 64;
constexpr std::size_t histogram_height = 8;
constexpr int read_depth_max = 16;
constexpr std::string_view prompt = "tenon> ";
constexpr std::string_view prompt_within = "   ...> ";

using Write = std::function<void(std::string_view)>;

class Depth {
 public:
  explicit Depth(int& depth) : depth_(++depth) {}
  Depth(const Depth&) = delete;
  Depth& operator=(const Depth&) = delete;
  ~Depth() { --depth_; }

 private:
  int& depth_;
};

struct NobodyReads {};  // the rest of a result

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") + 1 - begin);
}

std::optional<std::filesystem::path> history_path() {
  const char* const state = std::getenv("XDG_STATE_HOME");
  if (state != nullptr && *state == '/') return std::filesystem::path(state) / "tenon" / "history";
  const char* const home = std::getenv("HOME");
  if (home == nullptr || *home == '\0') return std::nullopt;
  return std::filesystem::path(home) / ".local" / "state" / "tenon" / "history";
}

[[noreturn]] void throw_usage(std::string_view command) {
  for (const ReplCommand& known : repl_commands()) {
    if (known.name != command) continue;
    throw Error(ErrorKind::invalid_argument, {.what = fmt::format("{} was asked wrongly", command),
                                              .wanted = fmt::format("{} {}", command, known.usage)});
  }
  throw Error(ErrorKind::invalid_argument, {.what = fmt::format("no command '{}'", command),
                                            .hint = suggestion(close_matches(command, command_names()))});
}

// What people type who look for the way out, or for help. No statement begins like that.
bool is_command_without_dot(std::string_view line) {
  if (line.ends_with(';')) line.remove_suffix(1);
  return line == "quit" || line == "exit" || line == "help";
}

struct Command {
  std::string name;  // ".plot"
  std::string argument;
};

Command split_command(std::string_view line) {
  const std::size_t space = std::min(line.find_first_of(" \t"), line.size());
  Command command{.name = std::string(line.substr(0, space)), .argument = std::string(trimmed(line.substr(space)))};
  // `;` ends statements, and out of habit commands.
  if (command_argument(command.name) != CommandArgument::file && command.argument.ends_with(';'))
    command.argument.pop_back();
  return command;
}

std::optional<double> number(const SqlValue& value) {
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return static_cast<double>(*integer);
  if (const auto* real = std::get_if<double>(&value)) return *real;
  return std::nullopt;
}

// Columns of numbers: the first is x if there are more.
struct Curves {
  std::vector<std::string> names{};
  std::vector<std::vector<Point>> points{};
};

Curves curves_of(Rows& rows) {
  const std::size_t columns = rows.columns().size();
  const std::size_t first = columns > 1 ? 1 : 0;
  Curves curves;
  curves.points.resize(columns - first);
  for (std::size_t i = first; i < columns; ++i) curves.names.push_back(rows.columns()[i].name);
  for (std::size_t row = 0; row < plot_rows_max && rows.next(); ++row) {
    const auto x = first == 0 ? std::optional(static_cast<double>(row)) : number(rows[0]);
    for (std::size_t i = first; i < columns; ++i) {
      if (const auto y = number(rows[i]); x && y) curves.points[i - first].push_back({*x, *y});
    }
  }
  return curves;
}

class Repl {
 public:
  Repl(const Globals& globals, Output& output)
      : globals_(globals), output_(output), store_(open()), session_(store_), completion_(store_) {
    if (globals.json) mode_ = SqlMode::json;
    if (store_) summaries_.emplace(*store_);
  }

  int run() {
    isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0 ? talk() : read(std::cin);
    return has_failed_ ? exit_code::failed : exit_code::ok;
  }

 private:
  std::optional<Store> open() const {
    const auto path = find_store(globals_.store);
    return path ? std::optional(Store::open(*path)) : std::nullopt;
  }

  void talk() {
    is_interactive_ = true;
    const auto history = history_path();
    LineEditor editor([this](std::string_view line) { return completion_.complete(statement_, line); });
    if (history) editor.load_history(*history);
    greet();
    output_.flush();
    while (!is_over_) {
      const EditedLine line = editor.read(std::string(statement_.empty() ? prompt : prompt_within));
      if (line.kind == EditedLine::Kind::cancelled) {
        statement_.clear();
        continue;
      }
      if (line.kind == EditedLine::Kind::end) break;
      const std::string whole = statement_ + line.text;
      const Progress late("", true);  // Ctrl-C that comes when a statement has just ended
      take(line.text);
      output_.flush();
      forget_interrupt();
      if (statement_.empty() && !trimmed(whole).empty()) remember(whole, editor, history);
    }
    has_failed_ = false;  // a person has seen it
    output_.write("\n");
  }

  void greet() {
    output_.write(fmt::format("tenon {}  {}\n.help lists commands, tables and functions; Tab completes; Ctrl-D ends\n",
                              TENON_VERSION, store_ ? printable(store_->path().string()) : "no store"));
  }

  // A statement of several lines comes back as one, unless a comment would swallow the rest.
  static void remember(const std::string& whole, LineEditor& editor, const std::optional<std::filesystem::path>& path) {
    std::string line = whole;
    if (line.find("--") == std::string::npos) std::ranges::replace(line, '\n', ' ');
    if (line.find('\n') == std::string::npos) editor.remember(line);
    if (!path) return;
    std::error_code failed;  // then it is not kept
    std::filesystem::create_directories(path->parent_path(), failed);
    editor.save_history(*path);
  }

  void read(std::istream& lines) {
    for (std::string line; !is_over_ && !output_.is_closed() && std::getline(lines, line);) take(line);
    if (!trimmed(statement_).empty()) ask(std::exchange(statement_, {}));
    statement_.clear();
  }

  // One line of input: a command, or a part of a statement.
  void take(const std::string& line) {
    if (statement_.empty() && trimmed(line).substr(0, 1) == ".") {
      const Command asked = split_command(trimmed(line));
      // An error has its place in the statement that a command was given.
      const bool is_sql = command_argument(asked.name) == CommandArgument::sql;
      return attempt(is_sql ? std::string_view(asked.argument) : trimmed(line), [&] { command(asked); });
    }
    if (statement_.empty() && trimmed(line).empty()) return;
    if (statement_.empty() && is_command_without_dot(trimmed(line))) return take("." + line);
    statement_ += line + "\n";
    if (Session::is_complete(statement_)) ask(std::exchange(statement_, {}));
  }

  void ask(const std::string& text) {
    for (std::string_view rest = text; !trimmed(rest).empty() && !is_over_;) {
      const std::string_view statement = rest;
      rest = {};
      attempt(statement, [&] {
        Rows rows = session_.query(statement);
        show([&](const SqlFormat& format, const Write& write) { print_rows(rows, format, write); });
        rest = rows.rest();
      });
    }
  }

  // Tells what went wrong and goes on. Ctrl-C ends what runs, and nothing else.
  template <typename Work>
  void attempt(std::string_view text, const Work& work) {
    const auto begin = std::chrono::steady_clock::now();
    try {
      Progress progress("working, Ctrl-C ends it", !is_interactive_);
      progress_ = &progress;
      session_.set_progress([this] { tick(); });
      work();
    } catch (const Error& error) {
      fail(error, exit_code_of(error.kind()), text);
    } catch (const Failure& failure) {
      fail(failure.error, failure.code, text);
    } catch (const std::bad_alloc&) {
      fail(Error(ErrorKind::limit, {.what = "out of memory"}), exit_code::failed, text);
    } catch (const Interrupted& interrupted) {
      // Of a file that is read nothing more is run, either.
      if (!is_interactive_ || read_depth_ > 0 || interrupted.exit_code != exit_code::interrupted) throw;
      fail("interrupted\n");
    }
    progress_ = nullptr;
    pager_ = nullptr;
    forget_interrupt();
    session_.set_progress({});
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    if (is_timed_) output_.write(fmt::format("{:.3f} s\n", seconds.count()));
  }

  void tick() {
    check_interrupt();
    if (pager_ == nullptr || !pager_->is_open()) return progress_->report_time();
    if (pager_->has_quit()) throw NobodyReads{};  // Ctrl-C is the pager's: without this a long scan could not be left
  }

  void fail(const Error& error, int code, std::string_view text) {
    if (is_interactive_ || !globals_.json) return fail(describe_sql_error(error, text));
    has_failed_ = true;
    output_.flush();
    print_error(error, code, true);
  }

  void fail(const std::string& message) {
    has_failed_ = true;
    output_.flush();
    write_error(message);
  }

  // Lets `use` write where results go now.
  template <typename Use>
  void show(const Use& use) {
    const std::string path = once_.empty() ? output_path_ : std::exchange(once_, {});
    SqlFormat format{.mode = mode_};
    if (!path.empty()) {
      std::ofstream file(path, path == output_path_ ? std::ios::app : std::ios::trunc);
      use(format, [&](std::string_view text) { file << text; });
      file.close();
      if (!file) throw Error(ErrorKind::io, {.what = "cannot write the result", .file = path});
      return;
    }
    output_.measure();
    format.columns = output_.columns();
    format.rows_max = is_interactive_ ? box_rows_max : 0;
    format.is_terminal = output_.is_terminal();
    Pager pager(output_, is_interactive_ ? pageable_lines() : 0);
    pager_ = &pager;
    try {
      use(format, [&](std::string_view text) {
        progress_->clear();
        pager.write(text);
        if (pager.is_closed() || output_.is_closed()) throw NobodyReads{};
      });
    } catch (const NobodyReads&) {  // the rest of this result is not wanted; that is no failure
    }
    pager.finish();
    pager_ = nullptr;
  }
  void show_text(const std::string& text) {
    show([&](const SqlFormat&, const Write& write) { write(text); });
  }

  void command(const Command& asked) {
    if (!state_command(asked.name, asked.argument) && !view_command(asked.name, asked.argument))
      throw_usage(asked.name);
  }

  // What changes how the REPL goes on. False for other commands.
  bool state_command(const std::string& name, const std::string& argument) {
    if (name == ".quit" || name == ".exit") {
      is_over_ = true;
    } else if (name == ".mode") {
      set_mode(argument);
    } else if (name == ".once") {
      if (argument.empty()) throw_usage(name);
      once_ = argument;
    } else if (name == ".output") {
      output_path_ = argument == "stdout" ? "" : argument;
      if (!output_path_.empty() && !std::ofstream(output_path_)) {
        throw Error(ErrorKind::io, {.what = "cannot write to it", .file = std::exchange(output_path_, {})});
      }
    } else if (name == ".timer") {
      if (argument != "on" && argument != "off") throw_usage(name);
      is_timed_ = argument == "on";
    } else if (name == ".use") {
      use(argument);
    } else if (name == ".read") {
      read_file(argument);
    } else {
      return false;
    }
    return true;
  }

  // What shows something. False for other commands.
  bool view_command(const std::string& name, const std::string& argument) {
    if (name == ".help") {
      show_text(repl_help(argument));
    } else if (name == ".tables") {
      show_text(repl_tables());
    } else if (name == ".schema") {
      show_text(repl_schema(argument));
    } else if (name == ".explain") {
      if (argument.empty()) throw_usage(name);
      show_text(session_.explain(argument));
    } else if (name == ".hist") {
      histogram(argument);
    } else if (name == ".plot") {
      plot(argument);
    } else {
      return history_command(name, argument);
    }
    return true;
  }

  bool history_command(const std::string& name, const std::string& argument) {
    if (name == ".log") {
      run_log(globals_, {.rev = argument.empty() ? rev_ : argument}, output_);
    } else if (name == ".tree") {
      run_tree(globals_, {.target = argument.empty() ? rev_ : argument}, output_);
    } else if (name == ".diff") {
      const std::size_t space = argument.find(' ');
      if (argument.empty()) throw_usage(name);
      const std::string newer(space == std::string::npos ? rev_ : std::string(trimmed(argument.substr(space))));
      run_diff(globals_, {.older = argument.substr(0, space), .newer = newer}, output_);
    } else {
      return false;
    }
    return true;
  }

  void set_mode(const std::string& name) {
    if (name.empty()) return output_.line(fmt::format("modes: {}", sql_modes));
    const auto mode = sql_mode(name);
    if (!mode) {
      const std::vector<std::string> known = {"box", "csv", "json", "jsonl", "markdown", "line", "list"};
      throw Error(ErrorKind::invalid_argument, {.what = fmt::format("no mode '{}'", name),
                                                .wanted = std::string(sql_modes),
                                                .hint = suggestion(close_matches(name, known))});
    }
    mode_ = *mode;
  }

  const Store& store() const {
    if (!store_) throw Error(ErrorKind::no_store, {.what = "there is no store", .hint = "tenon --store PATH"});
    return *store_;
  }

  void use(const std::string& rev) {
    if (rev.empty()) return output_.line(rev_);
    store().resolve(rev);
    rev_ = rev;
    completion_.use(rev);
  }

  void read_file(const std::string& path) {
    if (path.empty()) throw_usage(".read");
    std::ifstream file(path);
    if (!file || std::filesystem::is_directory(path))
      throw Error(ErrorKind::not_found, {.what = "cannot read the statements", .file = path, .wanted = "a file"});
    if (read_depth_ == read_depth_max) throw Error(ErrorKind::limit, {.what = "files read each other", .file = path});
    const Depth within(read_depth_);
    read(file);
  }

  void histogram(const std::string& argument) {
    const RevPath target = split_rev(argument);
    if (argument.empty() || (target.has_path && target.path.empty())) throw_usage(".hist");
    // Without a colon it is a tensor of the rev in use.
    const Snapshot snapshot = store().snapshot(target.has_path ? target.rev : rev_);
    const View view = snapshot[target.has_path ? target.path : argument];
    const auto summary = summaries_->get(snapshot, view.row(), {.bins = histogram_bins}, [this] { tick(); });
    if (!summary)
      throw Error(ErrorKind::unsupported, {.what = "it has no numbers", .got = std::string(dtype_name(view.dtype()))});
    if (summary->histogram->counts.empty()) return show_text("no finite values\n");
    show_text(picture_of(*summary->histogram));
  }

  static std::string picture_of(const tenon::Histogram& found) {
    std::uint64_t tallest = 0;
    for (const std::uint64_t count : found.counts) tallest = std::max(tallest, count);
    std::string text;
    for (const std::string& line : draw({.counts = found.counts}, histogram_height)) text += line + "\n";
    const std::string low = format_number(found.range.low), high = format_number(found.range.high);
    const std::size_t between = found.counts.size() - std::min(found.counts.size(), high.size());
    return text + pad_right(low, between) + high + fmt::format("\ntallest: {}\n", format_count(tallest));
  }

  void plot(const std::string& statement) {
    if (statement.empty()) throw_usage(".plot");
    Rows rows = session_.query(statement);
    if (rows.columns().empty()) throw_usage(".plot");
    const Curves curves = curves_of(rows);
    const std::size_t width = output_.columns() == 0 ? plot_columns : output_.columns();
    std::string text;
    for (std::size_t i = 0; i < curves.names.size(); ++i) {
      const auto lines = draw_curve(curves.points[i], width, plot_height);
      text += printable(curves.names[i]) + (lines.empty() ? ": fewer than two points\n" : "\n");
      for (const std::string& line : lines) text += line + "\n";
    }
    show_text(text);
  }

  const Globals& globals_;
  Output& output_;
  std::optional<Store> store_;
  Session session_;
  ReplCompletion completion_;
  std::optional<Summaries> summaries_;
  SqlMode mode_ = SqlMode::box;
  std::string rev_ = "main";
  std::string statement_;         // lines of a statement that is not whole yet
  std::string once_;              // where the next result goes
  std::string output_path_;       // where all results go
  Progress* progress_ = nullptr;  // of what runs
  Pager* pager_ = nullptr;        // of what is shown
  bool is_interactive_ = false;
  bool is_timed_ = false;
  bool is_over_ = false;
  bool has_failed_ = false;
  int read_depth_ = 0;
};

}  // namespace

int run_repl(const Globals& globals, const ReplArguments&, Output& output) { return Repl(globals, output).run(); }

}  // namespace tenon::tools
