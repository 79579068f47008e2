// From a commit's acknowledgement to a subscriber, in another process, that holds the changed views and has read a byte
// of each. Beside it what people do without: a file that is replaced, and a process that looks at it every millisecond.
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <thread>

#include "support.h"

namespace tenon::bench {
namespace {

using namespace std::chrono_literals;

// Shared by the two processes: the number of the newest commit that the subscriber has, and when it had it.
struct Board {
  std::atomic<std::uint64_t> reached{0};
  std::atomic<std::int64_t> reached_at_ns{0};
  std::atomic<bool> is_over{false};
  std::atomic<bool> has_failed{false};
};

std::int64_t now_ns() {  // the same clock for all processes
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
}

class SharedBoard {
 public:
  SharedBoard() {
    void* const memory = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("no memory");
    board_ = new (memory) Board;
  }
  SharedBoard(const SharedBoard&) = delete;
  SharedBoard& operator=(const SharedBoard&) = delete;
  ~SharedBoard() { munmap(board_, sizeof(Board)); }
  Board* operator->() const noexcept { return board_; }

 private:
  Board* board_;
};

template <typename Body>
pid_t start(const SharedBoard& board, Body body) {
  const pid_t child = fork();
  if (child != 0) return child;
  try {
    body();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "subscriber: %s\n", error.what());
    board->has_failed = true;
  }
  _exit(0);
}

void reach(const SharedBoard& board, std::uint64_t number) {
  board->reached_at_ns = now_ns();
  board->reached = number;
}

void wait_for(const SharedBoard& board, std::uint64_t number) {
  while (board->reached != number) {
    if (board->has_failed) throw std::runtime_error("the subscriber failed");
    std::this_thread::sleep_for(50us);
  }
}

struct Latencies {
  std::vector<double> seconds;
  double quantile(double q) {
    std::sort(seconds.begin(), seconds.end());
    return seconds[std::min(seconds.size() - 1, static_cast<std::size_t>(q * static_cast<double>(seconds.size())))];
  }
};

// Step N of the store has N in the first word of each tensor that it changed.
void subscribe(const std::string& path, const SharedBoard& board) {
  const Store store = Store::open(path);
  WeightSet weights(store);
  reach(board, 1);
  while (!board->is_over) {
    const auto swap = weights.update(100ms);
    if (!swap) continue;
    std::uint64_t newest = 0;
    for (const std::uint32_t row : swap->changed) {
      std::uint64_t word = 0;
      std::memcpy(&word, swap->after.view(row).data<float>(), sizeof word);
      newest = std::max(newest, word);
    }
    reach(board, newest);
  }
}

Latencies follow(const std::vector<std::string>& arguments) {
  const auto bytes = std::stoull(arguments[2]), changed = std::stoull(arguments[4]),
             commits = std::stoull(arguments[5]);
  const auto tensors = static_cast<std::uint32_t>(std::stoul(arguments[3]));
  Store store = fresh_store(arguments[0], arguments[1] == "full" ? Durability::full : Durability::relaxed);
  Memory memory = Memory::filled(bytes, 7);
  const Draft draft = draft_of(memory.bytes(), tensors);
  store.commit(draft);
  const SharedBoard board;
  const pid_t subscriber = start(board, [&] { subscribe(arguments[0], board); });
  wait_for(board, 1);
  Latencies latencies;
  for (std::uint64_t number = 2; number < commits + 2; ++number) {
    for (std::uint64_t i = 0; i < changed; ++i) {
      const std::uint64_t tensor = (number * changed + i) % tensors;
      std::memcpy(memory.bytes().data() + tensor * (bytes / tensors), &number, sizeof number);
    }
    store.commit(draft);
    const std::int64_t acknowledged_ns = now_ns();
    wait_for(board, number);
    latencies.seconds.push_back(static_cast<double>(std::max<std::int64_t>(0, board->reached_at_ns - acknowledged_ns)) *
                                1e-9);
  }
  board->is_over = true;
  waitpid(subscriber, nullptr, 0);
  return latencies;
}

std::uint64_t number_in(const std::string& file) {
  std::ifstream in(file);
  std::uint64_t number = 0;
  in >> number;
  return number;
}

// The peer: no library, no sleep longer than a millisecond.
Latencies poll(const std::vector<std::string>& arguments) {
  const std::string file = arguments[0] + ".polled";
  const auto replace = [&](std::uint64_t number) {
    std::ofstream(file + ".new") << number << '\n';
    if (std::rename((file + ".new").c_str(), file.c_str()) != 0) throw std::runtime_error("cannot rename");
  };
  replace(1);
  const SharedBoard board;
  const pid_t subscriber = start(board, [&] {
    for (std::uint64_t seen = 0; !board->is_over; std::this_thread::sleep_for(1ms)) {
      const std::uint64_t number = number_in(file);
      if (number != seen) reach(board, seen = number);
    }
  });
  wait_for(board, 1);
  Latencies latencies;
  const auto commits = std::stoull(arguments[5]);
  for (std::uint64_t number = 2; number < commits + 2; ++number) {
    replace(number);
    const std::int64_t acknowledged_ns = now_ns();
    wait_for(board, number);
    latencies.seconds.push_back(static_cast<double>(std::max<std::int64_t>(0, board->reached_at_ns - acknowledged_ns)) *
                                1e-9);
    std::this_thread::sleep_for(std::chrono::microseconds(number * 137 % 1000));  // not in step with the poller
  }
  board->is_over = true;
  waitpid(subscriber, nullptr, 0);
  std::filesystem::remove(file);
  return latencies;
}

void run(const std::vector<std::string>& arguments) {
  Latencies followed = follow(arguments), polled = poll(arguments);
  print_figures({{"p50", followed.quantile(0.5)},
                 {"p99", followed.quantile(0.99)},
                 {"polled_p50", polled.quantile(0.5)},
                 {"polled_p99", polled.quantile(0.99)}});
}

}  // namespace
}  // namespace tenon::bench

int main(int argc, char** argv) {
  return tenon::bench::run_command(
      argc, argv, {{"run", {"STORE", "full|relaxed", "BYTES", "TENSORS", "CHANGED", "COMMITS"}, tenon::bench::run}});
}
