// The in-memory format of DLPack (version 1.0 and the one before it), and capsules that carry tensors of a snapshot.
//
// Owner: a capsule, and whoever took the tensor out of it, keeps the snapshot's mappings alive. Its deleter may run on
// any thread, without the GIL. Errors: BufferError for element types that DLPack cannot say.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "python/binding.h"

namespace tenon::python {

namespace dlpack {

struct Device {
  std::int32_t type;
  std::int32_t id;
};
inline constexpr std::int32_t cpu = 1;

enum class Code : std::uint8_t {
  integer = 0,
  unsigned_integer = 1,
  floating = 2,
  bfloat = 4,
  complex = 5,
  boolean = 6
};

struct DataType {
  std::uint8_t code;
  std::uint8_t bits;
  std::uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  std::int32_t rank;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // elements; null: contiguous
  std::uint64_t byte_offset;
};

struct ManagedTensor {
  Tensor tensor;
  void* owner;
  void (*deleter)(ManagedTensor*);
};

struct Version {
  std::uint32_t major;
  std::uint32_t minor;
};

struct ManagedTensorVersioned {
  Version version;
  void* owner;
  void (*deleter)(ManagedTensorVersioned*);
  std::uint64_t flags;
  Tensor tensor;
};
inline constexpr std::uint64_t flag_read_only = 1;

}  // namespace dlpack

// What a capsule says of memory on the CPU. `owner` keeps it.
struct ForeignView {
  std::shared_ptr<const void> owner;
  const std::byte* data = nullptr;
  DType dtype = DType::invalid;
  std::span<const std::int64_t> shape{};
  std::span<const std::int64_t> stride{};
};

// Whether DLPack knows the type since its first versions.
bool has_dlpack(DType dtype) noexcept;

// "dltensor": writable, as consumers take all of that kind to be.
py::object make_capsule(const ForeignView& view);
// "dltensor_versioned", read-only if so.
py::object make_versioned_capsule(const ForeignView& view, bool is_read_only);

// What was taken out of a capsule of either kind.
struct ImportedTensor {
  std::shared_ptr<const void> owner;  // gives the tensor back; needs no GIL
  dlpack::Tensor tensor;
  DType dtype = DType::invalid;
};
ImportedTensor take_capsule(const py::object& capsule);

}  // namespace tenon::python
