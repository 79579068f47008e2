#include "formats/sharded_reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "formats/flat_draft.h"
#include "formats/json_events.h"
#include "formats/recognition.h"
#include "tenon/error.h"
#include "tenon/name.h"

namespace tenon {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view index_ending = ".index.json";
constexpr std::uint64_t max_index_bytes = std::uint64_t{256} << 20;
constexpr std::size_t max_depth = 16;
constexpr std::size_t max_token_bytes = std::size_t{64} << 10;
constexpr std::size_t max_shards = 10'000;
// What an entry takes in memory, and what is free for entries whatever the index's size. See flat_draft.cc.
constexpr std::uint64_t entry_memory_bytes = 256;
constexpr std::uint64_t free_memory_bytes = std::uint64_t{32} << 20;

struct IndexEntry {
  std::string name;
  std::uint32_t shard = 0;
  bool is_found = false;
};

struct Index {
  std::vector<IndexEntry> entries;  // sorted by name
  std::vector<std::string> shards;  // in the order in which they are first named
};

// Takes the weight_map and passes over everything else.
class IndexReader : public JsonEvents {
 public:
  IndexReader(const std::string& file, std::uint64_t index_bytes)
      : file_(file), entries_max_((free_memory_bytes + index_bytes) / entry_memory_bytes) {}

  void begin_object() override {
    ++depth_;
    if (depth_ == 2 && is_map_) {
      if (has_map_) fail(ErrorKind::corrupt, "index has its weight_map twice");
      has_map_ = true;
    } else if (is_map_) {
      refuse_value("an object");
    }
  }
  void end_object() override { --depth_; }
  void begin_array() override {
    if (is_map_) refuse_value("an array");
    ++depth_;
  }
  void end_array() override { --depth_; }
  void key(std::string_view text) override {
    if (depth_ == 1) is_map_ = text == "weight_map";
    key_ = text;
  }
  void string(std::string_view text) override {
    if (!is_map_) return;
    if (depth_ != 2) refuse_value("a string");
    add(text);
  }
  void integer(std::uint64_t) override { other("a number"); }
  void other(std::string_view what) override {
    if (is_map_) refuse_value(what);
  }

  Index finish();

 private:
  void add(std::string_view shard);
  std::uint32_t shard_of(std::string_view name);
  [[noreturn]] void fail(ErrorKind kind, std::string what, std::string got = {}, std::string wanted = {}) const {
    throw Error(
        kind,
        {.what = std::move(what), .file = file_, .offset = offset, .got = std::move(got), .wanted = std::move(wanted)});
  }
  [[noreturn]] void refuse_value(std::string_view what) const {
    fail(ErrorKind::corrupt, "malformed weight_map", std::string(what), "the name of a file for each tensor");
  }

  const std::string& file_;
  std::uint64_t entries_max_;
  std::size_t depth_ = 0;
  bool is_map_ = false;  // the member of the index that is being read is its weight_map
  bool has_map_ = false;
  std::string key_;
  Index index_;
  std::unordered_map<std::string, std::uint32_t> shard_ids_;
};

void IndexReader::add(std::string_view shard) {
  if (index_.entries.size() >= entries_max_) {
    fail(ErrorKind::limit, "index names more tensors than its size accounts for", {},
         fmt::format("at most {}", entries_max_));
  }
  index_.entries.push_back({.name = key_, .shard = shard_of(shard)});
}

std::uint32_t IndexReader::shard_of(std::string_view name) {
  const auto next = static_cast<std::uint32_t>(index_.shards.size());
  const auto [entry, is_new] = shard_ids_.try_emplace(std::string(name), next);
  if (!is_new) return entry->second;
  const bool is_plain = !name.empty() && name != "." && name != ".." && name.find('/') == name.npos &&
                        name.find('\\') == name.npos && name.find('\0') == name.npos;
  if (!is_plain) {
    fail(ErrorKind::unsupported, "index names a file that is not beside it", printable(name.substr(0, 200)));
  }
  if (next == max_shards)
    fail(ErrorKind::limit, "index names too many files", {}, fmt::format("at most {}", max_shards));
  index_.shards.emplace_back(name);
  return next;
}

Index IndexReader::finish() {
  if (!has_map_) {
    throw Error(ErrorKind::unsupported, {.what = "JSON file is no index of a sharded checkpoint",
                                         .file = file_,
                                         .wanted = "an object with a weight_map"});
  }
  auto& entries = index_.entries;
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  const auto twice =
      std::adjacent_find(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name == b.name; });
  if (twice != entries.end()) fail(ErrorKind::corrupt, "index names a tensor twice", printable(twice->name));
  return std::move(index_);
}

Index read_index(const File& file) {
  const std::string path = file.path().string();
  const std::uint64_t nbytes = file.size_bytes();
  if (nbytes > max_index_bytes) {
    throw Error(ErrorKind::limit, {.what = "JSON file is too large for an index",
                                   .file = path,
                                   .got = fmt::format("{} bytes", nbytes),
                                   .wanted = fmt::format("at most {}", max_index_bytes)});
  }
  std::vector<std::byte> text(nbytes);
  file.read_at(0, text);
  IndexReader reader(path, nbytes);
  read_json(text, {.file = path, .max_depth = max_depth, .max_token_bytes = max_token_bytes}, reader);
  return reader.finish();
}

