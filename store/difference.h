// By how much two tensors differ; see value_kernels.h for the inner loops.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "tenon/diff.h"
#include "tenon/dtype.h"

namespace tenon {

// A strided tensor in memory; `data` points to its first element.
struct StridedTensor {
  DType dtype;
  const std::byte* data;
  std::span<const std::int64_t> shape;   // elements
  std::span<const std::int64_t> stride;  // elements
};

// See difference() in tenon/diff.h. REQUIRES: bounds were checked.
std::optional<Difference> strided_difference(const StridedTensor& older, const StridedTensor& newer);
// True if every logical element has the same bits. REQUIRES: same dtype and shape. Of sub-byte types, both contiguous;
// nullopt for others of theirs, and where the work is unreasonable.
std::optional<bool> have_same_bits(const StridedTensor& older, const StridedTensor& newer);

}  // namespace tenon
