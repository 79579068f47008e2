#include "formats/torch_slots.h"

#include <optional>
#include <utility>

#include <fmt/format.h>

#include "tenon/error.h"

namespace tenon {

namespace {

// Elements whose bytes are in file order as one unit: the halves of a complex number are apart.
std::uint64_t unit_bytes(DType dtype) {
  if (dtype == DType::invalid) return 1;
  const std::uint64_t item = item_bytes(dtype);
  return dtype_info(dtype).kind == DTypeClass::complex ? item / 2 : item;
}

}  // namespace

std::uint32_t SlotTable::slot_of(const TorchStorage& storage) {
  const auto known = slot_of_key_.find(storage.key);
  const std::uint32_t slot = known == slot_of_key_.end() ? add(storage) : known->second;
  SlotDraft& draft = slots_[slot];
  check_size(storage, draft.nbytes);
  if (draft.storage_dtype == storage.dtype) return slot;
  if (records_.is_big_endian() && unit_bytes(draft.storage_dtype) != unit_bytes(storage.dtype)) {
    throw Error(ErrorKind::unsupported,
                {.what = "big-endian storage is used with several element types", .file = records_.label(storage.key)});
  }
  draft.storage_dtype = DType::invalid;  // several types on the same bytes
  return slot;
}

std::uint32_t SlotTable::slot_of(const std::string& key, DType dtype) {
  TorchStorage storage{.key = key};
  if (!dtype_info(dtype).torch_storage.empty()) storage.dtype = dtype;
  if (const auto known = slot_of_key_.find(key); known != slot_of_key_.end()) {
    SlotDraft& slot = slots_[known->second];
    if (slot.storage_dtype != storage.dtype) slot.storage_dtype = DType::invalid;
    return known->second;
  }
  if (const auto record = records_.find(key)) {
    storage.location = record->location;
    storage.nbytes = record->nbytes;
    if (storage.dtype != DType::invalid) storage.nbytes -= record->nbytes % item_bytes(dtype);
  }
  return add(storage);
}

std::uint32_t SlotTable::add(const TorchStorage& storage) {
  const std::optional<TorchRecord> record = records_.find(storage.key);
  if (!record && storage.nbytes != 0) {
    throw Error(ErrorKind::corrupt,
                {.what = "file lacks a storage that its object uses", .file = records_.label(storage.key)});
  }
  SlotDraft slot{.storage_dtype = storage.dtype, .location = storage.location};
  if (record) {
    check_size(storage, record->nbytes);
    slot.nbytes = record->nbytes;
    slot.source = record->source(records_.is_big_endian() ? unit_bytes(storage.dtype) : 1);
  }
  const std::uint32_t index = add(std::move(slot));
  slot_of_key_.emplace(storage.key, index);
  return index;
}

std::uint32_t SlotTable::add(SlotDraft slot) {
  slots_.push_back(std::move(slot));
  return static_cast<std::uint32_t>(slots_.size() - 1);
}

std::vector<std::string> SlotTable::keys() const {
  std::vector<std::string> keys(slots_.size());
  for (const auto& [key, slot] : slot_of_key_) keys[slot] = key;
  return keys;
}

// torch writes a whole storage; the count of elements it gives with it leaves out a last one that is incomplete.
void SlotTable::check_size(const TorchStorage& storage, std::uint64_t record_bytes) const {
  const std::uint64_t item = storage.dtype == DType::invalid ? 1 : item_bytes(storage.dtype);
  if (record_bytes >= storage.nbytes && record_bytes - storage.nbytes < item) return;
  throw Error(ErrorKind::corrupt, {.what = "storage record has the wrong length",
                                   .file = records_.label(storage.key),
                                   .got = fmt::format("{} bytes", record_bytes),
                                   .wanted = fmt::format("{} bytes", storage.nbytes)});
}

void SlotTable::check_byte_order(std::uint32_t slot, DType dtype) const {
  if (!records_.is_big_endian() || slots_[slot].storage_dtype != DType::invalid || unit_bytes(dtype) == 1) return;
  throw Error(ErrorKind::unsupported,
              {.what = "big-endian file has an untyped storage, whose byte order torch itself does not restore",
               .file = records_.pickle_label(),
               .got = std::string(dtype_info(dtype).name)});
}

}  // namespace tenon
