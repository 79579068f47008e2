#include "store/parallel.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace tenon {

namespace {

constexpr std::size_t threads_max = 8;
constexpr std::size_t bytes_worth_a_thread = 1 << 20;

std::size_t usable_processors() noexcept {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return static_cast<std::size_t>(std::max(1, CPU_COUNT(&set)));
}

// Shared by the threads of one parallel_for.
struct Work {
  std::size_t count;
  const std::function<void(std::size_t)>& task;
  std::atomic<std::size_t> next{0};
  std::mutex mutex{};
  std::exception_ptr failure{};

  void run() noexcept {
    try {
      for (std::size_t i = next++; i < count; i = next++) task(i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
      next = count;
    }
  }
};

}  // namespace

void parallel_for(std::size_t count, std::size_t threads, const std::function<void(std::size_t)>& task) {
  Work work{count, task};
  std::vector<std::thread> others;
  const std::size_t wanted = std::min(threads, count);
  others.reserve(wanted);
  try {
    for (std::size_t i = 1; i < wanted; ++i) others.emplace_back([&work] { work.run(); });
  } catch (...) {
    // No more threads, or memory for them, to be had: the ones there are do all of the work.
  }
  work.run();
  for (std::thread& thread : others) thread.join();
  if (work.failure) std::rethrow_exception(work.failure);
}

std::size_t threads_for_bytes(std::size_t bytes) noexcept {
  static const std::size_t processors = std::min(threads_max, usable_processors());
  return std::clamp<std::size_t>(bytes / bytes_worth_a_thread, 1, processors);
}

}  // namespace tenon
