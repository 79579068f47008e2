// What a snapshot looks like to a format that knows a flat dict of dense tensors and nothing else: names, and elements
// side by side.
//
// Names: a row whose path is one string keeps that string, any other is called by its rendered name
// ("model/fc.weight"); a prefix is taken off. Nothing but tensors is exported. Tensors that share a slot, or are one
// object, are each written in full, so ties and views end here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tenon/dtype.h"
#include "tenon/snapshot.h"

namespace tenon {

struct FlatTensor {
  std::string key;
  std::uint32_t row = 0;
  std::uint64_t nbytes = 0;  // of its elements side by side
};

// The rows that `prefix` selects, in order. Throws not_found if there are none; unsupported, naming the tensor, for
// what has no plain elements (no data, quantized, conjugated or negated, of less than a byte) and for two tensors of
// one key; limit for a tensor that shows its storage over and over. `format` is for messages.
std::vector<FlatTensor> select_flat(const Snapshot& snapshot, const std::string& prefix, const std::string& format);
// Of these, how many have a slot in common with an earlier one.
std::uint64_t count_sharing(const Snapshot& snapshot, const std::vector<FlatTensor>& tensors);
[[noreturn]] void refuse_dtype(const TensorRow& row, const std::string& format);

enum class ElementOrder : std::uint8_t {
  row_major,
  as_it_lies,  // column-major if is_fortran_order, else row-major
};

// Elements of one tensor side by side, read through the file and their digests checked. Memory: a buffer; for a tensor
// with gaps, or in another order, all from its first to its last element. Threads: read may be called from several.
class DenseElements {
 public:
  // Keeps the snapshot.
  DenseElements(const Snapshot& snapshot, const FlatTensor& tensor, ElementOrder order);

  std::uint64_t nbytes() const noexcept { return nbytes_; }
  void read(std::uint64_t offset, std::span<std::byte> out) const;

 private:
  void read_range(std::uint64_t offset, std::span<std::byte> out) const;
  void gather(std::uint64_t offset, std::span<std::byte> out) const;
  void load_reach();

  Snapshot snapshot_;
  TensorRow row_;
  std::uint64_t slot_bytes_ = 0;
  std::uint64_t nbytes_ = 0;
  bool is_one_range_ = true;
  VerifiedReader reader_;
  std::vector<std::byte> reach_;
};

// Whether column-major is how it lies, and row-major is not.
bool is_fortran_order(const TensorRow& row) noexcept;

}  // namespace tenon
