// Foreign files in and out. Input is untrusted: nothing is imported or called, limits hold before memory is
// taken, and a damaged file throws corrupt, limit or unsupported naming file, offset, got and wanted.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "tenon/draft.h"
#include "tenon/export.h"
#include "tenon/snapshot.h"
#include "tenon/store.h"

namespace tenon {

enum class FileFormat : std::uint8_t { torch_zip = 1, torch_legacy = 2, torch_tar = 3 };

// "torch.save zip", "torch.save legacy stream", "torch.save tar"
TENON_API std::string_view file_format_name(FileFormat format) noexcept;

struct OpenFileOptions {
  std::uint64_t offset = 0;  // the file is read from there on, as if it began there
};

// A foreign file, opened and understood. Owns what the draft's sources read from: keep it until commit returned.
class TENON_API ImportedFile {
 public:
  // Recognises the format by content. Throws not_found, io, corrupt, unsupported, limit.
  static ImportedFile open(const std::filesystem::path& path, const OpenFileOptions& options = {});
  ImportedFile(ImportedFile&&) noexcept;
  ImportedFile& operator=(ImportedFile&&) noexcept;
  ~ImportedFile();

  FileFormat format() const noexcept;
  const Draft& draft() const noexcept;

 private:
  struct State;
  explicit ImportedFile(std::unique_ptr<State> state) noexcept;
  std::unique_ptr<State> state_;
};

struct ExportOptions {
  std::string prefix{};  // only this subtree ("model"); its prefix is stripped. Empty: everything
  bool sync = true;      // the file is durable when the call returns
  std::function<void(const Progress&)> progress{};
};

// Writes what torch.load(weights_only=True) reads: one record per slot, views and ties kept. Digests are checked on
// the way. The file appears under its name only when it is complete; an existing file is replaced.
TENON_API void export_torch(const Snapshot& snapshot, const std::filesystem::path& out,
                            const ExportOptions& options = {});

// The nesting of a snapshot or file as indented text, without importing anything.
TENON_API std::string describe_structure(const Snapshot& snapshot);
TENON_API std::string describe_structure(const Draft& draft);

}  // namespace tenon
