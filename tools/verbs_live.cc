// ps, watch: who uses the store, and doing something whenever a ref moves.
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <system_error>
#include <thread>

#include "tenon/live.h"
#include "tenon/name.h"
#include "tenon/processes.h"
#include "tools/failure.h"
#include "tools/table.h"
#include "tools/target.h"
#include "tools/text.h"
#include "tools/verbs.h"

namespace tenon::tools {
namespace {

using std::chrono::milliseconds;

// Copied pages are no reason to speak of them until they are so many.
constexpr std::uint64_t copied_bytes_min = 1 << 20;
constexpr std::uint64_t copied_part = 4;  // one in so many resident bytes

// ---- ps

// What a process would need on its own: what it says it has open, or else what it has touched.
std::uint64_t copy_bytes(const StoreProcess& process) {
  if (process.snapshot_bytes != 0) return process.snapshot_bytes;
  return process.memory ? process.memory->resident_bytes : 0;
}

struct Totals {
  std::uint64_t resident_bytes = 0;
  std::uint64_t proportional_bytes = 0;
  std::uint64_t private_bytes = 0;
  std::uint64_t copies_bytes = 0;
};

Totals totals_of(const std::vector<StoreProcess>& processes) {
  Totals totals;
  for (const StoreProcess& process : processes) {
    totals.copies_bytes += copy_bytes(process);
    if (!process.memory) continue;
    totals.resident_bytes += process.memory->resident_bytes;
    totals.proportional_bytes += process.memory->proportional_bytes;
    totals.private_bytes += process.memory->private_bytes;
  }
  return totals;
}

std::string pid_of(const StoreProcess& process) {
  // A number that means nothing here is told as such.
  return process.pid != 0 ? fmt::format("{}", process.pid) : fmt::format("({})", process.inner_pid);
}

Table table_of(const std::vector<StoreProcess>& processes) {
  Table table({{"PID", Align::right},
               {"NAME", Align::left, true},
               {"REF"},
               {"SNAPSHOT"},
               {"OPEN", Align::right},
               {"RSS", Align::right},
               {"PSS", Align::right},
               {"COPIED", Align::right}});
  for (const StoreProcess& process : processes) {
    const auto figure = [&](std::uint64_t ProcessMemory::*field) {
      return process.memory ? format_bytes((*process.memory).*field) : "-";
    };
    table.add({pid_of(process), printable(process.name), process.ref.empty() ? "-" : printable(process.ref),
               process.snapshot ? short_id(*process.snapshot) : "-",
               process.snapshot_bytes != 0 ? format_bytes(process.snapshot_bytes) : "-",
               figure(&ProcessMemory::resident_bytes), figure(&ProcessMemory::proportional_bytes),
               figure(&ProcessMemory::private_bytes)});
  }
  return table;
}

void warn_of_copies(const std::vector<StoreProcess>& processes, Output& output) {
  for (const StoreProcess& process : processes) {
    if (!process.memory || process.memory->private_bytes < copied_bytes_min) continue;
    if (process.memory->private_bytes < process.memory->resident_bytes / copied_part) continue;
    output.note(
        fmt::format("warning: {} ({}) has written to {} of the {} that it has touched: that much it shares with "
                    "nobody any more",
                    pid_of(process), printable(process.name), format_bytes(process.memory->private_bytes),
                    format_bytes(process.memory->resident_bytes)));
  }
}

void print_text(const std::vector<StoreProcess>& processes, Output& output) {
  if (processes.empty()) return output.note("nobody uses the store");
  table_of(processes).print(output);
  const Totals totals = totals_of(processes);
  const std::string who =
      processes.size() == 1 ? "1 process pays" : fmt::format("{} processes pay together", processes.size());
  const std::string copies = processes.size() == 1 ? "a copy" : fmt::format("{} copies", processes.size());
  output.line(fmt::format("{} {} (PSS), {} of it copied on write; {} would be {}", who,
                          format_bytes(totals.proportional_bytes), format_bytes(totals.private_bytes), copies,
                          format_bytes(totals.copies_bytes)));
  warn_of_copies(processes, output);
}

void print_json(const std::vector<StoreProcess>& processes, Output& output) {
  for (const StoreProcess& process : processes) {
    Json::Object members{
        {"pid", process.pid},
        {"inner_pid", process.inner_pid},
        {"name", process.name},
        {"ref", process.ref},
        {"snapshot_id", process.snapshot ? Json(to_hex(*process.snapshot)) : Json()},
        {"attached_at", process.attached_at_ns ? Json(format_utc_time(*process.attached_at_ns)) : Json()},
        {"snapshot_bytes", process.snapshot_bytes}};
    const auto figure = [&](const char* name, std::uint64_t ProcessMemory::*field) {
      members.emplace_back(name, process.memory ? Json((*process.memory).*field) : Json());
    };
    figure("mapped_bytes", &ProcessMemory::mapped_bytes);
    figure("resident_bytes", &ProcessMemory::resident_bytes);
    figure("proportional_bytes", &ProcessMemory::proportional_bytes);
    figure("private_bytes", &ProcessMemory::private_bytes);
    output.record("ps", std::move(members));
  }
  const Totals totals = totals_of(processes);
  output.record("ps_total", {{"processes", processes.size()},
                             {"resident_bytes", totals.resident_bytes},
                             {"proportional_bytes", totals.proportional_bytes},
                             {"private_bytes", totals.private_bytes},
                             {"copies_bytes", totals.copies_bytes}});
}

// ---- watch

std::vector<std::string> environment_of(const Store& store, const std::string& ref, const Snapshot& snapshot) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    if (!text.starts_with("TENON_SNAPSHOT_ID=") && !text.starts_with("TENON_REF=") &&
        !text.starts_with("TENON_STEP=") && !text.starts_with("TENON_STORE=")) {
      all.emplace_back(text);
    }
  }
  all.push_back("TENON_SNAPSHOT_ID=" + to_hex(snapshot.id()));
  all.push_back("TENON_REF=" + ref);
  all.push_back("TENON_STORE=" + store.path().string());
  if (snapshot.info().step) all.push_back(fmt::format("TENON_STEP={}", *snapshot.info().step));
  return all;
}

