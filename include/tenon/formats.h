// Foreign files in and out. Input is untrusted: nothing is imported or called, limits hold before memory is
// taken, and a damaged file throws corrupt, limit or unsupported naming file, offset, got and wanted.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/draft.h"
#include "tenon/error.h"
#include "tenon/export.h"
#include "tenon/snapshot.h"
#include "tenon/store.h"

namespace tenon {

enum class FileFormat : std::uint8_t {
  torch_zip = 1,
  torch_legacy = 2,
  torch_tar = 3,
  torchscript = 4,
  safetensors = 16,
  npy = 17,
  npz = 18,
  sharded = 19,  // several files and an index that names them
};

// "torch.save zip", "torch.save legacy stream", "torch.save tar", "TorchScript archive", "safetensors",
// "numpy array", "numpy archive", "sharded checkpoint"
TENON_API std::string_view file_format_name(FileFormat format) noexcept;

struct ImportOptions {
  std::uint64_t offset = 0;  // the file is read from there on, as if it began there
  // For the object that holds the tensors, and again for their names and shapes. 0: 44 MiB or four times the pickle,
  // and 16 MiB and four times the pickle. The bytes of tensors never count.
  std::uint64_t max_memory_bytes = 0;
};

// A foreign file, opened and understood. Owns what the draft's sources read from: keep it until commit returned.
class TENON_API ImportedFile {
 public:
  // Recognises the format by content; a folder stands for the one *.index.json in it. Throws not_found, io, corrupt,
  // unsupported, limit, and invalid_argument for a folder with several.
  static ImportedFile open(const std::filesystem::path& path, const ImportOptions& options = {});
  ImportedFile(ImportedFile&&) noexcept;
  ImportedFile& operator=(ImportedFile&&) noexcept;
  ~ImportedFile();

  FileFormat format() const noexcept;
  const Draft& draft() const noexcept;
  // Moves the draft out, whose sources go on to need nothing but the file on disk.
  Draft take_draft() noexcept;

