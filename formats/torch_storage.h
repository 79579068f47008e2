// How torch's pickles refer to storages: a persistent id, which is a tuple of class, key, location and length.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "formats/pickle.h"
#include "tenon/dtype.h"

namespace tenon {

// A part of a storage that is a storage of its own, as torch before 0.4 had them.
struct TorchStorageView {
  std::uint64_t offset_bytes = 0;
  std::uint64_t nbytes = 0;  // ends inside the storage
};

// ('storage', class, key, location, numel[, view])
struct TorchStorage {
  DType dtype = DType::invalid;  // invalid: UntypedStorage
  std::string key;
  std::string location;
  std::uint64_t nbytes = 0;  // numel in bytes, checked for overflow
  std::optional<TorchStorageView> view{};
};

// The storage class as TorchScript names it, which has one for every dtype: "FloatStorage", "UInt16Storage".
std::string torchscript_storage_class(DType dtype);
// `file` names the pickle in messages. Throws corrupt for one that contradicts itself, unsupported for what is no
// storage or of an unknown class. REQUIRES: `node` is a persistent id.
TorchStorage parse_torch_storage(const PickleGraph& graph, NodeId node, const std::string& file);

}  // namespace tenon
