// A tensor opened in this process: a pointer into a mapping (or into plain memory), its shape and stride.
//
// Owner and lifetime: a View keeps the mapping it points into alive; copying it is cheap. It outlives its
// Snapshot, its Store, and the removal of the snapshot from the store.
// Threads: const methods may be called from any thread. Writes through mutable_data() are the caller's to order.
// Units: shape in elements, stride in elements, offsets in bytes.
#pragma once

#include <cassert>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "tenon/dtype.h"
#include "tenon/export.h"

namespace tenon {

class SnapshotState;

template <typename T>
struct NativeDType;  // DType of a C++ type
template <>
struct NativeDType<float> {
  static constexpr DType value = DType::float32;
};
template <>
struct NativeDType<double> {
  static constexpr DType value = DType::float64;
};
template <>
struct NativeDType<std::uint8_t> {
  static constexpr DType value = DType::uint8;
};
template <>
struct NativeDType<std::int8_t> {
  static constexpr DType value = DType::int8;
};
template <>
struct NativeDType<std::int16_t> {
  static constexpr DType value = DType::int16;
};
template <>
struct NativeDType<std::int32_t> {
  static constexpr DType value = DType::int32;
};
template <>
struct NativeDType<std::int64_t> {
  static constexpr DType value = DType::int64;
};
template <>
struct NativeDType<std::uint16_t> {
  static constexpr DType value = DType::uint16;
};
template <>
struct NativeDType<std::uint32_t> {
  static constexpr DType value = DType::uint32;
};
template <>
struct NativeDType<std::uint64_t> {
  static constexpr DType value = DType::uint64;
};
template <>
struct NativeDType<bool> {
  static constexpr DType value = DType::bool8;
};
template <>
struct NativeDType<std::complex<float>> {
  static constexpr DType value = DType::complex64;
};
template <>
struct NativeDType<std::complex<double>> {
  static constexpr DType value = DType::complex128;
};

// Strided element access. Indices are checked by assert in debug builds only.
template <typename T, std::size_t N>
class Accessor {
 public:
  Accessor(const T* data, const std::int64_t* shape, const std::int64_t* stride) noexcept
      : data_(data), shape_(shape), stride_(stride) {}
  template <typename... Index>
  const T& operator()(Index... index) const noexcept {
    static_assert(sizeof...(Index) == N, "one index per dimension");
    const std::int64_t indices[] = {static_cast<std::int64_t>(index)...};
    std::int64_t offset = 0;
    for (std::size_t d = 0; d < N; ++d) {
      assert(indices[d] >= 0 && indices[d] < shape_[d]);
      offset += indices[d] * stride_[d];
    }
    return data_[offset];
  }
  std::int64_t size(std::size_t dimension) const noexcept { return shape_[dimension]; }

 private:
  const T* data_;
  const std::int64_t* shape_;
  const std::int64_t* stride_;
};

class TENON_API View {
 public:
  View() = default;

  std::string_view name() const noexcept;
  DType dtype() const noexcept;
  std::span<const std::int64_t> shape() const noexcept;
  std::span<const std::int64_t> stride() const noexcept;
  std::uint64_t numel() const noexcept;
  bool is_contiguous() const noexcept;

  // First element. Never null, also for zero-size tensors. With conj or neg flags set the bytes are the
  // stored ones: the flags are the reader's to apply.
  const std::byte* data() const noexcept { return data_; }
  // Throws invalid_argument if T is not the tensor's dtype or data() is not aligned for T.
  template <typename T>
  const T* data() const {
    require_dtype(NativeDType<T>::value, alignof(T));
    return reinterpret_cast<const T*>(data_);
  }
  // Only in Mode::private_ and Mode::copy; throws invalid_argument in Mode::shared.
  std::byte* mutable_data() const;
  // The elements in memory order. Throws invalid_argument if the tensor is not contiguous.
  std::span<const std::byte> bytes() const;
  // The whole storage that this tensor is a view of, and where in it the tensor begins.
  std::span<const std::byte> storage() const noexcept;
  std::uint64_t storage_offset_bytes() const noexcept;

  template <typename T, std::size_t N>
  Accessor<T, N> accessor() const {
    require_rank(N);
    return Accessor<T, N>(data<T>(), shape().data(), stride().data());
  }

  std::uint32_t row() const noexcept { return row_; }

 private:
  friend class Snapshot;
  View(std::shared_ptr<const SnapshotState> state, std::uint32_t row, std::byte* data) noexcept
      : state_(std::move(state)), data_(data), row_(row) {}
  void require_dtype(DType wanted, std::size_t alignment) const;
  void require_rank(std::size_t rank) const;

  std::shared_ptr<const SnapshotState> state_;
  std::byte* data_ = nullptr;
  std::uint32_t row_ = 0;
};

}  // namespace tenon
