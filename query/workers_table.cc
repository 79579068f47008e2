// workers: processes of this machine that have the store mapped, and what that costs.
#include <sys/stat.h>

#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>

#include "query/list_cursor.h"
#include "query/tables.h"

namespace tenon {

namespace {

enum WorkerColumn { pid, name, mapped_bytes, rss_bytes, pss_bytes, private_bytes, segment_count };

constexpr std::array<Column, 7> columns_of_table = {{
    {"pid", "INTEGER", "process id, as seen from here"},
    {"name", "TEXT", "of the program"},
    {"mapped_bytes", "INTEGER", "of the store's files that it has mapped"},
    {"rss_bytes", "INTEGER", "of these, in memory"},
    {"pss_bytes", "INTEGER", "of these, its share: what several processes have in memory is divided among them"},
    {"private_bytes", "INTEGER", "of these, its own: what it wrote to"},
    {"segment_count", "INTEGER", "files of the store that it has mapped"},
}};

struct WorkerRow {
  std::int64_t pid = 0;
  std::string name;
  std::uint64_t mapped = 0;
  std::uint64_t rss = 0;
  std::uint64_t pss = 0;
  std::uint64_t dirty = 0;
  std::map<std::uint64_t, bool> segments;  // inodes
};

using FileNames = std::map<std::uint64_t, std::string>;  // of the store, by inode

FileNames files_of(const StoreState& store) {
  FileNames files;
  const auto add = [&](const std::filesystem::path& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) == 0) files[status.st_ino] = path.filename().string();
  };
  if (store.is_bundle()) {
    add(store.path());
    return files;
  }
  for (const std::string& name : list_directory(store.paths().segments())) add(store.paths().segments() / name);
  return files;
}

// "7f12-7f34 r--s 00000000 fd:01 1234 /path": whose mapping begins here. A path alone could be another container's.
std::optional<std::uint64_t> mapped_inode(const std::string& line, const FileNames& files) {
  std::istringstream in(line);
  std::string range, permissions, offset, device;
  std::uint64_t inode = 0;
  if (!(in >> range >> permissions >> offset >> device >> inode)) return std::nullopt;
  const auto found = files.find(inode);
  const bool is_ours = found != files.end() && line.find("/" + found->second) != std::string::npos;
  return is_ours ? std::optional(inode) : std::nullopt;
}

void add_field(const std::string& line, WorkerRow& row) {
  const std::size_t colon = line.find(':');
  const std::string_view key = std::string_view(line).substr(0, colon);
  const std::size_t digits = line.find_first_of("0123456789", colon);
  std::uint64_t kib = 0;
  if (digits == std::string::npos) return;
  std::from_chars(line.data() + digits, line.data() + line.size(), kib);
  const std::uint64_t bytes = kib * 1024;
  if (key == "Size") row.mapped += bytes;
  if (key == "Rss") row.rss += bytes;
  if (key == "Pss") row.pss += bytes;
  if (key == "Anonymous") row.dirty += bytes;
}

// nullopt for a process that maps nothing of the store, that may not be looked at, or that has ended.
std::optional<WorkerRow> look_at(const std::filesystem::path& process, const FileNames& files) {
  WorkerRow row;
  const std::string digits = process.filename().string();
  if (std::from_chars(digits.data(), digits.data() + digits.size(), row.pid).ec != std::errc()) return std::nullopt;
  std::ifstream maps(process / "smaps");
  bool is_inside = false;
  for (std::string line; std::getline(maps, line);) {
    const bool is_heading = !line.empty() && line.find(' ') < line.find(':');
    if (is_heading) {
      const auto inode = mapped_inode(line, files);
      is_inside = inode.has_value();
      if (inode) row.segments[*inode] = true;
    } else if (is_inside) {
      add_field(line, row);
    }
  }
  if (row.segments.empty()) return std::nullopt;
  std::ifstream(process / "comm") >> row.name;
  return row;
}

class WorkersCursor : public ListCursor<WorkerRow> {
 public:
  using ListCursor::ListCursor;
  Cell column(int index) override {
    switch (index) {
      case pid:
        return row().pid;
      case name:
        return std::string_view(row().name);
      case mapped_bytes:
        return cell_of(row().mapped);
      case rss_bytes:
        return cell_of(row().rss);
      case pss_bytes:
        return cell_of(row().pss);
      case private_bytes:
        return cell_of(row().dirty);
      default:
        return static_cast<std::int64_t>(row().segments.size());
    }
  }
  RowKey key() const override { return {.number = static_cast<std::uint64_t>(row().pid)}; }

 private:
  std::vector<WorkerRow> list(std::span<const Bound>) override {
    const FileNames files = files_of(*StoreState::of(session_.store()));
    std::vector<WorkerRow> rows;
    std::error_code gone;
    for (std::filesystem::directory_iterator it("/proc", gone), end; !gone && it != end; it.increment(gone)) {
      session_.poll();
      const std::string name = it->path().filename().string();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      if (auto row = look_at(it->path(), files)) rows.push_back(std::move(*row));
    }
    return rows;
  }
};

class WorkersTable : public Table {
 public:
  std::string_view name() const override { return "workers"; }
  std::string_view about() const override {
    return "processes that have the store mapped, as far as they may be looked at";
  }
  std::span<const Column> columns() const override { return columns_of_table; }
  void estimate(Plan& plan, std::span<const Ordering>, SessionState&) const override {
    plan.rows = 10;
    plan.cost = 10000;
  }
  std::unique_ptr<Cursor> open(SessionState& session) const override {
    return std::make_unique<WorkersCursor>(session);
  }
};

}  // namespace

const Table& workers_table() {
  static const WorkersTable table;
  return table;
}

}  // namespace tenon
