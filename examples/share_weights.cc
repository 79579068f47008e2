// Several processes map one snapshot and read every byte of it; the system's own account says what that costs.
//
//   share_weights STORE [REV] [PROCESSES]
//
// RSS counts a page in full for every process that has it, PSS divides it among them: the sum of PSS is the memory
// that is really in use.
#include <sys/wait.h>
#include <tenon/tenon.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

namespace {

struct Worker {
  pid_t pid;
  int ready;   // a byte can be read once the worker has touched everything
  int finish;  // closed when the worker may go
};

struct Memory {
  std::uint64_t rss_kib = 0;
  std::uint64_t pss_kib = 0;
};

std::uint64_t read_every_byte(const tenon::Snapshot& snapshot) {
  std::uint64_t sum = 0;
  for (std::uint32_t slot = 0; slot < snapshot.slot_count(); ++slot) {
    for (std::byte byte : snapshot.slot_bytes(slot)) sum += static_cast<std::uint64_t>(byte);
  }
  return sum;
}

// In the child: opens the store itself, as a process of its own would.
int work(const char* path, const char* rev, int ready, int finish) {
  const tenon::Snapshot snapshot = tenon::Store::open(path).snapshot(rev, {.mode = tenon::Mode::shared});
  const std::uint64_t sum = read_every_byte(snapshot);
  if (write(ready, &sum, sizeof sum) != sizeof sum) return 1;
  char byte = 0;
  return read(finish, &byte, 1) == 0 ? 0 : 1;  // waits until the other end is closed
}

Worker start(const char* path, const char* rev, std::vector<Worker>& others) {
  int ready[2], finish[2];
  if (pipe(ready) != 0 || pipe(finish) != 0) throw std::runtime_error("cannot make a pipe");
  const pid_t pid = fork();
  if (pid < 0) throw std::runtime_error("cannot fork");
  if (pid > 0) {
    close(ready[1]);
    close(finish[0]);
    return {pid, ready[0], finish[1]};
  }
  close(finish[1]);
  for (const Worker& other : others) close(other.finish);  // inherited: would keep the others waiting
  int code = 1;
  try {
    code = work(path, rev, ready[1], finish[0]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "share_weights: %s\n", error.what());
  }
  _exit(code);
}

Memory memory_of(pid_t pid) {
  std::ifstream rollup("/proc/" + std::to_string(pid) + "/smaps_rollup");
  Memory memory;
  for (std::string word; rollup >> word;) {
    if (word == "Rss:") rollup >> memory.rss_kib;
    if (word == "Pss:") rollup >> memory.pss_kib;
  }
  return memory;
}

double mebibytes(std::uint64_t kib) { return static_cast<double>(kib) / 1024; }

// All of them have read everything and none has gone: what they show is what they cost side by side.
bool report(const std::vector<Worker>& workers, std::uint64_t snapshot_bytes) {
  std::uint64_t pss_kib = 0;
  std::uint64_t first_sum = 0;
  for (const Worker& worker : workers) {
    std::uint64_t sum = 0;
    if (read(worker.ready, &sum, sizeof sum) != sizeof sum) return false;
    if (&worker == &workers.front()) first_sum = sum;
    if (sum != first_sum) return false;
  }
  for (const Worker& worker : workers) {
    const Memory memory = memory_of(worker.pid);
    pss_kib += memory.pss_kib;
    std::printf("process %d: sees %.1f MiB (RSS), pays for %.1f MiB (PSS)\n", static_cast<int>(worker.pid),
                mebibytes(memory.rss_kib), mebibytes(memory.pss_kib));
  }
  std::printf("together %.1f MiB for a snapshot of %.1f MiB; %zu copies of it would be %.1f MiB\n", mebibytes(pss_kib),
              mebibytes(snapshot_bytes / 1024), workers.size(),
              mebibytes(snapshot_bytes / 1024) * static_cast<double>(workers.size()));
  return pss_kib > 0;
}

bool finish(const std::vector<Worker>& workers) {
  bool all_well = true;
  for (const Worker& worker : workers) close(worker.finish);
  for (const Worker& worker : workers) {
    int status = 0;
    all_well = waitpid(worker.pid, &status, 0) == worker.pid && status == 0 && all_well;
  }
  return all_well;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 4) {
    std::fprintf(stderr, "usage: share_weights STORE [REV] [PROCESSES]\n");
    return 2;
  }
  const char* rev = argc > 2 ? argv[2] : "main";
  const long processes = argc > 3 ? std::strtol(argv[3], nullptr, 10) : 2;
  try {
    std::vector<Worker> workers;
    for (long i = 0; i < processes; ++i) workers.push_back(start(argv[1], rev, workers));
    const std::uint64_t nbytes = tenon::Store::open(argv[1]).snapshot(rev).info().nbytes;
    const bool reported = report(workers, nbytes);
    return finish(workers) && reported ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "share_weights: %s\n", error.what());
    return 1;
  }
}
