// Commits of new bytes beside a bare write loop, and of bytes the store already has beside memcmp.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "support.h"

namespace tenon::bench {
namespace {

constexpr std::size_t run_bytes = 2 * 1024 * 1024;

void require(bool is_true, const char* what) {
  if (!is_true) throw std::system_error(errno, std::generic_category(), what);
}

// Writes all bytes into one new file. With `preallocate`, the space is reserved first.
void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes, bool preallocate, bool sync) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  require(file >= 0, "open");
  if (preallocate) require(fallocate(file, 0, 0, static_cast<off_t>(bytes.size())) == 0, "fallocate");
  for (std::size_t at = 0; at < bytes.size();) {
    const auto run = bytes.subspan(at, std::min(run_bytes, bytes.size() - at));
    const ssize_t written = pwrite(file, run.data(), run.size(), static_cast<off_t>(at));
    require(written > 0, "pwrite");
    at += static_cast<std::size_t>(written);
  }
  if (sync) require(fsync(file) == 0, "fsync");
  require(close(file) == 0, "close");
}

double time_loop(const std::filesystem::path& path, std::span<const std::byte> bytes, bool preallocate, bool durable) {
  std::filesystem::remove(path);
  ::sync();
  warm_free_memory(2 * bytes.size());
  return time_seconds([&] { write_file(path, bytes, preallocate, durable); });
}

double time_commit(const std::filesystem::path& path, const Draft& draft, std::uint64_t nbytes, bool durable) {
  Store store = fresh_store(path, durable ? Durability::full : Durability::relaxed);
  ::sync();
  warm_free_memory(2 * nbytes);
  CommitResult result;
  const double seconds = time_seconds([&] { result = store.commit(draft); });
  if (result.written_bytes != nbytes) throw std::runtime_error("the commit did not write what is new");
  return seconds;
}

// DIRECTORY is emptied of what this program left there. Even rounds begin with the loop, odd ones with the commit.
void commit_new(const std::vector<std::string>& arguments) {
  const std::filesystem::path directory = arguments[0];
  const bool durable = arguments[3] == "durable";
  const Memory memory = Memory::filled(std::stoull(arguments[1]), 2);
  const Draft draft = draft_of(memory.bytes(), static_cast<std::uint32_t>(std::stoul(arguments[2])));
  Figures figures;
  const bool loop_first = std::stoul(arguments[4]) % 2 == 0;
  const auto loops = [&] {
    for (const bool preallocate : {!loop_first, loop_first}) {
      figures.emplace_back(preallocate ? "loop_preallocated" : "loop",
                           time_loop(directory / "loop.bin", memory.bytes(), preallocate, durable));
    }
    std::filesystem::remove(directory / "loop.bin");
  };
  if (loop_first) loops();
  figures.emplace_back("commit", time_commit(directory / "new.tenon", draft, memory.bytes().size(), durable));
  std::filesystem::remove_all(directory / "new.tenon");
  if (!loop_first) loops();
  print_figures(figures);
}

// memcmp of the fresh buffers with the mapped bytes, as a commit must do it.
double time_memcmp(const Snapshot& snapshot, const Draft& draft) {
  bool all_equal = true;
  const double seconds = time_seconds([&] {
    for (std::uint32_t slot = 0; slot < snapshot.slot_count(); ++slot) {
      const auto bytes = snapshot.slot_bytes(slot);
      all_equal &= std::memcmp(bytes.data(), draft.slots[slot].source.memory.data(), bytes.size()) == 0;
    }
  });
  if (!all_equal) throw std::runtime_error("the store holds other bytes than were committed");
  return seconds;
}

void commit_again(const std::vector<std::string>& arguments) {
  const std::filesystem::path path = std::filesystem::path(arguments[0]) / "again.tenon";
  const auto count = static_cast<std::uint32_t>(std::stoul(arguments[2]));
  const Memory first = Memory::filled(std::stoull(arguments[1]), 3);
  Store store = fresh_store(path, Durability::relaxed);
  store.commit(draft_of(first.bytes(), count));
  const Memory second = Memory::copy_of(first.bytes());
  const Draft draft = draft_of(second.bytes(), count);
  const Snapshot parent = store.snapshot("main");
  time_memcmp(parent, draft);  // maps the pages
  for (auto left = std::stoul(arguments[3]); left > 0; --left) {
    const double compare = time_memcmp(parent, draft);
    CommitResult result;
    const double commit = time_seconds([&] { result = store.commit(draft); });
    print_figures({{"memcmp", compare}, {"commit", commit}, {"written", static_cast<double>(result.written_bytes)}});
  }
  std::filesystem::remove_all(path);
}

}  // namespace
}  // namespace tenon::bench

int main(int argc, char** argv) {
  return tenon::bench::run_command(
      argc, argv,
      {{"new", {"DIRECTORY", "BYTES", "TENSORS", "durable|relaxed", "ROUND"}, tenon::bench::commit_new},
       {"again", {"DIRECTORY", "BYTES", "TENSORS", "TIMES"}, tenon::bench::commit_again}});
}
