// The columns that every table of tensors has: tensors, history, read_pt and the like.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>

#include "query/param_names.h"
#include "query/table.h"
#include "query/tensor_set.h"

namespace tenon {

enum class TensorColumn : std::uint8_t {
  snapshot_id,
  step,
  created_at,
  name,
  param,
  layer,
  dtype,
  shape,
  ndim,
  numel,
  nbytes,
  kind,
  requires_grad,
  location,
  slot_id,
  storage_id,
  storage_offset_bytes,
  stride,
  is_view,
  is_contiguous,
  is_conj,
  is_neg,
  object_id,
  wrapper,
  quantizer,
  global_shape,
  global_offset,
  nan_count,
  inf_count,
  zero_count,
  min,
  max,
  mean,
  std,
  norm,
  tensor,
  l1,
  median,
};
inline constexpr std::size_t tensor_column_count = 38;

// In the order of TensorColumn.
const std::array<Column, tensor_column_count>& tensor_columns();
constexpr int index_of(TensorColumn column) { return static_cast<int>(column); }

// One row at a time; remembers what of it was worked out.
class TensorRowReader {
 public:
  void move_to(SessionState& session, const std::shared_ptr<TensorSet>& set, std::uint32_t row);
  Cell column(TensorColumn column);

  TensorSet& set() const noexcept { return *set_; }
  const std::shared_ptr<TensorSet>& shared_set() const noexcept { return set_; }
  std::uint32_t row() const noexcept { return row_; }
  const TensorRow& tensor() const noexcept;
  // Of the tensor's elements; nullopt if uncountable.
  std::optional<std::uint64_t> numel() const noexcept;
  std::optional<std::uint64_t> nbytes() const noexcept;

 private:
  Cell identity_column(TensorColumn column);
  Cell geometry_column(TensorColumn column) const;
  Cell value_column(TensorColumn column);
  const std::optional<Statistics>& statistics();

  SessionState* session_ = nullptr;
  std::shared_ptr<TensorSet> set_;
  std::uint32_t row_ = 0;
  mutable TensorRow tensor_;  // worked out when it is asked for
  mutable bool has_tensor_ = false;
  mutable std::optional<std::uint64_t> numel_;
  mutable bool has_numel_ = false;
  bool has_statistics_ = false;  // looked for
  std::optional<Statistics> statistics_;
};

std::string json_of(std::span<const std::int64_t> numbers);  // [3, 4]
std::string utc_time(std::int64_t since_1970_ns);            // 2026-11-20T14:30:12.345678Z

}  // namespace tenon
