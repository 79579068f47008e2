// What a history costs: commits of what was loaded and hardly touched, a long chain of small changes, and reading a
// storage that is stitched together from old pieces and new ones.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <system_error>

#include <tenon/snapshot_draft.h>

#include "support.h"

namespace tenon::bench {
namespace {

constexpr std::uint64_t mib = 1 << 20;
constexpr std::uint64_t page = 4096;
constexpr std::uint64_t row_cluster_bytes = 64 * page;
constexpr std::uint64_t granule = 64 * 1024;

// --- P5: loaded, hardly touched, committed ---

// One page in a hundred, in clusters, in the first of every `spread` tensors.
std::uint64_t write_clusters(const Snapshot& snapshot, std::uint64_t number) {
  std::mt19937_64 random(number);
  std::uint64_t written = 0;
  const std::uint64_t wanted = std::max<std::uint64_t>(snapshot.info().nbytes / 100, row_cluster_bytes);
  const auto slots = std::max<std::uint32_t>(1, snapshot.size() / 8);
  for (std::uint32_t slot = 0; written < wanted; slot = (slot + 1) % slots) {
    const View view = snapshot.view(slot);
    const std::uint64_t clusters = view.bytes().size() / row_cluster_bytes;
    std::byte* const at = view.mutable_data() + random() % std::max<std::uint64_t>(clusters, 1) * row_cluster_bytes;
    for (std::uint64_t offset = 0; offset < row_cluster_bytes; offset += 8) std::memcpy(at + offset, &number, 8);
    written += row_cluster_bytes;
  }
  return written;
}

// What any commit of so many tensors costs, whatever their size.
double time_small_commit(Store& store, std::uint32_t count) {
  const Memory memory = Memory::filled(std::uint64_t{count} * page, 3);
  store.commit(draft_of(memory.bytes(), count));
  const Snapshot loaded = store.snapshot("main", {.mode = Mode::private_});
  const Draft draft = make_draft(loaded);
  return time_seconds([&] { store.commit(draft); });
}

void touch(const std::vector<std::string>& arguments) {
  const std::filesystem::path path = std::filesystem::path(arguments[0]) / "touch.tenon";
  const auto count = static_cast<std::uint32_t>(std::stoul(arguments[2]));
  const Memory first = Memory::filled(std::stoull(arguments[1]), 3);
  Store store = fresh_store(path, Durability::relaxed);
  store.commit(draft_of(first.bytes(), count));
  const Memory copy = Memory::copy_of(first.bytes());
  Store small = fresh_store(std::filesystem::path(arguments[0]) / "small.tenon", Durability::relaxed);
  for (std::uint64_t left = std::stoull(arguments[3]); left > 0; --left) {
    Figures figures{{"small", time_small_commit(small, count)}};
    const Snapshot loaded = store.snapshot("main", {.mode = Mode::private_});
    if (sum_words(loaded.slot_bytes(0)) == 0) throw std::runtime_error("nothing was loaded");
    const Draft draft = make_draft(loaded);
    CommitResult result;
    figures.emplace_back("untouched", time_seconds([&] { result = store.commit(draft); }));
    if (result.written_bytes != 0) throw std::runtime_error("untouched bytes were written");
    const std::uint64_t touched = write_clusters(loaded, left);
    figures.emplace_back("touched_bytes", static_cast<double>(touched));
    figures.emplace_back("touched", time_seconds([&] { result = store.commit(draft); }));
    if (result.written_bytes < touched / 2) throw std::runtime_error("touched bytes were not written");
    write_clusters(loaded, left + 1000);
    figures.emplace_back("without_statistics",
                         time_seconds([&] { result = store.commit(draft, {.statistics = false}); }));
    if (result.written_bytes < touched / 2) throw std::runtime_error("touched bytes were not written");
    const Draft all = draft_of(copy.bytes(), count);
    store.commit(all);
    figures.emplace_back("compared", time_seconds([&] { store.commit(all); }));
    print_figures(figures);
  }
  std::filesystem::remove_all(path);
  std::filesystem::remove_all(small.path());
}

// --- P8: a long chain of small changes ---

// 2 % of the bytes anew, in runs of 1 MiB that begin anywhere. The same for the same number.
std::uint64_t change(std::span<std::byte> bytes, std::uint64_t number) {
  std::mt19937_64 random(number);
  const std::uint64_t runs = std::max<std::uint64_t>(1, bytes.size() / 50 / mib);
  const std::uint64_t run_bytes = std::min<std::uint64_t>(mib, bytes.size() / 50);
  for (std::uint64_t run = 0; run < runs; ++run) {
    const std::uint64_t begin = random() % (bytes.size() - run_bytes);
    for (std::uint64_t at = begin; at < begin + run_bytes; ++at) bytes[at] ^= static_cast<std::byte>(random() | 1);
  }
  return runs * run_bytes;
}

std::uint64_t disk_bytes(const std::filesystem::path& path) {
  std::uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
    struct stat status {};
    if (::stat(entry.path().c_str(), &status) == 0) bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  return bytes;
}

void chain(const std::vector<std::string>& arguments) {
  const std::filesystem::path path = arguments[0];
  const auto commits = std::stoull(arguments[1]);
  const auto count = static_cast<std::uint32_t>(std::stoul(arguments[3]));
  Memory memory = Memory::filled(std::stoull(arguments[2]), 5);
  const Draft draft = draft_of(memory.bytes(), count);
  Store store = fresh_store(path, Durability::full);
  std::uint64_t changed = 0, written = 0;
  double last = 0;
  for (std::uint64_t number = 0; number < commits; ++number) {
    if (number > 0) changed += change(memory.bytes(), number);
    CommitResult result;
    last = time_seconds([&] { result = store.commit(draft); });
    written += result.written_bytes;
  }
  double opened = 0;
  {
    std::uint64_t sum = 0;
    opened = time_seconds([&] {
      const Snapshot snapshot = Store::open(path).snapshot("main");
      for (std::uint32_t slot = 0; slot < snapshot.slot_count(); ++slot) sum += sum_words(snapshot.slot_bytes(slot));
    });
    if (sum != sum_words(memory.bytes())) throw std::runtime_error("the store holds other bytes than were committed");
  }
  const auto first = static_cast<double>(memory.bytes().size());
  print_figures({{"first_bytes", first},
                 {"changed_bytes", static_cast<double>(changed)},
                 {"written_bytes", static_cast<double>(written)},
                 {"disk_bytes", static_cast<double>(disk_bytes(path))},
                 {"slots_and_commits", static_cast<double>(commits * count)},
                 {"last_commit", last},
                 {"open_and_read", opened}});
}

// The same history as a file, for programs that know files: number 0 makes it, every other one changes it.
void step(const std::vector<std::string>& arguments) {
  const auto number = std::stoull(arguments[1]);
  const std::uint64_t size = std::stoull(arguments[2]);
  const int file = ::open(arguments[0].c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (file < 0) throw std::system_error(errno, std::generic_category(), arguments[0]);
  Memory memory = number == 0 ? Memory::filled(size, 5) : Memory::copy_of(std::vector<std::byte>(size));
  const auto all = [&](const char* what, auto&& call) {
    for (std::uint64_t at = 0; at < size;) {
      const ssize_t done = call(memory.bytes().data() + at, size - at, static_cast<off_t>(at));
      if (done <= 0) throw std::system_error(errno, std::generic_category(), what);
      at += static_cast<std::uint64_t>(done);
    }
  };
  if (number > 0) {
    all("pread", [&](std::byte* data, std::size_t n, off_t at) { return ::pread(file, data, n, at); });
    change(memory.bytes(), number);
  }
  all("pwrite", [&](std::byte* data, std::size_t n, off_t at) { return ::pwrite(file, data, n, at); });
  ::close(file);
}

// --- P9: reading what is stitched ---

double read_all(const Snapshot& snapshot, std::uint64_t wanted) {
  std::uint64_t sum = 0;
  const double seconds = time_seconds([&] { sum = sum_words(snapshot.slot_bytes(0)); });
  if (sum != wanted) throw std::runtime_error("other bytes were read");
  return seconds;
}

// Twice: the first time maps the pages.
std::pair<double, double> read_twice(const std::filesystem::path& path, std::uint64_t wanted) {
  const Snapshot snapshot = Store::open(path).snapshot("main");
  const double first = read_all(snapshot, wanted);
  return {first, read_all(snapshot, wanted)};
}

void stitched(const std::vector<std::string>& arguments) {
  const std::filesystem::path directory = arguments[0];
  Memory memory = Memory::filled(std::stoull(arguments[1]), 9);
  const Draft draft = draft_of(memory.bytes(), 1);
  Store store = fresh_store(directory / "stitched.tenon", Durability::relaxed);
  store.commit(draft);
  const std::uint64_t granules = memory.bytes().size() / granule;
  for (std::uint64_t i = 0; i < granules; i += 50) memory.bytes()[i * granule] ^= std::byte{1};
  const CommitResult result = store.commit(draft);
  if (result.written_bytes != (granules + 49) / 50 * granule) throw std::runtime_error("nothing was stitched");
  fresh_store(directory / "plain.tenon", Durability::relaxed).commit(draft);
  const std::uint64_t wanted = sum_words(memory.bytes());
  for (auto left = std::stoul(arguments[2]); left > 0; --left) {
    const auto [plain_first, plain] = read_twice(directory / "plain.tenon", wanted);
    const auto [stitched_first, stitched_after] = read_twice(directory / "stitched.tenon", wanted);
    print_figures({{"plain_first", plain_first},
                   {"plain", plain},
                   {"stitched_first", stitched_first},
                   {"stitched", stitched_after}});
  }
  std::filesystem::remove_all(directory / "plain.tenon");
  std::filesystem::remove_all(directory / "stitched.tenon");
}

}  // namespace
}  // namespace tenon::bench

int main(int argc, char** argv) {
  return tenon::bench::run_command(argc, argv,
                                   {{"touch", {"DIRECTORY", "BYTES", "TENSORS", "ROUNDS"}, tenon::bench::touch},
                                    {"chain", {"STORE", "COMMITS", "BYTES", "TENSORS"}, tenon::bench::chain},
                                    {"step", {"FILE", "NUMBER", "BYTES"}, tenon::bench::step},
                                    {"stitched", {"DIRECTORY", "BYTES", "ROUNDS"}, tenon::bench::stitched}});
}
