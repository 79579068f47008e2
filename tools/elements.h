// The elements of one tensor, decoded from bytes in memory: every element type, any stride, conj and neg applied.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/dtype.h"
#include "tenon/statistics.h"
#include "tools/content.h"

namespace tenon::tools {

// A part of a slot.
struct ByteRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

enum class ValueKind : std::uint8_t {
  boolean,    // natural
  integer,    // integer
  natural,    // natural
  real32,     // real, of at most 24 significant bits
  real64,     // real
  complex32,  // real and imag, each as real32
  complex64,  // real and imag, each as real64
  bits8,      // natural, as 2 hex digits
  bits16,     // natural, as 4 hex digits
  pair,       // real (first) and imag (second): two packed 4-bit floats
};

struct Value {
  ValueKind kind = ValueKind::natural;
  std::int64_t integer = 0;
  std::uint64_t natural = 0;
  double real = 0;
  double imag = 0;
};

// Decodes `dtype` at `at`; `shift` is the position in the byte of a type of fewer than 8 bits.
Value decode(DType dtype, const std::byte* at, unsigned shift) noexcept;

enum class Notation : std::uint8_t {
  plain,  // nan, inf, (1+2j), 0x1f
  json,   // "nan", "inf", [1.0, 2.0], "0x1f"
};

// Floats in the fewest digits that read back as the same value.
void append(std::string& text, const Value& value, Notation notation);
// What statistics count: the value, a complex one's magnitude; nullopt for packed, raw and quantized types.
std::optional<double> magnitude(const Value& value, DType dtype) noexcept;

// Which elements of a tensor: at first all, then what slices leave of them.
class Selection {
 public:
  explicit Selection(const TensorRow& row);

  // Narrows to "0:4,:,-1,::2" (see tenon/slice.h). REQUIRES: the tensor lies within its slot. Throws invalid_argument.
  void slice(std::string_view text);

  DType dtype() const noexcept { return dtype_; }
  bool is_conj() const noexcept { return is_conj_; }
  bool is_neg() const noexcept { return is_neg_; }
  std::span<const std::int64_t> shape() const noexcept { return shape_; }
  std::span<const std::int64_t> stride() const noexcept { return stride_; }
  // Elements to skip in the first byte of byte_range(): not 0 only for types of fewer than 8 bits.
  std::uint64_t first() const noexcept { return first_; }
  std::uint64_t count() const noexcept;
  // The bytes of the slot that the elements touch. Throws corrupt if they lie outside of it.
  ByteRange byte_range(std::uint64_t slot_bytes) const;
  // Whether byte_range() holds the elements, in row-major order, and nothing else.
  bool is_stored_run() const noexcept;

 private:
  DType dtype_;
  bool is_conj_;
  bool is_neg_;
  bool is_whole_ = true;
  std::uint64_t offset_bytes_;
  std::uint64_t first_ = 0;
  std::vector<std::int64_t> shape_;
  std::vector<std::int64_t> stride_;
};

// The elements of a selection. Offsets count elements from the first one, as its strides do.
class Elements {
 public:
  // `bytes` are those of selection.byte_range(). They must outlive this.
  Elements(Selection selection, std::span<const std::byte> bytes) : selection_(std::move(selection)), bytes_(bytes) {}

  DType dtype() const noexcept { return selection_.dtype(); }
  std::span<const std::int64_t> shape() const noexcept { return selection_.shape(); }
  std::span<const std::int64_t> stride() const noexcept { return selection_.stride(); }
  std::uint64_t count() const noexcept { return selection_.count(); }

  Value at(std::int64_t offset) const noexcept;
  // Of the `index`-th element in row-major order.
  std::int64_t offset_of(std::uint64_t index) const noexcept;
  // The bytes of the element at `offset`, conj and neg applied. Throws unsupported for types of fewer than 8 bits.
  void append_raw(std::vector<std::byte>& out, std::int64_t offset) const;

 private:
  Selection selection_;
  std::span<const std::byte> bytes_;
};

// Row-major offsets of all elements, one after the other.
class Odometer {
 public:
  explicit Odometer(const Elements& elements) : Odometer(elements.shape(), elements.stride()) {}
  // Both must outlive this.
  Odometer(std::span<const std::int64_t> shape, std::span<const std::int64_t> stride)
      : shape_(shape), stride_(stride), index_(shape.size(), 0) {}
  std::int64_t offset() const noexcept { return offset_; }
  void next() noexcept;

 private:
  std::span<const std::int64_t> shape_;
  std::span<const std::int64_t> stride_;
  std::vector<std::int64_t> index_;
  std::int64_t offset_ = 0;
};

}  // namespace tenon::tools
