// The zip archives that torch itself writes, torch.save's and TorchScript's: one directory, a version record, pickles,
// and directories of storages that their pickles name by key.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/foreign_file.h"
#include "formats/pickle.h"
#include "formats/torch_import.h"
#include "formats/zip_reader.h"

namespace tenon {

// Owner: shares the open file. Threads: const methods from several threads. Errors: corrupt, unsupported, limit.
class TorchArchive {
 public:
  // Checks what concerns all records: directory, version, byte order. REQUIRES: a zip archive.
  explicit TorchArchive(const ForeignFile& file);

  // Names are those below the archive's directory.
  const ZipEntry* find(std::string_view name) const;
  std::string_view name_of(const ZipEntry& entry) const { return std::string_view(entry.name).substr(top_.size() + 1); }
  const std::vector<ZipEntry>& entries() const noexcept { return reader_->entries(); }
  std::vector<std::byte> read(const ZipEntry& entry, std::uint64_t limit_bytes) const;
  // "model.pt(model/data.pkl)"
  std::string label(std::string_view name) const;
  std::string path() const { return reader_->file().path().string(); }
  const std::shared_ptr<const ZipReader>& reader() const noexcept { return reader_; }
  bool is_big_endian() const noexcept { return is_big_endian_; }

 private:
  void check_top_directory() const;
  void check_version() const;
  bool read_byte_order() const;
  std::string read_marker(const ZipEntry& entry) const;

  std::shared_ptr<const ZipReader> reader_;
  std::string top_;
  bool is_big_endian_ = false;
};

// The storages of one directory of an archive ("data/"), for the pickle that names them. Borrows the archive.
class ArchiveStorages final : public TorchRecords {
 public:
  ArchiveStorages(const TorchArchive& archive, std::string directory, std::string pickle)
      : archive_(archive), directory_(std::move(directory)), pickle_(std::move(pickle)) {}

  std::optional<TorchRecord> find(const std::string& key) const override;
  std::string label(const std::string& key) const override { return archive_.label(directory_ + key); }
  std::string pickle_label() const override { return archive_.label(pickle_); }
  bool is_big_endian() const override { return archive_.is_big_endian(); }

 private:
  const TorchArchive& archive_;
  const std::string directory_;
  const std::string pickle_;
};

// A pickle that fills its record, which the options name.
PickleGraph read_whole_pickle(std::span<const std::byte> bytes, const PickleReadOptions& options);

}  // namespace tenon
