// The layout: the columns of a snapshot that do not depend on values, used straight from the mapping.
//
// encode_layout makes the bytes from a draft (which was checked); Layout::open checks bytes from anywhere and gives
// access. A Layout borrows the bytes: they must outlive it. Threads: const methods from any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "store/format.h"
#include "tenon/draft.h"
#include "tenon/snapshot.h"

namespace tenon {

// Throws invalid_argument naming the tensor if the draft is not sound: names unique and not empty, dtypes valid, slots
// there, shapes and strides not negative, every element inside its slot, object rows earlier and of the same slot and
// geometry, counts within limits.
void check_draft(const Draft& draft);

// REQUIRES: check_draft(draft) passed. Same draft geometry, same bytes.
std::vector<std::byte> encode_layout(const Draft& draft);

// True if `shape`, `stride` (elements) of `dtype`, beginning `offset_bytes` into a slot of `slot_bytes`, stay inside
// it. Overflow-safe. Tensors without elements are inside any slot. Negative sizes and strides are not.
bool is_inside(DType dtype, std::span<const std::int64_t> shape, std::span<const std::int64_t> stride,
               std::uint64_t offset_bytes, std::uint64_t slot_bytes) noexcept;

class Layout {
 public:
  Layout() = default;
  // Throws corrupt naming `file` and the offset (from `base_offset`) of the column at fault.
  static Layout open(std::span<const std::byte> bytes, const std::string& file, std::uint64_t base_offset);

  std::uint32_t tensor_count() const noexcept { return header_->tensor_count; }
  std::uint32_t slot_count() const noexcept { return header_->slot_count; }
  std::string_view name(std::uint32_t row) const noexcept;
  DType dtype(std::uint32_t row) const noexcept { return static_cast<DType>(dtype_[row]); }
  std::uint32_t slot(std::uint32_t row) const noexcept { return slot_[row]; }
  std::uint64_t offset_bytes(std::uint32_t row) const noexcept { return offset_[row]; }
  std::span<const std::int64_t> shape(std::uint32_t row) const noexcept;
  std::span<const std::int64_t> stride(std::uint32_t row) const noexcept;
  TensorRow tensor(std::uint32_t row) const noexcept;

  std::uint64_t slot_bytes(std::uint32_t slot) const noexcept { return slot_bytes_[slot]; }
  DType slot_dtype(std::uint32_t slot) const noexcept { return static_cast<DType>(slot_dtype_[slot]); }
  std::string_view slot_location(std::uint32_t slot) const noexcept { return string(slot_location_[slot]); }

  std::optional<std::uint32_t> find(std::string_view name) const noexcept;
  // Rows sorted by name; select() in tenon/snapshot.h tells what a prefix matches.
  std::span<const std::uint32_t> order() const noexcept { return {order_, tensor_count()}; }
  std::vector<std::uint32_t> select(std::string_view prefix) const;
  // What open() leaves out because it costs too much there: order and name index are right, names unique.
  void check_names(const std::string& file) const;

 private:
  void check_rows(const std::string& file, std::uint64_t base_offset) const;
  void check_row(std::uint32_t row, const std::string& file, std::uint64_t base_offset) const;
  void check_slots(const std::string& file, std::uint64_t base_offset) const;
  std::string_view string(std::uint32_t index) const noexcept;
  std::uint64_t offset_of(const void* field) const noexcept;

  const format::LayoutHeader* header_ = nullptr;
  const std::uint32_t* names_begin_ = nullptr;
  const std::uint32_t* order_ = nullptr;
  const std::uint32_t* name_index_ = nullptr;
  const std::uint32_t* dims_begin_ = nullptr;
  const std::uint32_t* slot_ = nullptr;
  const std::uint32_t* object_ = nullptr;
  const std::uint32_t* extra_ = nullptr;
  const std::uint64_t* offset_ = nullptr;
  const std::uint8_t* dtype_ = nullptr;
  const std::uint8_t* kind_ = nullptr;
  const std::uint16_t* flags_ = nullptr;
  const std::uint64_t* slot_bytes_ = nullptr;
  const std::uint32_t* slot_location_ = nullptr;
  const std::uint8_t* slot_dtype_ = nullptr;
  const format::Extra* extras_ = nullptr;
  const std::uint32_t* strings_begin_ = nullptr;
  const std::int64_t* dims_ = nullptr;
  const char* names_ = nullptr;
  const char* strings_ = nullptr;
};

}  // namespace tenon
