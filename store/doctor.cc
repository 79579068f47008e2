#include "tenon/doctor.h"

#include <fmt/format.h>

#include "mmap/advice.h"
#include "mmap/lock.h"
#include "mmap/machine.h"
#include "mmap/mapping.h"
#include "store/store_state.h"

namespace tenon {

namespace {

constexpr std::uint64_t mib = 1 << 20;
constexpr std::uint64_t free_bytes_low = 256 * mib;
// A snapshot maps one file for each commit that it draws on, and up to 8,192 stitched pieces.
constexpr std::uint64_t open_files_low = 1024;
constexpr std::uint64_t mappings_low = 65'530;  // the kernel's own choice

std::string number(std::uint64_t value) { return value == UINT64_MAX ? "no limit" : fmt::format("{}", value); }
std::string size(std::uint64_t bytes) {
  if (bytes == UINT64_MAX) return "no limit";
  return bytes < mib ? fmt::format("{} KiB", bytes / 1024) : fmt::format("{} MiB", bytes / mib);
}

class Examination {
 public:
  explicit Examination(const std::filesystem::path& path) : path_(path) {}

  std::vector<Finding> run() {
    if (!file_exists(path_)) {
      throw Error(ErrorKind::not_found, {.what = "nothing to examine", .file = path_.string()});
    }
    look_at_file_system();
    look_at_limits();
    look_at_pages();
    if (std::filesystem::is_directory(path_) && file_exists(path_ / superblock_name)) look_at_store();
    return std::move(findings_);
  }

 private:
  void add(std::string topic, Verdict verdict, std::string what, std::string hint = {}) {
    findings_.push_back({std::move(topic), verdict, std::move(what), verdict == Verdict::good ? "" : std::move(hint)});
  }

  void look_at_file_system() {
    const auto found = file_system_of(path_);
    if (!found) return add("file system", Verdict::warning, "cannot be asked");
    if (found->is_network) {
      add("file system", Verdict::warning, found->kind + ", over the network",
          "heads and bundles are read; writing is refused: keep the store on a local disk");
    } else {
      add("file system", found->is_read_only ? Verdict::note : Verdict::good,
          found->kind + (found->is_read_only ? ", read-only" : ""), "snapshots can be read, and followed by looking");
    }
    add("free space", found->free_bytes < free_bytes_low ? Verdict::warning : Verdict::good, size(found->free_bytes),
        "forget and gc give space back, on a full disk too");
  }

  void look_at_limits() {
    const Limit files = open_files_limit();
    add("open files", files.soft < open_files_low ? Verdict::note : Verdict::good, number(files.soft),
        "`ulimit -n` raises it up to " + number(files.hard));
    const auto mappings = number_in("/proc/sys/vm/max_map_count");
    if (mappings) {
      add("mappings", *mappings < mappings_low ? Verdict::note : Verdict::good, number(*mappings) + " for one process",
          "stitched slots are copied where there are too few: sysctl vm.max_map_count");
    }
    const Limit locked = locked_memory_limit();
    add("locked memory", locked.soft < free_bytes_low ? Verdict::note : Verdict::good, size(locked.soft),
        "lock_on_fault needs as much as the snapshot: `ulimit -l`");
  }

  void look_at_pages() {
    add("page size", Verdict::good, fmt::format("{} KiB", page_bytes() / 1024));
    add("prefault", can_populate_read() ? Verdict::good : Verdict::note,
        can_populate_read() ? "in one call (MADV_POPULATE_READ)" : "page by page", "the call came with Linux 5.14");
    const std::string huge = choice_in("/sys/kernel/mm/transparent_hugepage/enabled");
    const std::string shared = choice_in("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
    const bool has_huge = !huge.empty() && huge != "never";
    add("huge pages", has_huge ? Verdict::good : Verdict::note,
        fmt::format("memory: {}; tmpfs: {}", huge.empty() ? "none" : huge, shared.empty() ? "none" : shared),
        "mode copy and tmpfs gain by them: /sys/kernel/mm/transparent_hugepage");
    const unsigned nodes = numa_nodes();
    add("NUMA", Verdict::good, nodes == 1 ? "one node" : fmt::format("{} nodes: numa_interleave spreads pages", nodes));
  }

  void look_at_store() {
    const auto state = StoreState::open(path_);
    const auto region = state->live().region();
    if (!region) {
      add("live region", Verdict::good, "none yet: the first that follows a ref makes it");
    } else {
      add("live region", region->is_writable() ? Verdict::good : Verdict::note,
          fmt::format("{} of {} slots taken{}", region->processes().size(), LiveRegion::slot_count,
                      region->is_writable() ? "" : ", read-only here"),
          "this process follows refs, but does not show in `tenon ps`");
    }
    look_at_locks(*state);
    look_at_temporaries(*state);
  }

  void look_at_locks(const StoreState& state) {
    const auto file = File::try_open(state.paths().catalog() / "lock");
    if (!file) return add("catalog lock", Verdict::warning, "is not there", "run `tenon repair`");
    const bool is_held = FileLock::is_locked(*file);
    add("catalog lock", is_held ? Verdict::note : Verdict::good, is_held ? "held by a writer just now" : "free",
        "if it stays so, a writer is stopped: commits and history wait for it");
  }

  void look_at_temporaries(const StoreState& state) {
    std::uint64_t count = 0, bytes = 0;
    for (const std::string& name : list_directory(state.paths().segments())) {
      if (!name.ends_with(".tmp")) continue;
      const auto file = File::try_open(state.paths().segments() / name);
      if (!file || FileLock::is_locked(*file)) continue;  // its writer lives
      ++count;
      bytes += file->size_bytes();
    }
    add("left by killed writers", count == 0 ? Verdict::good : Verdict::note,
        count == 0 ? "nothing" : fmt::format("{} files, {}", count, size(bytes)),
        "a commit removes them after a minute");
  }

  std::filesystem::path path_;
  std::vector<Finding> findings_;
};

}  // namespace

std::vector<Finding> examine(const std::filesystem::path& path) { return Examination(path).run(); }

}  // namespace tenon
