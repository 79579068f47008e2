#include "formats/foreign_file.h"

#include <algorithm>

#include "tenon/error.h"

namespace tenon {

namespace {

constexpr std::uint64_t first_bytes_wanted = 512;

// The part of an entry's name below the top directory; the whole name if it is not in one.
std::string_view below_top(std::string_view name) noexcept {
  const std::size_t slash = name.find('/');
  return slash == std::string_view::npos ? name : name.substr(slash + 1);
}

template <class Matches>
const ZipEntry* find_entry(const ZipReader& zip, const Matches& matches) noexcept {
  const auto& entries = zip.entries();
  const auto found = std::find_if(entries.begin(), entries.end(), matches);
  return found == entries.end() ? nullptr : &*found;
}

}  // namespace

ForeignFile ForeignFile::open(const std::filesystem::path& path, const ImportOptions& options) {
  const std::uint64_t offset = options.offset;
  ForeignFile out;
  out.options_ = options;
  out.file_ = std::make_shared<const File>(offset == 0 ? File::open(path) : File::open_from(path, offset));
  out.first_.resize(std::min(first_bytes_wanted, out.file_->size_bytes()));
  out.file_->read_at(0, out.first_);
  if (ZipReader::recognises(out.first_)) out.zip_ = std::make_shared<const ZipReader>(ZipReader::open(out.file_));
  return out;
}

const ZipEntry* ForeignFile::find_below_top(std::string_view name) const noexcept {
  return find_entry(*zip_, [&](const ZipEntry& entry) { return below_top(entry.name) == name; });
}

const ZipEntry* ForeignFile::find_ending(std::string_view ending) const noexcept {
  return find_entry(*zip_, [&](const ZipEntry& entry) { return entry.name.ends_with(ending); });
}

std::string ForeignFile::top_directory() const {
  const std::string& first = zip_->entries().front().name;
  const std::size_t slash = first.find('/');
  if (slash == 0 || slash == std::string::npos) {
    throw Error(ErrorKind::corrupt, {.what = "archive's files are not in one directory", .file = path(), .got = first});
  }
  return first.substr(0, slash);
}

}  // namespace tenon
