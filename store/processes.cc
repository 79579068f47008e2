#include "store/processes.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <string_view>
#include <utility>

#include "mmap/process_maps.h"

namespace tenon {

namespace {

// The segments of a store: by device and inode, which hold in every mount namespace, or by name, for those that gc has
// removed and file systems whose mappings show another device.
class Segments {
 public:
  explicit Segments(const StorePaths& paths) : prefix_(paths.segments().string() + "/") {
    for (const std::string& name : list_directory(paths.segments())) {
      struct stat status {};
      if (::stat((paths.segments() / name).c_str(), &status) == 0) inodes_.insert({status.st_dev, status.st_ino});
    }
  }
  explicit Segments(const std::filesystem::path& bundle) : prefix_(bundle.string()) {}
  bool operator()(const MappedFile& file) const {
    return inodes_.contains({file.device, file.inode}) || file.path.starts_with(prefix_);
  }

 private:
  std::string prefix_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> inodes_;
};

ProcessMemory memory_of(const MappedMemory& mapped) {
  return {mapped.size_bytes, mapped.resident_bytes, mapped.proportional_bytes, mapped.anonymous_bytes};
}

// What a process says of itself in the live region. Several stores opened in one process have a slot each.
void add_told(StoreProcess& process, const LiveProcess& told) {
  SnapshotId id;
  std::memcpy(&id, told.subject.data(), sizeof id);
  if (!told.name.empty()) process.name = told.name;
  process.ref = told.topic;
  if (id != SnapshotId{}) process.snapshot = id;
  process.attached_at_ns = told.attached_at_ns;
  process.snapshot_bytes += told.mapped_bytes;
  process.inner_pid = told.pid;
}

// Whether `told` is the process `pid` as this process sees it. Of one whose namespace may not be known here, the number
// says something only if it is of the namespace that we are in ourselves.
bool is_process(const LiveProcess& told, std::uint32_t pid, const ProcessIdentity& identity,
                std::uint64_t own_namespace) {
  if (identity.pid_namespace != 0) {
    return identity.pid_namespace == told.pid_namespace && identity.inner_pid == told.pid;
  }
  return told.pid_namespace == own_namespace && told.pid == pid && identity.inner_pid == pid;
}

}  // namespace

std::vector<StoreProcess> find_processes(StoreState& store) {
  const Segments segments = store.is_bundle() ? Segments(store.path()) : Segments(store.paths());
  const auto region = store.live().region();
  std::vector<LiveProcess> told = region ? region->processes() : std::vector<LiveProcess>{};
  const std::uint64_t own_namespace = this_process().pid_namespace;
  std::vector<StoreProcess> found;
  for (const std::uint32_t pid : visible_processes()) {
    const auto identity = process_identity(pid);
    if (!identity) continue;
    const auto memory = mapped_memory(pid, segments);
    StoreProcess process{.pid = pid, .inner_pid = identity->inner_pid, .name = identity->name};
    const auto of_it = std::partition(told.begin(), told.end(), [&](const LiveProcess& one) {
      return !is_process(one, pid, *identity, own_namespace);
    });
    for (auto one = of_it; one != told.end(); ++one) add_told(process, *one);
    const bool is_told = of_it != told.end();
    told.erase(of_it, told.end());
    if (!memory && !is_told) continue;
    if (memory) process.memory = memory_of(*memory);
    found.push_back(std::move(process));
  }
  for (const LiveProcess& one : told) add_told(found.emplace_back(), one);
  return found;
}

}  // namespace tenon
