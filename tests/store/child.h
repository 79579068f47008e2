// Forked processes for tests: what they do to a store must not touch the test's own state, and may kill them.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <functional>
#include <stdexcept>
#include <utility>

namespace tenon::testing {

// How a child ended.
struct Outcome {
  int status = 0;  // of its exit
  int signal = 0;  // that killed it, or 0
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

inline void PrintTo(const Outcome& outcome, std::ostream* out) {
  *out << "exit status " << outcome.status << ", signal " << outcome.signal;
}

inline constexpr Outcome succeeded{0, 0};
inline constexpr int threw = 97;  // exit status of a child whose body threw

// Runs `body` in a forked process; its result is the exit status.
class Child {
 public:
  explicit Child(const std::function<int()>& body) {
    std::fflush(nullptr);
    process_ = ::fork();
    if (process_ < 0) throw std::runtime_error("fork failed");
    if (process_ > 0) return;
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL})
      ::signal(signal, SIG_DFL);  // sanitizers catch them
    int status = threw;
    try {
      status = body();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "child: %s\n", error.what());
    }
    std::fflush(nullptr);
    ::_exit(status);
  }
  Child(Child&& other) noexcept : process_(std::exchange(other.process_, 0)) {}
  Child& operator=(Child&&) = delete;
  ~Child() {
    if (process_ <= 0) return;
    ::kill(process_, SIGKILL);
    wait();
  }

  pid_t process() const noexcept { return process_; }
  void kill() const noexcept { ::kill(process_, SIGKILL); }
  Outcome wait() {
    int status = 0;
    while (::waitpid(process_, &status, 0) < 0 && errno == EINTR) continue;
    process_ = 0;
    return WIFEXITED(status) ? Outcome{WEXITSTATUS(status), 0} : Outcome{0, WTERMSIG(status)};
  }

 private:
  pid_t process_ = 0;
};

inline Outcome run_in_child(const std::function<int()>& body) { return Child(body).wait(); }

// For children that are expected to die noisily.
inline void silence_errors() {
  const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  ::dup2(nowhere, STDERR_FILENO);
}

// A byte that one process waits for and another gives.
class Signal {
 public:
  Signal() {
    if (::pipe2(ends_, O_CLOEXEC) != 0) throw std::runtime_error("pipe failed");
  }
  Signal(const Signal&) = delete;
  Signal& operator=(const Signal&) = delete;
  ~Signal() {
    ::close(ends_[0]);
    ::close(ends_[1]);
  }
  void give() const {
    if (::write(ends_[1], "x", 1) != 1) throw std::runtime_error("pipe write failed");
  }
  void await() const {
    char byte = 0;
    if (::read(ends_[0], &byte, 1) != 1) throw std::runtime_error("pipe read failed");
  }

 private:
  int ends_[2]{};
};

}  // namespace tenon::testing
