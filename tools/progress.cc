#include "tools/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "tools/standard_streams.h"
#include "tools/text.h"

namespace tenon::tools {
namespace {

constexpr int signal_exit_base = 128;  // as shells count
constexpr std::chrono::milliseconds draw_interval{100};
constexpr std::chrono::milliseconds first_draw_after{300};  // what is done sooner needs no progress

// Lock-free atomics are all that a signal handler may touch.
std::atomic<int> polling_depth{0};
std::atomic<bool> interrupt_requested{false};
std::atomic<int> interrupting_signal{SIGINT};
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

void on_interrupt(int signal) {
  const bool was_requested = interrupt_requested.load();
  if (!was_requested) interrupting_signal.store(signal);
  interrupt_requested.store(true);
  if (was_requested || polling_depth.load() == 0) _exit(signal_exit_base + signal);
}

// What `nohup` and shells have their children ignore stays ignored.
void keep_ignored_or_set(int signal, const struct sigaction& action) {
  struct sigaction before {};
  sigaction(signal, nullptr, &before);
  if (before.sa_handler != SIG_IGN) sigaction(signal, &action, nullptr);
}

// A dumb terminal can neither return to the begin of a line nor clear it.
bool is_drawable() {
  const char* const term = std::getenv("TERM");
  return isatty(STDERR_FILENO) == 1 && (term == nullptr || std::strcmp(term, "dumb") != 0);
}

std::string render(const std::string& label, const tenon::Progress& progress, double seconds) {
  const double rate = seconds > 0 ? static_cast<double>(progress.done) / seconds : 0;
  std::string line = fmt::format("{}  {} of {}", label, format_bytes(progress.done), format_bytes(progress.total));
  if (rate > 0) line += fmt::format("  {}/s", format_bytes(static_cast<std::uint64_t>(rate)));
  if (rate > 0 && progress.total > progress.done) {
    line += fmt::format("  {:.0f} s left", static_cast<double>(progress.total - progress.done) / rate);
  }
  return line;
}

}  // namespace

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) keep_ignored_or_set(signal, action);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

void check_interrupt() {
  if (interrupt_requested.load(std::memory_order_relaxed))
    throw Interrupted{signal_exit_base + interrupting_signal.load()};
}

void forget_interrupt() {
  if (interrupting_signal.load() != SIGINT) check_interrupt();
  interrupt_requested.store(false);
}

Progress::Progress(std::string label, bool quiet)
    : label_(std::move(label)),
      visible_(!quiet && is_drawable()),
      begin_(Clock::now()),
      next_draw_(begin_ + first_draw_after) {
  polling_depth.fetch_add(1);
}

Progress::~Progress() {
  polling_depth.fetch_sub(1);
  clear();
}

std::function<void(const tenon::Progress&)> Progress::callback() {
  return [this](const tenon::Progress& progress) { report(progress); };
}

void Progress::report(const tenon::Progress& progress) {
  check_interrupt();
  const Clock::time_point now = Clock::now();
  if (is_due(now)) draw(render(label_, progress, std::chrono::duration<double>(now - begin_).count()));
}

void Progress::report_time() {
  check_interrupt();
  const Clock::time_point now = Clock::now();
  if (!is_due(now)) return;
  draw(fmt::format("{}  {:.1f} s", label_, std::chrono::duration<double>(now - begin_).count()));
}

void Progress::clear() {
  if (drawn_) write_error("\r\x1b[K");
  drawn_ = false;
}

bool Progress::is_due(Clock::time_point now) {
  if (!visible_ || now < next_draw_) return false;
  next_draw_ = now + draw_interval;
  return true;
}

void Progress::draw(const std::string& line) {
  write_error(fmt::format("\r{}\x1b[K", line));
  drawn_ = true;
}

}  // namespace tenon::tools
