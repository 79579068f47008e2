#include "tools/target.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace tenon::tools {
namespace {

namespace fs = std::filesystem;

bool is_store_name(const fs::path& path) { return path.filename() == ".tenon" || path.extension() == ".tenon"; }

struct Candidates {
  std::vector<fs::path> directories;
  std::vector<fs::path> bundles;
};

// A folder that cannot be listed holds no candidate: the search goes on above it.
Candidates stores_in(const fs::path& folder) {
  Candidates found;
  std::error_code ignored;
  for (fs::directory_iterator it(folder, ignored), end; !ignored && it != end; it.increment(ignored)) {
    if (!is_store_name(it->path())) continue;
    std::error_code unreadable;
    if (it->is_directory(unreadable)) {
      found.directories.push_back(it->path());
    } else if (it->is_regular_file(unreadable)) {
      found.bundles.push_back(it->path());
    }
  }
  return found;
}

const fs::path& only_one(std::vector<fs::path>& candidates) {
  if (candidates.size() == 1) return candidates.front();
  std::sort(candidates.begin(), candidates.end());
  std::string names;
  for (const fs::path& path : candidates) names += (names.empty() ? "" : ", ") + path.filename().string();
  throw Error(ErrorKind::invalid_argument, {.what = "several stores in one folder",
                                            .file = candidates.front().parent_path().string(),
                                            .got = names,
                                            .hint = "choose one with --store PATH or TENON_STORE"});
}

std::optional<fs::path> find_upward(bool with_bundles) {
  for (fs::path folder = fs::current_path();; folder = folder.parent_path()) {
    Candidates found = stores_in(folder);
    if (!found.directories.empty()) return only_one(found.directories);
    if (with_bundles && !found.bundles.empty()) return only_one(found.bundles);
    if (folder == folder.root_path()) return std::nullopt;
  }
}

std::optional<fs::path> find(const std::string& given, bool with_bundles) {
  if (!given.empty()) return given;
  if (const char* named = std::getenv("TENON_STORE"); named != nullptr && *named != '\0') return named;
  return find_upward(with_bundles);
}

}  // namespace

std::optional<std::filesystem::path> find_store(const std::string& given) { return find(given, true); }

std::optional<std::filesystem::path> find_writable_store(const std::string& given) { return find(given, false); }

Store open_store(const std::string& given) {
  if (const auto path = find_store(given)) return Store::open(*path);
  throw Error(
      ErrorKind::no_store,
      {.what = "no store found",
       .file = fs::current_path().string(),
       .wanted = "a *.tenon here or in a folder above",
       .hint = "name one with --store PATH or TENON_STORE, or make one: `tenon init PATH`, `tenon import FILE`"});
}

}  // namespace tenon::tools
