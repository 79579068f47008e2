#include "formats/pending_file.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "store/format.h"
#include "store/superblock.h"
#include "tenon/error.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;

constexpr int max_links = 40;                // as the kernel follows
constexpr std::size_t max_stem_bytes = 200;  // of the 255 that a name may have, the rest is ours

[[noreturn]] void refuse(const fs::path& out, std::string what, std::string hint) {
  throw Error(ErrorKind::invalid_argument, {.what = std::move(what), .file = out.string(), .hint = std::move(hint)});
}

fs::path parent_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

// Also where the last link points at nothing yet.
fs::path follow_links(const fs::path& out) {
  fs::path place = out;
  std::error_code none;  // what is not there, or not to be looked at, is no link
  for (int links = 0; fs::is_symlink(fs::symlink_status(place, none)); ++links) {
    if (links == max_links) throw_errno(ELOOP, "cannot write", out);
    const fs::path target = fs::read_symlink(place);
    place = target.is_absolute() ? target : parent_of(place) / target;
  }
  return place;
}

// What stands there now; nullopt if nothing does.
std::optional<struct stat> look_at(const fs::path& place, const fs::path& out) {
  struct stat status {};
  if (::stat(place.c_str(), &status) == 0) return status;
  if (errno != ENOENT) throw_errno(errno, "cannot write", out);
  return std::nullopt;
}

bool begins_as_bundle(const fs::path& place) {
  const File file = File::open(place);
  std::array<char, sizeof format::segment_magic> magic{};
  if (file.size_bytes() < magic.size()) return false;
  file.read_at(0, std::as_writable_bytes(std::span(magic)));
  return std::memcmp(magic.data(), format::segment_magic, magic.size()) == 0;
}

void require_replaceable(const struct stat& status, const fs::path& place, const fs::path& out) {
  if (S_ISDIR(status.st_mode)) refuse(out, "is a directory", "name a file in it");
  if (!S_ISREG(status.st_mode)) {
    refuse(out, "is a device, pipe or socket, and would be replaced by a file", "write a file and copy it there");
  }
  if (begins_as_bundle(place)) refuse(out, "is a store, and would be lost", "choose another name or remove it");
}

void require_outside_stores(const fs::path& place, const fs::path& out) {
  for (fs::path above = fs::canonical(parent_of(place));; above = above.parent_path()) {
    if (file_exists(above / superblock_name) && file_exists(above / "segments")) {
      refuse(out, "lies inside the store " + above.string(), "choose a place outside of it");
    }
    if (above == above.parent_path()) return;
  }
}

fs::path pending_name(const fs::path& place) {
  std::array<std::byte, 8> random{};
  random_bytes(random);
  std::string name = place.filename().string().substr(0, max_stem_bytes) + ".";
  for (const std::byte b : random) name += fmt::format("{:02x}", static_cast<unsigned>(b));
  return parent_of(place) / (name + ".tmp");
}

// The user knows of no temporary file: errors about it name `out`.
template <typename Action>
auto naming(const fs::path& out, Action action) {
  try {
    return action();
  } catch (const Error& error) {
    Facts facts = error.facts();
    facts.what = "cannot write";
    facts.file = out.string();
    throw Error(error.kind(), std::move(facts));
  }
}

}  // namespace

PendingFile::PendingFile(const fs::path& out) : out_(out), place_(follow_links(out)) {
  const auto replaced = look_at(place_, out_);
  if (replaced) require_replaceable(*replaced, place_, out_);
  if (!file_exists(parent_of(place_))) throw_errno(ENOENT, "no such directory to write into", out_);
  require_outside_stores(place_, out_);
  pending_path_ = pending_name(place_);
  file_ = naming(out_, [&] { return File::create(pending_path_); });
  if (replaced && ::fchmod(file_.descriptor(), replaced->st_mode & 0777) != 0) {
    const int error = errno;
    (void)remove_file(pending_path_);  // no destructor runs after a constructor that throws
    throw_errno(error, "cannot keep the permissions", out_);
  }
}

PendingFile::~PendingFile() {
  if (is_published_) return;
  std::error_code ignored;  // the failure that brought us here is the one to report
  fs::remove(pending_path_, ignored);
}

void PendingFile::publish(bool sync) {
  if (sync) file_.sync();
  naming(out_, [&] { rename_file(pending_path_, place_); });
  is_published_ = true;
  if (sync) sync_directory(parent_of(place_));
}

}  // namespace tenon
