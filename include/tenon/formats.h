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

enum class FileFormat : std::uint8_t {
  torch_zip = 1,
  safetensors = 16,
  npy = 17,
  npz = 18,
  sharded = 19,  // several files and an index that names them
};

// "torch.save zip"
TENON_API std::string_view file_format_name(FileFormat format) noexcept;

// A foreign file, opened and understood. Owns what the draft's sources read from: keep it until commit returned.
class TENON_API ImportedFile {
 public:
  // Recognises the format by content; a folder stands for the one *.index.json in it. Throws not_found, io, corrupt,
  // unsupported, limit, and invalid_argument for a folder with several.
  static ImportedFile open(const std::filesystem::path& path);
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

// What the safetensors package reads, as its own writer lays it out. safetensors has neither nesting, views nor ties: a
// tensor is called by its name (or by its key, where a prefix or the snapshot is one flat dict), what is no tensor is
// left out, and every name gets its elements in full, in row-major order. `__metadata__` is the object "safetensors" in
// the snapshot's meta, as import keeps it; {"format": "pt"} for a snapshot without one. Throws unsupported, naming the
// tensor, for what the format cannot say: no data, conj or neg bits, quantized and complex128 elements, and so on.
TENON_API void export_safetensors(const Snapshot& snapshot, const std::filesystem::path& out,
                                  const ExportOptions& options = {});

// What numpy.load reads, uncompressed. As for safetensors; column-major order is kept. numpy has no bfloat16 and no
// float8: throws unsupported rather than change the type. A .npy holds one tensor: throws invalid_argument for several.
TENON_API void export_npz(const Snapshot& snapshot, const std::filesystem::path& out,
                          const ExportOptions& options = {});
TENON_API void export_npy(const Snapshot& snapshot, const std::filesystem::path& out,
                          const ExportOptions& options = {});

// The nesting of a snapshot as indented text, without importing anything.
TENON_API std::string describe_structure(const Snapshot& snapshot);

}  // namespace tenon
