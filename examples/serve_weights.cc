// A server that answers from shared weights and swaps to new ones under load: any number of such processes pay for one
// copy, and none of them stops for a commit.
//
//   serve_weights STORE SOCKET [REF]
//
// A request is a line "TENSOR ROW"; its answer a line "SNAPSHOT STEP VALUE", where VALUE is the sum over that row of a
// float32 tensor, standing for what a model would compute. A request sees one snapshot from begin to end. Ends on
// SIGINT or SIGTERM. load_weights.cc puts it under load.
#include <sys/socket.h>
#include <sys/un.h>
#include <tenon/tenon.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>

namespace {

using namespace std::chrono_literals;

std::atomic<bool> is_over{false};

std::string answer(const tenon::Snapshot& weights, const std::string& request) {
  std::istringstream words(request);
  std::string name;
  std::int64_t row = 0;
  if (!(words >> name >> row)) return "error: TENSOR ROW was expected\n";
  try {
    const auto values = weights[name].accessor<float, 2>();
    if (row < 0 || row >= values.size(0)) return "error: no such row\n";
    double sum = 0;
    for (std::int64_t column = 0; column < values.size(1); ++column) sum += values(row, column);
    std::ostringstream line;
    line << to_hex(weights.id()) << ' ' << weights.info().step.value_or(0) << ' ' << sum << '\n';
    return line.str();
  } catch (const tenon::Error& error) {
    return std::string("error: ") + error.what() + "\n";
  }
}

bool send_all(int connection, std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = send(connection, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

// One client, until it hangs up. The weights are taken anew for each request: one atomic operation, no lock.
void serve(int connection, const tenon::WeightSet& weights) {
  std::string pending;
  char buffer[4096];
  for (ssize_t got; (got = recv(connection, buffer, sizeof buffer, 0)) > 0;) {
    pending.append(buffer, static_cast<std::size_t>(got));
    for (std::size_t end; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1)) {
      if (!send_all(connection, answer(weights.current(), pending.substr(0, end)))) break;
    }
  }
  close(connection);
}

// Beside the serving threads: waits for commits and swaps.
void follow(tenon::WeightSet& weights) {
  while (!is_over) {
    try {
      const auto swap = weights.update(200ms);
      if (!swap) continue;
      std::printf("now %s: %zu tensors changed, %.1f MiB\n", to_hex(swap->after.id()).c_str(), swap->changed.size(),
                  static_cast<double>(swap->changed_bytes) / (1 << 20));
      std::fflush(stdout);
    } catch (const tenon::Error& error) {  // the old weights go on serving
      std::fprintf(stderr, "serve_weights: %s\n", error.what());
      std::this_thread::sleep_for(1s);
    }
  }
}

int listen_on(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw std::runtime_error("the socket's path is too long");
  std::memcpy(address.sun_path, path.data(), path.size());
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  unlink(path.c_str());
  if (listener < 0 || bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(listener, 128) != 0) {
    throw std::runtime_error("cannot listen on " + path);
  }
  return listener;
}

void on_signal(int) { is_over = true; }

void run(const char* path, const char* socket_path, const char* ref) {
  const tenon::Store store = tenon::Store::open(path);
  tenon::WeightSet weights(store, ref, {.open = {.will_need = true}, .name = "serve_weights"});
  const int listener = listen_on(socket_path);
  std::jthread follower([&] { follow(weights); });
  std::printf("serving %s on %s\n", to_hex(weights.current().id()).c_str(), socket_path);
  std::fflush(stdout);
  while (!is_over) {
    const int connection = accept(listener, nullptr, nullptr);  // a signal ends it
    if (connection >= 0) std::thread([connection, &weights] { serve(connection, weights); }).detach();
  }
  unlink(socket_path);
  follower.join();
  std::_Exit(0);  // clients may still be connected
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc > 4) {
    std::fprintf(stderr, "usage: serve_weights STORE SOCKET [REF]\n");
    return 2;
  }
  struct sigaction action {};
  action.sa_handler = on_signal;  // without SA_RESTART
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  try {
    run(argv[1], argv[2], argc > 3 ? argv[3] : "main");
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "serve_weights: %s\n", error.what());
    return 1;
  }
}
