// Text for a terminal: shown at once where it fits, else in the pager ($PAGER, or less).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tools/output.h"

namespace tenon::tools {

// While a pager runs, Ctrl-C is the pager's.
class Pager {
 public:
  // `screen_lines` 0: nothing is paged.
  Pager(Output& output, std::size_t screen_lines) : output_(output), screen_lines_(screen_lines) {}
  Pager(const Pager&) = delete;
  Pager& operator=(const Pager&) = delete;
  ~Pager();  // as finish(), but for errors

  // What is written after is_closed() goes nowhere.
  void write(std::string_view text);
  bool is_open() const noexcept { return pid_ > 0; }
  // Somebody quit the pager before the end.
  bool is_closed() const noexcept { return is_closed_; }
  // The same while there is nothing to write: asks the pager.
  bool has_quit();
  // Waits until the pager is quit.
  void finish();

 private:
  bool start();
  void send(std::string_view text);

  Output& output_;
  const std::size_t screen_lines_;
  std::size_t lines_ = 0;
  std::string waiting_;
  int pid_ = 0;
  int pipe_ = -1;
  void (*interrupt_action_)(int) = nullptr;  // what Ctrl-C did before
  bool is_refused_ = false;                  // there is no pager
  bool is_closed_ = false;
};

// Lines of the terminal that standard output goes to; 0 if it goes elsewhere, or nobody wants a pager.
std::size_t pageable_lines();

}  // namespace tenon::tools
