#include "tools/pager.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "tenon/error.h"

extern char** environ;

namespace tenon::tools {

namespace {

constexpr std::size_t lines_around = 2;  // the prompt before and after

// The pager leaves when all fits, keeps what it showed, cuts long lines, and lets colours through.
void set_less_defaults() { setenv("LESS", "FRSX", 0); }

bool is_in_path(const char* program) {
  const char* const path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? "/usr/bin:/bin" : path;
  while (!rest.empty()) {
    const std::string_view folder = rest.substr(0, rest.find(':'));
    rest.remove_prefix(std::min(rest.size(), folder.size() + 1));
    if (access((std::string(folder) + "/" + program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

std::string pager_command() {
  if (const char* const pager = std::getenv("PAGER"); pager != nullptr) {
    return std::string_view(pager) == "cat" ? "" : pager;
  }
  return is_in_path("less") ? "less" : "";
}

// Runs `command` in a shell with `input` as its standard input, signals as in a fresh program. 0 if it cannot be.
int spawn_shell(const std::string& command, int input) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGPIPE, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
  posix_spawnattr_setsigdefault(&attributes, &signals);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  const char* const arguments[] = {"sh", "-c", command.c_str(), nullptr};
  pid_t pid = 0;
  const int failed = posix_spawn(&pid, "/bin/sh", &actions, &attributes, const_cast<char* const*>(arguments), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  return failed == 0 ? pid : 0;
}

}  // namespace

std::size_t pageable_lines() {
  winsize size{};
  if (isatty(STDOUT_FILENO) == 0 || isatty(STDIN_FILENO) == 0 || pager_command().empty()) return 0;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_row;
}

Pager::~Pager() {
  try {
    finish();
  } catch (const Error&) {  // another one is on its way, and this one's text is for the same terminal
  }
}

bool Pager::has_quit() {
  pollfd reader{.fd = pipe_, .events = 0, .revents = 0};
  if (is_open() && ::poll(&reader, 1, 0) == 1 && (reader.revents & POLLERR) != 0) is_closed_ = true;
  return is_closed_;
}

void Pager::write(std::string_view text) {
  if (is_closed_) return;
  if (is_open()) return send(text);
  if (screen_lines_ == 0 || is_refused_) return output_.write(text);
  waiting_ += text;
  lines_ += static_cast<std::size_t>(std::ranges::count(text, '\n'));
  if (lines_ + lines_around <= screen_lines_) return;
  is_refused_ = !start();
  const std::string all = std::move(waiting_);
  waiting_.clear();
  is_refused_ ? output_.write(all) : send(all);
}

void Pager::finish() {
  if (!waiting_.empty()) output_.write(waiting_);
  waiting_.clear();
  lines_ = 0;
  if (!is_open()) return;
  ::close(pipe_);
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = 0;
  std::signal(SIGINT, interrupt_action_);
}

bool Pager::start() {
  output_.flush();
  set_less_defaults();
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return false;
  pid_ = spawn_shell(pager_command(), ends[0]);
  ::close(ends[0]);
  pipe_ = ends[1];
  if (!is_open()) {
    ::close(pipe_);
    return false;
  }
  interrupt_action_ = std::signal(SIGINT, SIG_IGN);
  return true;
}

void Pager::send(std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = ::write(pipe_, text.data(), text.size());
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) {
      is_closed_ = true;
      return;
    }
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
}

}  // namespace tenon::tools