fs::path folder_of(const fs::path& index) { return index.has_parent_path() ? index.parent_path() : fs::path("."); }

// Puts drafts together, and holds them to the index.
class Merger {
 public:
  Merger(const ForeignFile& file, Index index, std::uint64_t total_bytes)
      : index_file_(file.path()), index_(std::move(index)), draft_(file, total_bytes) {}

  void add(std::uint32_t shard, const fs::path& path, Draft part);
  Draft finish();

 private:
  void check_place(const std::string& key, std::uint32_t shard, const fs::path& path);

  std::string index_file_;
  Index index_;
  FlatDraft draft_;
};

std::string key_of(const TensorDraft& row, const fs::path& path) {
  const Path parsed = parse_name(row.name);
  if (parsed.size() == 1) {
    if (const auto* text = std::get_if<std::string>(&parsed[0])) return *text;
  }
  throw Error(ErrorKind::unsupported,
              {.what = "shard is no flat dict of names to tensors", .file = path.string(), .got = printable(row.name)});
}

void Merger::add(std::uint32_t shard, const fs::path& path, Draft part) {
  std::vector<std::uint32_t> slot_of(part.slots.size());
  for (std::size_t i = 0; i < part.slots.size(); ++i) slot_of[i] = draft_.add_slot(std::move(part.slots[i]));
  const auto first_row = static_cast<std::uint32_t>(draft_.size());
  for (TensorDraft& row : part.tensors) {
    const std::string key = key_of(row, path);
    check_place(key, shard, path);
    if (row.slot != no_slot) row.slot = slot_of[row.slot];
    if (row.object) *row.object += first_row;
    draft_.add(key, std::move(row));
  }
  // One metadata is all that a snapshot has: that of the first shard.
  if (shard == 0) draft_.set_meta(std::move(part.meta));
}

void Merger::check_place(const std::string& key, std::uint32_t shard, const fs::path& path) {
  const auto entry = std::lower_bound(index_.entries.begin(), index_.entries.end(), key,
                                      [](const IndexEntry& e, const std::string& name) { return e.name < name; });
  const bool is_named = entry != index_.entries.end() && entry->name == key;
  if (is_named && entry->shard == shard) {
    entry->is_found = true;
    return;
  }
  throw Error(ErrorKind::corrupt,
              {.what = "shard holds a tensor that the index does not have there",
               .file = path.string(),
               .got = printable(key),
               .wanted = is_named ? "it in " + printable(index_.shards[entry->shard]) : std::string{}});
}

Draft Merger::finish() {
  const auto missing =
      std::find_if(index_.entries.begin(), index_.entries.end(), [](const auto& e) { return !e.is_found; });
  if (missing != index_.entries.end()) {
    throw Error(ErrorKind::corrupt, {.what = "index names a tensor that its shard lacks",
                                     .file = index_file_,
                                     .got = printable(index_.shards[missing->shard]),
                                     .wanted = printable(missing->name)});
  }
  return draft_.finish();
}

// All of them are looked for before the first is read.
std::uint64_t total_bytes(const std::vector<fs::path>& shards, const std::string& index_file) {
  std::uint64_t total = 0;
  for (const fs::path& shard : shards) {
    if (!fs::is_regular_file(shard)) {
      throw Error(ErrorKind::not_found, {.what = "a shard of the checkpoint is not there",
                                         .file = shard.string(),
                                         .hint = "it is named by " + index_file});
    }
    total += fs::file_size(shard);
  }
  return total;
}

Draft read_shard(const fs::path& path, const ImportOptions& options) {
  const ForeignFile file = ForeignFile::open(path, options);
  // One that named itself would never end.
  if (is_index(file)) throw Error(ErrorKind::unsupported, {.what = "shard is an index in turn", .file = path.string()});
  return std::move(read_recognised(file).draft);
}

}  // namespace

bool is_index(const ForeignFile& file) {
  const std::string_view first = file.first();
  const std::size_t begin = first.find_first_not_of(" \t\r\n");
  return begin != first.npos && first[begin] == '{';
}

fs::path find_index(const fs::path& folder) {
  std::vector<std::string> found;
  for (const std::string& name : list_directory(folder)) {
    if (name.ends_with(index_ending)) found.push_back(name);
  }
  if (found.size() == 1) return folder / found[0];
  throw Error(found.empty() ? ErrorKind::not_found : ErrorKind::invalid_argument,
              {.what = found.empty() ? "folder holds no index of a sharded checkpoint" : "folder holds several indexes",
               .file = folder.string(),
               .got = printable(fmt::format("{}", fmt::join(found, ", "))),
               .wanted = "one *.index.json",
               .hint = found.empty() ? "" : "name the one that is meant"});
}

Draft read_sharded(const ForeignFile& file) {
  Index index = read_index(*file.file());
  std::vector<fs::path> shards;
  for (const std::string& name : index.shards) shards.push_back(folder_of(file.file()->path()) / name);
  Merger merger(file, std::move(index), total_bytes(shards, file.path()));
  for (std::uint32_t i = 0; i < shards.size(); ++i) {
    merger.add(i, shards[i], read_shard(shards[i], {.max_memory_bytes = file.options().max_memory_bytes}));
  }
  return merger.finish();
}

}  // namespace tenon
