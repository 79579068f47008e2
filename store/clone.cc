#include "store/clone.h"

#include <sys/stat.h>

#include <cerrno>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "store/failpoint.h"
#include "store/gc.h"
#include "store/journal.h"
#include "store/repair.h"
#include "store/sparse_copy.h"
#include "store/verify.h"

namespace tenon {

namespace {

// Files that are held open at once, and rounds beside writers until there are no more than these to copy.
constexpr std::size_t files_held_max = 16;
constexpr int rounds_max = 8;

class Cloner {
 public:
  Cloner(const StoreState& store, const std::filesystem::path& out)
      : store_(store), target_(without_end_slash(std::filesystem::absolute(out).lexically_normal())) {}

  CloneReport run() {
    require_sources();
    Digest random;
    random_bytes(std::as_writable_bytes(std::span(&random, 1)));
    building_.root =
        target_.parent_path() / (target_.filename().string() + "." + to_hex(random).substr(0, 16) + ".tmp");
    make_directory(building_.root);
    try {
      build();
      rename_file(building_.root, target_, true);
    } catch (...) {
      std::error_code ignored;  // the first error is the one to tell
      std::filesystem::remove_all(building_.root, ignored);
      throw;
    }
    if (store_.is_durable()) sync_directory(target_.parent_path());
    return report_;
  }

 private:
  static std::filesystem::path without_end_slash(const std::filesystem::path& path) {
    return path.has_filename() ? path : path.parent_path();
  }

  void require_sources() const {
    store_.require_same_process();
    if (store_.is_bundle()) {
      throw Error(ErrorKind::unsupported,
                  {.what = "a bundle is one file", .file = store_.path().string(), .hint = "copy it"});
    }
    if (file_exists(target_)) {
      throw Error(ErrorKind::conflict,
                  {.what = "something is there already", .file = target_.string(), .hint = "choose another path"});
    }
  }

  void build() {
    make_directory(building_.segments());
    make_directory(building_.heads());
    for (int round = 0; round < rounds_max && copy_segments() > files_held_max; ++round) continue;
    // What came or was replaced since, and is held open, is copied beside writers, too: gc may unlink it.
    std::vector<File> rest;
    {
      const CatalogReader lock = store_.catalog().read();
      rest = segments_to_copy(lock.root().sequence);
      copy_small(store_.paths().root / superblock_name, building_.root / superblock_name, UINT64_MAX);
      copy_small(store_.paths().journal(), building_.journal(), lock.root().journal_bytes);
    }
    failpoint("clone.copying_rest");
    for (const File& file : rest) copy_segment(file);
    require_whole_journal();
    report_.snapshots = repair_store(building_.root).snapshots;
    require_whole();
    make_ballast(building_);
    if (store_.is_durable()) sync_directory(building_.segments());
    if (store_.is_durable()) sync_directory(building_.root);
  }

  // Makes the copy have what the store has, one file open at a time. Returns how many were copied.
  std::size_t copy_segments() {
    std::size_t count = 0;
    for (const std::string& name : list_directory(store_.paths().segments())) {
      if (!parse_segment_file_name(name)) continue;
      const auto file = File::try_open(store_.paths().segments() / name);
      if (!file || is_copied(name, *file)) continue;  // or gc was faster
      copy_segment(*file);
      ++count;
    }
    return count;
  }

  // REQUIRES: writers are held off. What the store no longer has is removed.
  std::vector<File> segments_to_copy(std::uint64_t newest) {
    std::vector<File> files;
    std::set<std::string> present;
    for (const std::string& name : list_directory(store_.paths().segments())) {
      const auto sequence = parse_segment_file_name(name);
      if (!sequence || *sequence > newest) continue;
      present.insert(name);
      File file = File::open(store_.paths().segments() / name);
      if (!is_copied(name, file)) files.push_back(std::move(file));
    }
    for (const auto& [name, identity] : copied_) {
      if (!present.contains(name)) remove_file(building_.segments() / name);
    }
    return files;
  }

  bool is_copied(const std::string& name, const File& file) const {
    const auto copied = copied_.find(name);
    return copied != copied_.end() && copied->second == identity_of(file);
  }

  // An inode's number may be given again; the time of its last change tells.
  using Identity = std::pair<ino_t, std::int64_t>;
  static Identity identity_of(const File& file) {
    struct stat status {};
    if (::fstat(file.descriptor(), &status) != 0) throw_errno(errno, "cannot look at", file.path());
    return {status.st_ino, status.st_ctim.tv_sec * std::int64_t{1'000'000'000} + status.st_ctim.tv_nsec};
  }

  void copy_segment(const File& from) {
    const std::string name = from.path().filename().string();
    const auto path = building_.segments() / name;
    copied_[name] = identity_of(from);
    remove_file(path);
    const auto segment = Segment::open(from);
    File to = File::create(path);
    copy_segment_bytes(*segment, from, to);
    to.make_read_only();
    if (store_.is_durable()) to.sync();
    ++report_.segments;
    report_.copied_bytes += occupied_bytes(*segment);
  }

  void copy_small(const std::filesystem::path& from, const std::filesystem::path& to, std::uint64_t size) const {
    std::vector<std::byte> bytes = read_file(from, UINT64_MAX);
    if (bytes.size() > size) bytes.resize(size);
    File file = File::create(to);
    file.write_at(0, bytes);
    if (store_.is_durable()) file.sync();
  }

  // Repair would go on with what is left of it, and the copy lack the rest without a word.
  void require_whole_journal() const {
    const auto damaged_at = read_journal(building_.journal(), store_.store_id()).damaged_at;
    if (!damaged_at) return;
    throw Error(ErrorKind::corrupt, {.what = "the journal is damaged",
                                     .file = store_.paths().journal().string(),
                                     .offset = damaged_at,
                                     .hint = "run `tenon repair`"});
  }

  void require_whole() const {
    const VerifyReport report = verify_store(building_.root, {.read_data = true});
    if (report.damage.empty()) return;
    const Damage& first = report.damage.front();
    throw Error(ErrorKind::corrupt,
                {.what = "the copy is damaged, as the store is or because of the disk: " + first.what,
                 .file = (store_.paths().segments() / std::filesystem::path(first.file).filename()).string(),
                 .offset = first.offset,
                 .hint = "`tenon verify --read-data` lists all damage of the store"});
  }

  const StoreState& store_;
  std::filesystem::path target_;
  StorePaths building_;
  std::map<std::string, Identity> copied_;
  CloneReport report_;
};

}  // namespace

CloneReport clone_store(const StoreState& store, const std::filesystem::path& out) { return Cloner(store, out).run(); }

}  // namespace tenon
