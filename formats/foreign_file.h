// A file that somebody else wrote, opened: what recognition looks at and what a format's reader is given.
//
// Owner: shares the open file, and the directory of a zip archive. Threads: const methods from several threads.
// Errors: open throws not_found, io; corrupt or unsupported for a zip archive that cannot be understood.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "formats/zip_reader.h"
#include "mmap/file.h"
#include "tenon/formats.h"

namespace tenon {

class ForeignFile {
 public:
  static ForeignFile open(const std::filesystem::path& path, const ImportOptions& options = {});

  const std::shared_ptr<const File>& file() const noexcept { return file_; }
  const ImportOptions& options() const noexcept { return options_; }
  std::string path() const { return file_->path().string(); }
  // Its first bytes, 512 at most.
  std::string_view first() const noexcept { return {reinterpret_cast<const char*>(first_.data()), first_.size()}; }

  // nullptr unless the file is a zip archive.
  const std::shared_ptr<const ZipReader>& zip() const noexcept { return zip_; }
  // Of a zip archive, the first entry with this name below the archive's directory, or with this ending; nullptr if
  // there is none. REQUIRES: zip().
  const ZipEntry* find_below_top(std::string_view name) const noexcept;
  const ZipEntry* find_ending(std::string_view ending) const noexcept;
  // The one directory that a torch archive's entries are in. Throws corrupt if the first is in none. REQUIRES: zip().
  std::string top_directory() const;

 private:
  ForeignFile() = default;
  ImportOptions options_;
  std::shared_ptr<const File> file_;
  std::vector<std::byte> first_;
  std::shared_ptr<const ZipReader> zip_;
};

}  // namespace tenon
