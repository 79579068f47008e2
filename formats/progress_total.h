// Progress of one export, told of from several threads.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <utility>

#include "tenon/store.h"

namespace tenon {

class ProgressTotal {
 public:
  ProgressTotal(std::uint64_t total_bytes, std::function<void(const Progress&)> tell)
      : progress_{.total = total_bytes}, tell_(std::move(tell)) {}

  void add(std::uint64_t nbytes) {
    const std::lock_guard lock(mutex_);
    progress_.done += nbytes;
    if (tell_) tell_(progress_);
  }

 private:
  std::mutex mutex_;
  Progress progress_;
  std::function<void(const Progress&)> tell_;
};

}  // namespace tenon
