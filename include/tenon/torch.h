// Tensors of libtorch over a snapshot's memory, without a copy.
//
//   tenon::TorchTensors tensors(store.snapshot("main", {.mode = tenon::Mode::private_}));
//   at::Tensor w = tensors["model/fc.weight"];
//
// The one header that needs libtorch (2.3 or later); neither the library nor <tenon/tenon.h> does. Tensors of one slot
// share one torch storage, as they did when they were saved: what is written through one is seen by the others, and
// never reaches the store. Lifetime: a tensor keeps the memory it lies in; snapshot, store and this object may go
// before. Threads: one at a time.
#pragma once

#include <ATen/ATen.h>

#include <string_view>
#include <utility>
#include <vector>

#include "tenon/dtype.h"
#include "tenon/error.h"
#include "tenon/snapshot.h"

namespace tenon {

// torch numbers its types in the same order, without a place for none.
inline at::ScalarType torch_dtype(DType dtype) noexcept {
  static_assert(static_cast<int>(DType::uint8) == static_cast<int>(at::kByte) + 1);
  static_assert(static_cast<int>(DType::bfloat16) == static_cast<int>(at::kBFloat16) + 1);
  static_assert(static_cast<int>(DType::uint64) == static_cast<int>(at::kUInt64) + 1);
  return static_cast<at::ScalarType>(static_cast<int>(dtype) - 1);
}

class TorchTensors {
 public:
  // Throws invalid_argument for a snapshot in mode shared: torch has no read-only tensors, and a write would end the
  // process.
  explicit TorchTensors(Snapshot snapshot) : snapshot_(std::move(snapshot)), storages_(snapshot_.slot_count()) {
    if (snapshot_.mode() != Mode::shared) return;
    throw Error(ErrorKind::invalid_argument, {.what = "torch has no read-only tensors",
                                              .got = "a snapshot in mode shared",
                                              .hint = "open it in mode private or copy"});
  }

  const Snapshot& snapshot() const noexcept { return snapshot_; }

  // Throws not_found naming close matches, and what at() throws.
  at::Tensor operator[](std::string_view name) { return at(snapshot_[name].row()); }

  // REQUIRES: row < snapshot().size(). Without a slot the tensor is on the meta device. Throws unsupported for what
  // torch could not view: quantized tensors, offsets that are no multiple of the element.
  at::Tensor at(std::uint32_t index) {
    const TensorRow row = snapshot_.row(index);
    const auto options = at::TensorOptions().dtype(torch_dtype(row.dtype));
    if (row.slot == no_slot) return at::empty_strided(sizes(row.shape), sizes(row.stride), options.device(at::kMeta));
    const DTypeInfo& type = dtype_info(row.dtype);
    const std::uint64_t item = type.bits < 8 ? 1 : type.bits / 8;
    if (type.kind == DTypeClass::quantized || row.storage_offset_bytes % item != 0) throw_unsupported(row);
    at::Tensor tensor = at::empty({0}, options);
    tensor.set_(storage(row.slot), static_cast<std::int64_t>(row.storage_offset_bytes / item), sizes(row.shape),
                sizes(row.stride));
    if (row.is_conj) tensor._set_conj(true);
    if (row.is_neg) tensor._set_neg(true);
    return tensor.set_requires_grad(row.requires_grad);
  }

 private:
  static at::IntArrayRef sizes(std::span<const std::int64_t> values) noexcept { return {values.data(), values.size()}; }

  [[noreturn]] static void throw_unsupported(const TensorRow& row) {
    throw Error(ErrorKind::unsupported, {.what = "no tensor of torch lies over these bytes as they are",
                                         .got = std::string(row.name),
                                         .hint = "tenon export gives a file that torch.load reads"});
  }

  at::Storage storage(std::uint32_t slot) {
    at::Storage& known = storages_[slot];
    if (known) return known;
    const auto bytes = snapshot_.slot_bytes(slot);
    const auto options = at::TensorOptions().dtype(at::kByte);
    const at::Tensor whole = bytes.empty()
                                 ? at::empty({0}, options)
                                 : at::from_blob(
                                       const_cast<std::byte*>(bytes.data()), {static_cast<std::int64_t>(bytes.size())},
                                       [keeper = snapshot_](void*) {}, options);
    return known = whole.storage();
  }

  Snapshot snapshot_;
  std::vector<at::Storage> storages_;  // by slot, once wanted
};

}  // namespace tenon
