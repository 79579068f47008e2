#include "store/mend.h"
#include "mmap/lock.h"

#include <map>

#include "store/sparse_copy.h"
#include "store/storage_check.h"

namespace tenon {

namespace {

using format::StorageEntry;

bool tells_damage(const Error& error) {
  return error.kind() == ErrorKind::corrupt || error.kind() == ErrorKind::not_found;
}

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

  // The segment of that name, whole as far as its tables tell; null if there is none.
  std::shared_ptr<const Segment> segment(const std::string& name) const {
    if (segments_.empty()) return nullptr;
    try {
      auto segment = Segment::open(segments_ / name);
      for (std::uint32_t i = 0; i < segment->footer().section_count; ++i)
        segment->section(static_cast<format::SectionKind>(segment->footer().sections[i].kind));
      segment->storages();
      return segment;
    } catch (const Error& error) {
      if (!tells_damage(error)) throw;
      return nullptr;
    }
  }

  // Bytes that have this key, checked; nullopt if there are none.
  std::optional<std::vector<std::byte>> bytes_of(const Digest& key, std::uint64_t nbytes) const {
    const auto [begin, end] = places_.equal_range(key);
    for (auto at = begin; at != end; ++at) {
      const auto& [segment, entry] = at->second;
      const File file = File::open(segment->path());
      if (entry.nbytes != nbytes || !is_storage_whole(*segment, file, entry)) continue;
      std::vector<std::byte> bytes(nbytes);
      file.read_at(entry.offset, bytes);
      if (digest_storage(bytes) == key) return bytes;
    }
    return std::nullopt;
  }

 private:
  void add(const std::filesystem::path& path) {
    try {
      const auto segment = Segment::open(path);
      for (const StorageEntry& entry : segment->storages()) {
        if (entry.nbytes != 0) places_.emplace(entry.key, std::pair(segment, entry));
      }
    } catch (const Error& error) {
      if (!tells_damage(error)) throw;  // what is damaged there is of no use
    }
  }

  std::filesystem::path segments_;
  std::multimap<Digest, std::pair<std::shared_ptr<const Segment>, StorageEntry>> places_;
};

// A whole file, or its parts that are no holes, under a temporary name; then `change` to it, then renamed over `path`.
void replace_segment(const Segment& source, const std::filesystem::path& path, bool durable,
                     const std::function<void(File&)>& change) {
  Digest random;
  random_bytes(std::as_writable_bytes(std::span(&random, 1)));
  const File from = File::open(source.path());
  File to = File::create(path.parent_path() / (to_hex(random) + ".tmp"));
  try {
    FileLock::hold(to);  // or a sweep takes it for a dead writer's
    copy_segment_bytes(source, from, to);
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

  std::vector<std::string> run() {
    for (const std::string& name : list_directory(paths_.segments())) {
      if (parse_segment_file_name(name)) mend(paths_.segments() / name);
    }
    return std::move(mended_);
  }

 private:
  void mend(const std::filesystem::path& path) {
    std::shared_ptr<const Segment> segment;
    try {
      segment = Segment::open(path);
      for (std::uint32_t i = 0; i < segment->footer().section_count; ++i)
        segment->section(static_cast<format::SectionKind>(segment->footer().sections[i].kind));
      segment->storages();
    } catch (const Error& error) {
      if (!tells_damage(error)) throw;
      return mend_whole(path);
    }
    mend_storages(*segment);
  }

  void mend_whole(const std::filesystem::path& path) {
    const auto whole = donor_.segment(path.filename().string());
    if (!whole || whole->footer().store_id != store_id_) return;
    replace_segment(*whole, path, is_durable_, [](File&) {});
    mended_.push_back("segment " + path.filename().string());
    mend_storages(*Segment::open(path));
  }

  void mend_storages(const Segment& segment) {
    std::vector<std::pair<std::uint64_t, std::vector<std::byte>>> good;
    const File file = File::open(segment.path());
    for (const StorageEntry& entry : segment.storages()) {
      if (is_storage_whole(segment, file, entry)) continue;
      if (auto bytes = donor_.bytes_of(entry.key, entry.nbytes)) good.emplace_back(entry.offset, std::move(*bytes));
    }
    if (good.empty()) return;
    replace_segment(segment, segment.path(), is_durable_, [&](File& copy) {
      for (const auto& [offset, bytes] : good) copy.write_at(offset, bytes);
    });
    for (const auto& [offset, bytes] : good)
      mended_.push_back("storage at offset " + std::to_string(offset) + " of " + segment.path().filename().string());
  }

  const StorePaths& paths_;
  const Digest& store_id_;
  bool is_durable_;
  Donor donor_;
  std::vector<std::string> mended_;
};

}  // namespace

std::vector<std::string> mend_segments(const StorePaths& paths, const Digest& store_id, bool durable,
                                       const std::filesystem::path& other) {
  return Mender(paths, store_id, durable, other).run();
}

}  // namespace tenon
