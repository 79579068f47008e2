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
#include "formats/tensor_table.h"
#include "mmap/file.h"

namespace tenon {

// Long bytes of numpy's arrays are read when the graph is written: it is valid as long as its table.
struct TorchObject {
  PickleGraph graph{};                       // with torch's rebuild calls and storage references
  std::vector<TorchObjectRecord> records{};  // data/0, data/1, ...
  std::uint64_t tensors = 0;                 // distinct objects
};

// `prefix` as in ExportOptions.
TorchObject make_torch_object(const TensorTable& table, const std::string& prefix);

// As torch names an archive: the file's name without its last extension; "archive" where that cannot be a directory in
// a zip.
std::string archive_name(const std::filesystem::path& out);

// The whole archive into an empty file. `on_bytes` is told of the bytes of storages as they are written, from any
// thread.
void write_torch_archive(const TensorTable& table, const TorchObject& object, File& file, const std::string& top,
                         const std::function<void(std::uint64_t)>& on_bytes);

}  // namespace tenon