std::vector<char*> pointers_to(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// Signals that this program ignores for itself are the command's own to decide about.
pid_t start(const std::vector<std::string>& command, const std::vector<std::string>& environment) {
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t by_default;
  sigemptyset(&by_default);
  sigaddset(&by_default, SIGPIPE);
  sigaddset(&by_default, SIGXFSZ);
  posix_spawnattr_setsigdefault(&attributes, &by_default);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  pid_t child = 0;
  const int error = posix_spawnp(&child, command[0].c_str(), nullptr, &attributes, pointers_to(command).data(),
                                 pointers_to(environment).data());
  posix_spawnattr_destroy(&attributes);
  if (error == 0) return child;
  throw Error(ErrorKind::invalid_argument,
              {.what = "cannot run the command", .file = command[0], .got = std::generic_category().message(error)});
}

// True if the command ended well.
bool run_to_end(const std::vector<std::string>& command, const std::vector<std::string>& environment, Output& output) {
  output.flush();
  const pid_t child = start(command, environment);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
  output.note(WIFEXITED(status) ? fmt::format("{} ended with {}", printable(command[0]), WEXITSTATUS(status))
                                : fmt::format("{} ended by signal {}", printable(command[0]), WTERMSIG(status)));
  return false;
}

void print_snapshot(const std::string& ref, const Snapshot& snapshot, Output& output) {
  if (output.is_json()) {
    output.record("watch", {{"ref", ref},
                            {"snapshot_id", to_hex(snapshot.id())},
                            {"step", snapshot.info().step},
                            {"created_at", format_utc_time(snapshot.info().created_at_ns)},
                            {"message", snapshot.info().message}});
  } else {
    output.line(to_hex(snapshot.id()));
  }
  output.flush();
}

}  // namespace

int run_ps(const Globals& globals, const PsArguments& arguments, Output& output) {
  const Store store = open_store(globals.store);
  for (std::uint64_t shown = 1;; ++shown) {
    const auto processes = store.processes();
    if (arguments.every_s && output.is_terminal() && !output.is_json()) output.write("\x1b[H\x1b[2J");
    output.is_json() ? print_json(processes, output) : print_text(processes, output);
    output.flush();
    if (!arguments.every_s || output.is_closed() || shown == arguments.count) return exit_code::ok;
    std::this_thread::sleep_for(std::chrono::duration<double>(*arguments.every_s));
  }
}

int run_watch(const Globals& globals, const WatchArguments& arguments, Output& output) {
  const Store store = open_store(globals.store);
  WatchOptions options;
  if (arguments.timeout_s) options.timeout = milliseconds(static_cast<std::int64_t>(*arguments.timeout_s * 1000));
  Watch watch = store.watch(arguments.ref, options);
  if (arguments.only_new) (void)watch.poll();
  bool all_well = true;
  std::uint64_t given = 0;
  while (given != arguments.count && !output.is_closed()) {
    const auto snapshot = watch.next();
    if (!snapshot) break;
    ++given;
    if (arguments.command.empty()) {
      print_snapshot(arguments.ref, *snapshot, output);
    } else {
      const auto environment = environment_of(store, arguments.ref, *snapshot);
      all_well = run_to_end(arguments.command, environment, output) && all_well;
    }
  }
  return all_well ? exit_code::ok : exit_code::in_part;
}

}  // namespace tenon::tools
