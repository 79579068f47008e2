// Progress for people, and Ctrl-C, SIGTERM and SIGHUP, of which all that is said of Ctrl-C holds.
//
// While a Progress lives, Ctrl-C asks the operation to stop: its next report throws Interrupted, the library
// unwinds and removes what it had begun. A second Ctrl-C, or one at any other time, ends the process at once;
// stores bear that at any point.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "tenon/store.h"

namespace tenon::tools {

struct Interrupted {
  int exit_code;  // 128 + the signal
};

// The signals as above; SIGPIPE and SIGXFSZ become errors of the call that met them.
void install_signal_handlers();
// Throws Interrupted if Ctrl-C was pressed while a Progress lives.
void check_interrupt();
// After what Ctrl-C was meant for has ended: what comes next runs. Throws Interrupted if it was another signal, which
// is meant for the program.
void forget_interrupt();

class Progress {
 public:
  // `label` says what is being done. Draws on standard error if that is a terminal and `quiet` is not set.
  Progress(std::string label, bool quiet);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // For the library; refers to *this.
  std::function<void(const tenon::Progress&)> callback();
  // Throws Interrupted.
  void report(const tenon::Progress& progress);
  // The same where nobody knows how much there is to do: tells the time since the beginning.
  void report_time();
  // Takes away what is drawn, for other output to stand there.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  bool is_due(Clock::time_point now);
  void draw(const std::string& line);

  std::string label_;
  bool visible_;
  bool drawn_ = false;
  Clock::time_point begin_;
  Clock::time_point next_draw_;
};

}  // namespace tenon::tools
