#include "store/mend.h"

#include <algorithm>
#include <map>
#include <optional>

#include "mmap/lock.h"
#include "store/live_ranges.h"
#include "store/sparse_copy.h"
#include "store/storage_check.h"

namespace tenon {

namespace {

using format::StorageEntry;

constexpr std::uint64_t piece_bytes = 16 * leaf_bytes;

bool tells_damage(const Error& error) {
  return error.kind() == ErrorKind::corrupt || error.kind() == ErrorKind::not_found;
}

// Whole as far as its tables tell, else null.
std::shared_ptr<const Segment> try_read(const File& file) {
  try {
    auto segment = Segment::read(file);
    for (std::uint32_t i = 0; i < segment->footer().section_count; ++i)
      segment->section(static_cast<format::SectionKind>(segment->footer().sections[i].kind));
    segment->storages();
    return segment;
  } catch (const Error& error) {
    if (!tells_damage(error)) throw;
    return nullptr;
  }
}

// A storage of the other store.
struct Place {
  std::filesystem::path path;
  StorageEntry entry;
};

// Every storage of a store, by key.
class Donor {
 public:
  explicit Donor(const std::filesystem::path& path) {
    if (std::filesystem::is_regular_file(path)) {
      add(path);
      return;
    }
    segments_ = StorePaths{std::filesystem::absolute(path)}.segments();
    if (!std::filesystem::is_directory(segments_)) {
      throw Error(ErrorKind::no_store, {.what = "no store to take storages from", .file = path.string()});
    }
    for (const std::string& name : list_directory(segments_)) {
      if (parse_segment_file_name(name)) add(segments_ / name);
    }
  }

  // The file of that name, nullopt if there is none.
  std::optional<File> segment_file(const std::string& name) const {
    if (segments_.empty()) return std::nullopt;
    return File::try_open(segments_ / name);
  }

  // Where bytes are that have this key, checked; nullopt if there are none.
  std::optional<Place> find(const Digest& key, std::uint64_t nbytes) const {
    const auto [begin, end] = places_.equal_range(key);
    for (auto at = begin; at != end; ++at) {
      const Place& place = at->second;
      if (place.entry.nbytes != nbytes) continue;
      const auto file = File::try_open(place.path);
      const auto segment = file ? try_read(*file) : nullptr;
      if (segment && condition_of_storage(*segment, *file, place.entry) == StorageCondition::whole) return place;
    }
    return std::nullopt;
  }

 private:
  // What is damaged there is of no use.
  void add(const std::filesystem::path& path) {
    const auto file = File::try_open(path);
    const auto segment = file ? try_read(*file) : nullptr;
    if (!segment) return;
    for (const StorageEntry& entry : segment->storages()) {
      if (entry.nbytes != 0) places_.emplace(entry.key, Place{path, entry});
    }
  }

  std::filesystem::path segments_;
  std::multimap<Digest, Place> places_;
};

// A whole file, or its parts that are no holes, under a temporary name, but for `left_out`; then `change` to it, then
// renamed over `path`.
void replace_segment(const File& from, const Segment& source, const std::filesystem::path& path, bool durable,
                     std::vector<format::LiveRange> left_out, const std::function<void(File&)>& change) {
  Digest random;
  random_bytes(std::as_writable_bytes(std::span(&random, 1)));
  File to = File::create(path.parent_path() / (to_hex(random) + ".tmp"));
  try {
    FileLock::hold(to);  // or a sweep takes it for a dead writer's
    copy_segment_bytes(source, from, to, LiveRanges::merged(std::move(left_out)));
    change(to);
    to.make_read_only();
    if (durable) to.sync();
    rename_file(to.path(), path);
    if (durable) sync_directory(path.parent_path());
  } catch (...) {
    remove_file(to.path());
    throw;
  }
}

class Mender {
 public:
  Mender(const StorePaths& paths, const Digest& store_id, bool durable, const std::filesystem::path& other)
      : paths_(paths), store_id_(store_id), is_durable_(durable), donor_(other) {}

