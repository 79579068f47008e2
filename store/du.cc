#include "store/du.h"

#include <sys/stat.h>

#include <algorithm>
#include <set>

#include "store/marks.h"
#include "store/sparse_copy.h"

namespace tenon {

namespace {

// libstdc++'s recursive iterator ends the process where memory runs out.
std::uint64_t tree_bytes(const std::filesystem::path& root) {
  std::uint64_t bytes = 0;
  for (const std::string& name : list_directory(root)) {
    const auto path = root / name;
    const auto type = std::filesystem::symlink_status(path).type();
    if (type == std::filesystem::file_type::directory) bytes += tree_bytes(path);
    if (type == std::filesystem::file_type::regular) bytes += blocks_of(path);
  }
  return bytes;
}

class UsageMeter {
 public:
  explicit UsageMeter(const StoreState& store) : store_(store), marks_(store) {}

  DiskUsage run() {
    const auto remaining = remaining_snapshots(store_);
    std::unordered_map<std::uint64_t, std::uint32_t> own;  // segment -> the remaining snapshot that it holds
    visit_snapshots(store_, remaining, [&](const SnapshotRow& row, const Record& record) {
      own[row.holder.sequence] = marks_.add(row, record);
      usage_.snapshots.push_back({record.info, 0});
    });
    count_forgotten();
    for (const std::string& name : list_directory(store_.paths().segments())) {
      const auto sequence = parse_segment_file_name(name);
      if (!sequence) continue;
      const auto found = own.find(*sequence);
      measure(*sequence, found == own.end() ? std::nullopt : std::optional(found->second));
    }
    usage_.total_bytes = tree_bytes(store_.path());
    std::reverse(usage_.snapshots.begin(), usage_.snapshots.end());
    return std::move(usage_);
  }

 private:
  void count_forgotten() {
    const CatalogReader reader = store_.catalog().read();
    for (const auto& [id, row] : reader.forgotten()) usage_.forgotten += reader.has_snapshot(id) ? 1 : 0;
  }

  void measure(std::uint64_t sequence, std::optional<std::uint32_t> own) {
    const auto path = store_.paths().segment_directory().file_of(sequence);
    if (!file_exists(path)) return;  // gc was faster
    const auto segment = Segment::open(path);
    usage_.segment_bytes += occupied_bytes(*segment);
    if (own) {
      usage_.snapshots[*own].freed_bytes += gain_of_taking(*segment, marks_.kept(sequence, *own));
      return;
    }
    const std::uint64_t gain_now = gain_of_taking(*segment, marks_.kept(sequence));
    usage_.reclaimable_bytes += gain_now;
    for (const std::uint32_t snapshot : sole_users(sequence)) {
      usage_.snapshots[snapshot].freed_bytes += gain_of_taking(*segment, marks_.kept(sequence, snapshot)) - gain_now;
    }
  }

  std::set<std::uint32_t> sole_users(std::uint64_t sequence) const {
    std::set<std::uint32_t> sole;
    const auto found = marks_.segments().find(sequence);
    if (found == marks_.segments().end()) return sole;
    const auto note = [&](const Users& users) {
      if (users.count == 1) sole.insert(users.sole);
    };
    note(found->second.layout);
    note(found->second.structure);
    for (const auto& [offset, parts] : found->second.extents) {
      for (const SegmentUse::Part& part : parts) note(part.users);
    }
    return sole;
  }

  const StoreState& store_;
  Marks marks_;
  DiskUsage usage_;
};

}  // namespace

DiskUsage disk_usage(const StoreState& store) { return UsageMeter(store).run(); }

std::uint64_t blocks_of(const std::filesystem::path& path) {
  struct stat status {};
  constexpr std::uint64_t stat_block = 512;
  return ::lstat(path.c_str(), &status) == 0 ? static_cast<std::uint64_t>(status.st_blocks) * stat_block : 0;
}

}  // namespace tenon
