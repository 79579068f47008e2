#include "tests/faults/fault_plan.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

// Everything here goes to the kernel by syscall(2): the libc functions of these names are the ones being replaced.

namespace tenon::faults {
namespace {

enum class Mode { any, kill, torn, short_write, eintr, enospc, eio, failsync };

struct Plan {
  const char* prefix = nullptr;
  std::size_t prefix_bytes = 0;
  Mode mode = Mode::any;
  unsigned long point = 0;
  bool persists = false;
  int log = -1;
  std::atomic<unsigned long>* counter = nullptr;  // shared with forked children
};

Plan plan;

[[noreturn]] void give_up(const char* why) {
  std::fprintf(stderr, "fault shim: %s\n", why);
  ::_exit(120);  // no exit code of the command: the harness takes it for what it is
}

Mode parse_mode(const char* text) {
  if (text == nullptr) return Mode::any;
  static constexpr struct {
    const char* name;
    Mode mode;
  } modes[] = {{"kill", Mode::kill},     {"torn", Mode::torn}, {"short", Mode::short_write}, {"eintr", Mode::eintr},
               {"enospc", Mode::enospc}, {"eio", Mode::eio},   {"failsync", Mode::failsync}};
  for (const auto& known : modes) {
    if (std::strcmp(text, known.name) == 0) return known.mode;
  }
  give_up("unknown TENON_FAULT_MODE");
}

__attribute__((constructor)) void read_environment() {
  plan.prefix = std::getenv("TENON_FAULT_PREFIX");
  if (plan.prefix == nullptr) return;
  plan.prefix_bytes = std::strlen(plan.prefix);
  plan.mode = parse_mode(std::getenv("TENON_FAULT_MODE"));
  if (const char* point = std::getenv("TENON_FAULT_POINT")) plan.point = std::strtoul(point, nullptr, 10);
  plan.persists = std::getenv("TENON_FAULT_PERSIST") != nullptr;
  if (const char* path = std::getenv("TENON_FAULT_LOG")) {
    const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
    plan.log = static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, 0644));
    if (plan.log < 0) give_up("cannot open TENON_FAULT_LOG");
  }
  void* const shared =
      ::mmap(nullptr, sizeof(*plan.counter), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) give_up("no memory");
  plan.counter = static_cast<std::atomic<unsigned long>*>(shared);  // zeroed by the kernel
}

bool can_happen(Mode mode, const Call& call) {
  switch (mode) {
    case Mode::any:
    case Mode::kill:
    case Mode::torn:
    case Mode::eio:
      return true;
    case Mode::short_write:
      return call.kind == CallKind::write && call.size_bytes >= 2;
    case Mode::eintr:
      // Of the calls that make names only open(2) may be interrupted.
      return call.kind == CallKind::write || call.kind == CallKind::sync || call.kind == CallKind::space ||
             std::strncmp(call.name, "open", 4) == 0;
    case Mode::enospc:
      return call.kind == CallKind::write || call.kind == CallKind::space || call.kind == CallKind::entry;
    case Mode::failsync:
      return call.kind == CallKind::sync;
  }
  return false;
}

Decision decision_of(Mode mode) {
  switch (mode) {
    case Mode::any:
      break;
    case Mode::kill:
      return {Action::die_before};
    case Mode::torn:
      return {Action::die_halfway};
    case Mode::short_write:
      return {Action::do_half};
    case Mode::eintr:
      return {Action::fail, EINTR};
    case Mode::enospc:
      return {Action::fail, ENOSPC};
    case Mode::eio:
    case Mode::failsync:
      return {Action::fail, EIO};
  }
  return {Action::pass};
}

void write_log(unsigned long number, const Call& call, bool is_injected) {
  if (plan.log < 0) return;
  char line[PATH_MAX + 128];
  const int size = std::snprintf(line, sizeof line, "%lu\t%s\t%s\t%zu\t%s\n", number, call.name, call.path,
                                 call.size_bytes, is_injected ? "INJECTED" : "");
  if (::syscall(SYS_write, plan.log, line, size) != size) give_up("cannot write the log");
}

}  // namespace

bool under_prefix(const char* path) {
  return plan.counter != nullptr && std::strncmp(path, plan.prefix, plan.prefix_bytes) == 0 &&
         (path[plan.prefix_bytes] == '/' || path[plan.prefix_bytes] == '\0');
}

Decision decide(const Call& call) {
  if (!under_prefix(call.path) || !can_happen(plan.mode, call)) return {Action::none};
  const unsigned long number = plan.counter->fetch_add(1) + 1;
  const bool is_injected = plan.point != 0 && (plan.persists ? number >= plan.point : number == plan.point);
  write_log(number, call, is_injected);
  return is_injected ? decision_of(plan.mode) : Decision{Action::pass};
}

void die() {
  ::syscall(SYS_kill, ::getpid(), SIGKILL);
  for (;;) ::pause();
}

}  // namespace tenon::faults
