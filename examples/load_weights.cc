// Puts serve_weights under load, and holds it to its word: within a connection no answer is of an older step than the
// one before.
//
//   load_weights SOCKET TENSOR ROWS [CLIENTS] [SECONDS]
//
// Prints requests per second, their latency, and how many snapshots answered.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

class Connection {
 public:
  explicit Connection(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) throw std::runtime_error("the socket's path is too long");
    std::memcpy(address.sun_path, path.data(), path.size());
    socket_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socket_ < 0 || connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("cannot connect to " + path);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { close(socket_); }

  std::string ask(const std::string& request) {
    if (send(socket_, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size()))
      throw std::runtime_error("the server has gone");
    std::size_t end;
    while ((end = pending_.find('\n')) == std::string::npos) {
      char buffer[4096];
      const ssize_t got = recv(socket_, buffer, sizeof buffer, 0);
      if (got <= 0) throw std::runtime_error("the server has gone");
      pending_.append(buffer, static_cast<std::size_t>(got));
    }
    std::string line = pending_.substr(0, end);
    pending_.erase(0, end + 1);
    return line;
  }

 private:
  int socket_;
  std::string pending_;
};

struct Result {
  std::vector<double> seconds;
  std::set<std::string> snapshots;
  std::string failure;
};

void ask_until(Clock::time_point end, const std::string& socket, const std::string& tensor, unsigned long rows,
               Result& result) {
  try {
    Connection connection(socket);
    long long newest = -1;
    for (unsigned long i = 0; Clock::now() < end; ++i) {
      const auto begin = Clock::now();
      std::istringstream words(connection.ask(tensor + " " + std::to_string(i % rows) + "\n"));
      result.seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
      std::string id;
      long long step = 0;
      if (!(words >> id >> step)) throw std::runtime_error("an answer that is none: " + words.str());
      if (step < newest)
        throw std::runtime_error("step " + std::to_string(step) + " came after " + std::to_string(newest));
      newest = step;
      result.snapshots.insert(id);
    }
  } catch (const std::exception& error) {
    result.failure = error.what();
  }
}

int report(const std::vector<Result>& results, double elapsed_s) {
  std::vector<double> seconds;
  std::set<std::string> snapshots;
  for (const Result& result : results) {
    if (!result.failure.empty()) {
      std::fprintf(stderr, "load_weights: %s\n", result.failure.c_str());
      return 1;
    }
    seconds.insert(seconds.end(), result.seconds.begin(), result.seconds.end());
    snapshots.insert(result.snapshots.begin(), result.snapshots.end());
  }
  if (seconds.empty()) return 1;
  std::sort(seconds.begin(), seconds.end());
  const auto quantile = [&](double q) {
    return 1e6 *
           seconds[std::min(seconds.size() - 1, static_cast<std::size_t>(q * static_cast<double>(seconds.size())))];
  };
  std::printf("%zu requests, %.0f a second; median %.0f us, p99 %.0f us; %zu snapshots answered\n", seconds.size(),
              static_cast<double>(seconds.size()) / elapsed_s, quantile(0.5), quantile(0.99), snapshots.size());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4 || argc > 6) {
    std::fprintf(stderr, "usage: load_weights SOCKET TENSOR ROWS [CLIENTS] [SECONDS]\n");
    return 2;
  }
  const unsigned long rows = std::max(1ul, std::strtoul(argv[3], nullptr, 10));
  const unsigned long clients = argc > 4 ? std::strtoul(argv[4], nullptr, 10) : 4;
  const double seconds = argc > 5 ? std::strtod(argv[5], nullptr) : 5;
  std::vector<Result> results(clients);
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  {
    std::vector<std::jthread> threads;
    for (Result& result : results) threads.emplace_back([&] { ask_until(end, argv[1], argv[2], rows, result); });
  }
  return report(results, seconds);
}