 private:
  struct State;
  explicit ImportedFile(std::unique_ptr<State> state) noexcept;
  std::unique_ptr<State> state_;
};

// The bytes behind one storage of a pickle.
struct PickledStorage {
  std::uint64_t nbytes = 0;
  Source source{};
  std::string location = "cpu";  // where the pickle does not say it
};

// What the persistent ids of a pickle stand for.
struct PickleSources {
  // By the key in ('storage', class, key, location, numel); nullopt: there is none.
  std::function<std::optional<PickledStorage>(const std::string& key)> storage{};
  // A tensor that the pickle names by an integer alone, where its writer could spare the call that rebuilds it: a row
  // without a name whose slot is the key of a storage, as a number. With the wrapper "numpy.ndarray" it is an array.
  // Null: there is none.
  std::function<const TensorDraft*(std::int64_t number)> tensor{};
};

// A pickle as torch.save writes it into data.pkl (a persistent id ('storage', class, key, location, numel) for each
// storage), with its storages anywhere: one slot per key, in the order of their mention. Throws corrupt (also for what
// is not found), unsupported, limit.
TENON_API Draft read_torch_pickle(std::span<const std::byte> pickle, const PickleSources& sources);

struct ExportOptions {
  std::string prefix{};  // only this subtree ("model"); its prefix is stripped. Empty: everything
  bool sync = true;      // the file is durable when the call returns
  std::function<void(const Progress&)> progress{};
};

struct ExportResult {
  std::uint64_t tensors = 0;  // objects; one that is at several places counts once, unless it is written once for each
  // Of these, how many have a slot in common with an earlier one. They were written in full where the format has no
  // views and ties; 0 where it has.
  std::uint64_t unshared = 0;
};

// Writes what torch.load(weights_only=True) reads: one record per slot, views and ties kept. Digests are checked on
// the way. The file appears under its name only when it is complete; an existing file is replaced (behind a symbolic
// link, too) and keeps its permissions. Throws invalid_argument for a device, a pipe, and what belongs to a store.
TENON_API ExportResult export_torch(const Snapshot& snapshot, const std::filesystem::path& out,
                                    const ExportOptions& options = {});

// Whether the snapshot holds the code of a TorchScript archive: it was imported from one.
TENON_API bool holds_torchscript(const Snapshot& snapshot);

// Writes what torch.jit.load reads. A snapshot that was imported from TorchScript becomes an archive that runs as the
// imported one did, extra files and all, with the snapshot's tensors. Any other, or a part of one (`prefix`), becomes a
// module that holds values and has no methods: a dict with string keys is a module and each key an attribute, named
// letter by letter, so that C++ reads `torch::jit::load(out).attr("model").toModule().attr("fc.weight").toTensor()`.
// Throws unsupported, naming it, for what TorchScript has no type for. Digests and replacing as in export_torch.
TENON_API ExportResult export_torchscript(const Snapshot& snapshot, const std::filesystem::path& out,
                                          const ExportOptions& options = {});

// What the safetensors package reads, as its own writer lays it out. safetensors has neither nesting, views nor ties: a
// tensor is called by its name (or by its key, where a prefix or the snapshot is one flat dict), what is no tensor is
// left out, and every name gets its elements in full, in row-major order. `__metadata__` is the object "safetensors" in
// the snapshot's meta, as import keeps it; {"format": "pt"} for a snapshot without one. Throws unsupported, naming the
// tensor, for what the format cannot say: no data, conj or neg bits, quantized and complex128 elements, and so on;
// limit for an expanded tensor that is above 1 GiB in full.
TENON_API ExportResult export_safetensors(const Snapshot& snapshot, const std::filesystem::path& out,
                                          const ExportOptions& options = {});

// What numpy.load reads, uncompressed. As for safetensors; column-major order is kept. numpy has no bfloat16 and no
// float8: throws unsupported rather than change the type. A .npy holds one tensor: throws invalid_argument for several.
TENON_API ExportResult export_npz(const Snapshot& snapshot, const std::filesystem::path& out,
                                  const ExportOptions& options = {});
TENON_API ExportResult export_npy(const Snapshot& snapshot, const std::filesystem::path& out,
                                  const ExportOptions& options = {});

enum class GlobalSafety : std::uint8_t { dangerous = 1, unknown, safe };

// "safe": torch.load(weights_only=True) allows it. "dangerous": known to run code, programs or network requests, or to
// reach what does. "unknown": neither.
TENON_API std::string_view global_safety_name(GlobalSafety safety) noexcept;

// A class or function that loading a pickle imports.
struct PickleGlobal {
  std::string module;
  std::string name;
  GlobalSafety safety = GlobalSafety::unknown;
};

struct PickleGlobals {
  std::vector<PickleGlobal> globals{};  // each once; dangerous ones first, then by module and name
  std::optional<Error> flaw{};          // a pickle could not be read to its end: there may be more
};

// What torch.load(weights_only=False), or pickle.load, would import from a file: an archive of torch or TorchScript, a
// legacy stream, a tar, or a bare pickle. Nothing is imported. Throws unsupported for files without pickles, and what
// ImportedFile::open throws.
TENON_API PickleGlobals list_globals(const std::filesystem::path& path, const ImportOptions& options = {});
// The same of the file that export_torch would write.
TENON_API PickleGlobals list_globals(const Snapshot& snapshot, const std::string& prefix = {});

// Every snapshot that a ref leads to: those whose structure cannot be read, and so cannot be exported, though its bytes
// are as they were written. Throws what Store::snapshot throws: for stores that Store::verify finds clean.
TENON_API std::vector<Damage> check_structures(const Store& store);

// The nesting of a snapshot or file as indented text, without importing anything.
TENON_API std::string describe_structure(const Snapshot& snapshot);
TENON_API std::string describe_structure(const Draft& draft);

}  // namespace tenon
