// From rows and structure back to the object that torch.load returns: the pickle of a torch archive and the order of
// its storages.
//
// Errors: not_found for a prefix that selects nothing, corrupt for a structure that contradicts the rows, unsupported
// for what torch's format cannot say.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "formats/pickle.h"
#include "mmap/file.h"
#include "tenon/snapshot.h"

namespace tenon {

// What is exported, wherever it is. Rows and slots are views, valid as long as what they come from.
struct TensorTable {
  std::uint32_t size = 0;
  std::uint32_t slot_count = 0;
  std::function<TensorRow(std::uint32_t)> row{};
  std::function<SlotRow(std::uint32_t)> slot{};
  std::span<const std::byte> structure{};                      // empty: a plain mapping of names to tensors
  std::function<VerifiedReader(std::uint32_t slot)> reader{};  // as Snapshot::verified_reader
};

// Valid as long as the snapshot.
TensorTable make_tensor_table(const Snapshot& snapshot);

// A record of the archive: a slot, or a part of it that was a storage of its own.
struct TorchObjectRecord {
  std::uint32_t slot = 0;
  std::uint64_t offset = 0;
  std::uint64_t nbytes = 0;
};

struct TorchObject {
  PickleGraph graph{};                       // with torch's rebuild calls and storage references
  std::vector<TorchObjectRecord> records{};  // data/0, data/1, ...
  std::uint64_t tensors = 0;                 // distinct objects
};

// Reads a part of a slot, digests checked; offsets count from the part. Valid as long as `table`.
VerifiedReader part_reader(const TensorTable& table, const TorchObjectRecord& part);

// What is exported, as a decoded structure: everything, or the part below `prefix` as in ExportOptions.
PickleGraph select_object(const TensorTable& table, const std::string& prefix);
TorchObject make_torch_object(const TensorTable& table, const std::string& prefix);

// As torch names an archive: the file's name without its last extension; "archive" where that cannot be a directory in
// a zip.
std::string archive_name(const std::filesystem::path& out);

// The whole archive into an empty file. `on_bytes` is told of the bytes of storages as they are written, from any
// thread.
void write_torch_archive(const TensorTable& table, const TorchObject& object, File& file, const std::string& top,
                         const std::function<void(std::uint64_t)>& on_bytes);

}  // namespace tenon
