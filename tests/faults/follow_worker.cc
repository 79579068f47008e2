// What follow.py starts:
//
//   tenon-follow-worker train STORE STEPS              commits until the ref's step is STEPS, and forgets old snapshots
//   tenon-follow-worker collect STORE                  collects garbage without rest
//   tenon-follow-worker follow STORE MODE FILE [own]   follows the ref, and writes the step that it has into FILE; with
//                                                      "own", in a PID namespace of its own
//
// All of them run until they are killed (or their parent is); see follow.py. The bytes of a snapshot follow from its
// step, so every follower can check every byte. Exit codes: 0, 1 something that must not happen, told on stderr.
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <deque>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tenon/tenon.h"

namespace {

using namespace std::chrono_literals;
using tenon::ErrorKind;
using tenon::Mode;
using tenon::Snapshot;
using tenon::Store;

constexpr std::size_t sizes[] = {100, 5'000, 90'000, 1'500'000};  // packed, page-aligned, mapped alone, stitched
constexpr std::size_t tensors = std::size(sizes);
constexpr std::size_t part_bytes = 70'000;  // of the last one, that changes with each step
constexpr std::size_t held_max = 3;
constexpr std::uint64_t forget_every = 7;
constexpr std::uint64_t kept = 3;

struct Violation {
  std::string what;
};

void fill(std::byte* out, std::size_t size, std::uint64_t seed) {
  std::uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
  for (std::size_t at = 0; at < size; at += sizeof state) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    std::memcpy(out + at, &state, std::min(sizeof state, size - at));
  }
}

// Tensor i changes with every (i + 1)-th step; of the last one only a part does, which wanders.
std::vector<std::byte> content(std::size_t tensor, std::uint64_t step) {
  std::vector<std::byte> bytes(sizes[tensor]);
  if (tensor + 1 < tensors) {
    fill(bytes.data(), bytes.size(), 1000 * tensor + step / (tensor + 1));
    return bytes;
  }
  fill(bytes.data(), bytes.size(), 77);
  fill(bytes.data() + step * part_bytes % (bytes.size() - part_bytes), part_bytes, 5000 + step);
  return bytes;
}

void check(const Snapshot& snapshot, std::uint64_t step) {
  for (std::size_t i = 0; i < tensors; ++i) {
    const auto wanted = content(i, step);
    const auto bytes = snapshot.view(static_cast<std::uint32_t>(i)).bytes();
    if (bytes.size() != wanted.size() || std::memcmp(bytes.data(), wanted.data(), wanted.size()) != 0) {
      throw Violation{"tensor " + std::to_string(i) + " of step " + std::to_string(step) + " has wrong bytes"};
    }
  }
}

std::uint64_t step_of(const Snapshot& snapshot) {
  if (!snapshot.info().step) throw Violation{"a snapshot that nobody made"};
  return static_cast<std::uint64_t>(*snapshot.info().step);
}

// What others may do to us: hold the lock for long, forget what we look at.
template <typename Action>
void unless_others_are_at_it(Action action) {
  try {
    action();
  } catch (const tenon::Error& error) {
    const bool is_fair = error.kind() == ErrorKind::busy || error.kind() == ErrorKind::not_found;
    if (!is_fair) throw;
  }
}

void commit(Store& store, std::uint64_t step) {
  tenon::Draft draft;
  std::vector<std::vector<std::byte>> owned;
  for (std::size_t i = 0; i < tensors; ++i) {
    owned.push_back(content(i, step));
    draft.slots.push_back({.nbytes = sizes[i], .source = {.memory = owned.back()}});
    draft.tensors.push_back({.name = "t" + std::to_string(i),
                             .dtype = tenon::DType::uint8,
                             .slot = static_cast<std::uint32_t>(i),
                             .shape = {static_cast<std::int64_t>(sizes[i])},
                             .stride = {1}});
  }
  draft.step = static_cast<std::int64_t>(step);
  store.commit(draft);
}

// Goes on where its predecessor was killed.
void train(const char* path, std::uint64_t steps) {
  Store store = Store::open(path);
  tenon::Watch watch = store.watch("main", {.name = "trainer"});
  const auto newest = watch.poll();
  for (std::uint64_t step = newest ? step_of(*newest) + 1 : 1; step <= steps; ++step) {
    commit(store, step);
    if (step % forget_every == 0) unless_others_are_at_it([&] { store.forget({.keep = {.last = kept}}); });
  }
}

void collect(const char* path) {
  Store store = Store::open(path);
  for (;; std::this_thread::sleep_for(5ms)) unless_others_are_at_it([&] { store.gc(); });
}

class Follower {
 public:
  Follower(const char* path, Mode mode, const char* file)
      : store_(Store::open(path)),
        report_(open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0666)),
        weights_(store_, "main", {.open = {.mode = mode}, .name = "follower"}) {
    last_ = reported();
    take(weights_.current());
  }

  void run() {
    for (;;) {
      if (const auto swap = weights_.update(1s)) take(swap->after);
    }
  }

 private:
  // What its predecessor saw before it was killed.
  std::uint64_t reported() const {
    char text[32]{};
    return pread(report_, text, sizeof text - 1, 0) > 0 ? std::stoull(text) : 0;
  }

  void take(const Snapshot& snapshot) {
    const std::uint64_t step = step_of(snapshot);
    const bool is_first = held_.empty();  // which the predecessor may have seen
    if (is_first ? step < last_ : step <= last_)
      throw Violation{"step " + std::to_string(step) + " came after " + std::to_string(last_)};
    last_ = step;
    check(snapshot, step);
    held_.push_back(snapshot);
    if (held_.size() > held_max) held_.pop_front();
    for (const Snapshot& old : held_) check(old, step_of(old));  // its files may be gone
    char text[32];
    const int size = std::snprintf(text, sizeof text, "%020llu\n", static_cast<unsigned long long>(step));
    if (pwrite(report_, text, static_cast<std::size_t>(size), 0) != size) std::abort();
  }

  Store store_;
  int report_;
  tenon::WeightSet weights_;
  std::deque<Snapshot> held_;
  std::uint64_t last_ = 0;
};

// The first process of a new PID namespace, which dies with this one.
void enter_own_namespace() {
  if (unshare(CLONE_NEWPID) != 0) throw std::runtime_error("no PID namespace of its own");
  const pid_t inner = fork();
  if (inner == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    return;
  }
  int status = 0;
  while (waitpid(inner, &status, 0) < 0 && errno == EINTR) continue;
  _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

Mode mode_of(const std::string& name) {
  if (name == "private") return Mode::private_;
  return name == "copy" ? Mode::copy : Mode::shared;
}

int run(int argc, char** argv) {
  const std::string what = argc > 2 ? argv[1] : "";
  if (what == "train" && argc == 4) {
    train(argv[2], std::stoull(argv[3]));
  } else if (what == "collect") {
    collect(argv[2]);
  } else if (what == "follow" && argc >= 5) {
    if (argc == 6) enter_own_namespace();
    Follower(argv[2], mode_of(argv[3]), argv[4]).run();
  } else {
    return 2;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  try {
    return run(argc, argv);
  } catch (const Violation& violation) {
    std::fprintf(stderr, "violation: %s\n", violation.what.c_str());
  } catch (const tenon::Error& error) {
    std::fprintf(stderr, "%s: %s\n", tenon::error_kind_name(error.kind()), error.what());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  return 1;
}
