// The storages that a torch object uses, as slots of a draft.
//
// Errors: corrupt for a storage that is missing or has another length than the object says, unsupported for big-endian
// bytes whose units nobody tells.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "formats/torch_import.h"
#include "formats/torch_storage.h"
#include "tenon/draft.h"

namespace tenon {

// One slot per storage key, in the order in which the object mentions them. Borrows `records`.
class SlotTable {
 public:
  explicit SlotTable(const TorchRecords& records) : records_(records) {}

  std::uint32_t slot_of(const TorchStorage& storage);
  // Of a tensor that tells its key alone: typed where torch knows storages of that type.
  std::uint32_t slot_of(const std::string& key, DType dtype);
  // Of an untyped storage the byte order of elements is known only to the tensors in it.
  void check_byte_order(std::uint32_t slot, DType dtype) const;
  // A slot of a numpy array's own.
  std::uint32_t add(SlotDraft slot);
  std::vector<SlotDraft>& slots() { return slots_; }
  DType dtype_of(std::uint32_t slot) const { return slots_[slot].storage_dtype; }
  std::vector<std::string> keys() const;

 private:
  std::uint32_t add(const TorchStorage& storage);
  void check_size(const TorchStorage& storage, std::uint64_t record_bytes) const;

  const TorchRecords& records_;
  std::vector<SlotDraft> slots_;
  std::unordered_map<std::string, std::uint32_t> slot_of_key_;
};

}  // namespace tenon