  MendReport run() {
    for (const std::string& name : list_directory(paths_.segments())) {
      if (parse_segment_file_name(name)) mend(paths_.segments() / name);
    }
    return std::move(report_);
  }

 private:
  void mend(const std::filesystem::path& path) {
    const File file = File::open(path);
    if (const auto segment = try_read(file)) return mend_storages(file, *segment);
    const std::string name = path.filename().string();
    const auto other = donor_.segment_file(name);
    const auto whole = other ? try_read(*other) : nullptr;
    if (!whole || whole->footer().store_id != store_id_) return;
    try {
      replace_segment(*other, *whole, path, is_durable_, {}, [](File&) {});
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::io || error.facts().file != other->path()) throw;
      report_.left.push_back("segment " + name + ": the other store's cannot be read, either");
      return;
    }
    report_.mended.push_back("segment " + name);
    const File mended = File::open(path);
    mend_storages(mended, *Segment::read(mended));
  }

  struct Patch {
    StorageEntry entry;
    Place from;
  };

  void mend_storages(const File& file, const Segment& segment) {
    const std::string name = segment.path().filename().string();
    std::vector<Patch> patches;
    bool is_readable = true;
    for (const StorageEntry& entry : segment.storages()) {
      const StorageCondition condition = condition_of_storage(segment, file, entry);
      if (condition == StorageCondition::whole) continue;
      if (auto place = donor_.find(entry.key, entry.nbytes)) {
        patches.push_back({entry, std::move(*place)});
      } else if (condition == StorageCondition::unreadable) {
        is_readable = false;
        report_.left.push_back("storage at offset " + std::to_string(entry.offset) + " of " + name +
                               " cannot be read, and the other store has none like it");
      }
    }
    if (patches.empty()) return;
    if (!is_readable) {
      report_.left.push_back("segment " + name + " is left as it is: it cannot be copied");
      return;
    }
    apply(file, segment, patches);
    for (const Patch& patch : patches)
      report_.mended.push_back("storage at offset " + std::to_string(patch.entry.offset) + " of " + name);
  }

  void apply(const File& file, const Segment& segment, const std::vector<Patch>& patches) const {
    std::vector<format::LiveRange> left_out;
    for (const Patch& patch : patches) left_out.push_back({patch.entry.offset, patch.entry.nbytes});
    replace_segment(file, segment, segment.path(), is_durable_, std::move(left_out), [&](File& copy) {
      for (const Patch& patch : patches) write_patch(patch, copy);
    });
  }

  // Digested as written: the other store may change meanwhile.
  static void write_patch(const Patch& patch, File& copy) {
    const File from = File::open(patch.from.path);
    std::vector<Digest> leaves;
    std::vector<std::byte> buffer(std::min(piece_bytes, patch.entry.nbytes));
    for (std::uint64_t at = 0; at < patch.entry.nbytes; at += piece_bytes) {
      const auto piece = std::span(buffer).first(std::min(piece_bytes, patch.entry.nbytes - at));
      from.read_at(patch.from.entry.offset + at, piece);
      for (std::uint64_t leaf = 0; leaf < piece.size(); leaf += leaf_bytes)
        leaves.push_back(digest_bytes(piece.subspan(leaf, std::min<std::uint64_t>(leaf_bytes, piece.size() - leaf))));
      copy.write_at(patch.entry.offset + at, piece);
    }
    if (combine_leaves(leaves, patch.entry.nbytes) == patch.entry.key) return;
    throw Error(ErrorKind::corrupt, {.what = "the other store has changed while it was read",
                                     .file = from.path().string(),
                                     .offset = patch.from.entry.offset,
                                     .hint = "run repair again"});
  }

  const StorePaths& paths_;
  const Digest& store_id_;
  bool is_durable_;
  Donor donor_;
  MendReport report_;
};

}  // namespace

MendReport mend_segments(const StorePaths& paths, const Digest& store_id, bool durable,
                         const std::filesystem::path& other) {
  return Mender(paths, store_id, durable, other).run();
}

}  // namespace tenon
