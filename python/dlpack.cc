#include "python/dlpack.h"

#include <array>
#include <memory>
#include <string>
#include <vector>

namespace tenon::python {

namespace {

constexpr const char* plain_name = "dltensor";
constexpr const char* versioned_name = "dltensor_versioned";
constexpr const char* used_plain_name = "used_dltensor";
constexpr const char* used_versioned_name = "used_dltensor_versioned";

struct KnownType {
  DType dtype;
  dlpack::Code code;
};

constexpr std::array known_types{
    KnownType{DType::uint8, dlpack::Code::unsigned_integer},  KnownType{DType::int8, dlpack::Code::integer},
    KnownType{DType::int16, dlpack::Code::integer},           KnownType{DType::int32, dlpack::Code::integer},
    KnownType{DType::int64, dlpack::Code::integer},           KnownType{DType::float16, dlpack::Code::floating},
    KnownType{DType::float32, dlpack::Code::floating},        KnownType{DType::float64, dlpack::Code::floating},
    KnownType{DType::complex64, dlpack::Code::complex},       KnownType{DType::complex128, dlpack::Code::complex},
    KnownType{DType::bool8, dlpack::Code::boolean},           KnownType{DType::bfloat16, dlpack::Code::bfloat},
    KnownType{DType::uint16, dlpack::Code::unsigned_integer}, KnownType{DType::uint32, dlpack::Code::unsigned_integer},
    KnownType{DType::uint64, dlpack::Code::unsigned_integer}};

const KnownType* known_type(DType dtype) noexcept {
  for (const KnownType& known : known_types) {
    if (known.dtype == dtype) return &known;
  }
  return nullptr;
}

[[noreturn]] void refuse(const std::string& what) {
  PyErr_SetString(PyExc_BufferError, what.c_str());
  throw py::error_already_set();
}

DType dtype_of(const dlpack::DataType& type) {
  for (const KnownType& known : known_types) {
    const bool is_same =
        static_cast<std::uint8_t>(known.code) == type.code && dtype_info(known.dtype).bits == type.bits;
    if (is_same && type.lanes == 1) return known.dtype;
  }
  refuse("a DLPack tensor of an element type that is not known: code " + std::to_string(type.code) + ", " +
         std::to_string(type.bits) + " bits");
}

// The managed tensor and all that it points to, in one allocation but for a tensor of many dimensions.
template <typename Managed>
struct Exported {
  Managed managed;
  std::shared_ptr<const void> owner;
  std::array<std::int64_t, 16> few;
  std::vector<std::int64_t> many;
};

template <typename Managed>
void delete_exported(Managed* managed) {
  delete static_cast<Exported<Managed>*>(managed->owner);
}

template <typename Managed>
Managed* export_view(const ForeignView& view) {
  const KnownType* type = known_type(view.dtype);
  if (type == nullptr) refuse("DLPack has no element type " + std::string(dtype_info(view.dtype).name));
  auto exported = std::make_unique<Exported<Managed>>();
  const std::size_t rank = view.shape.size();
  std::int64_t* numbers = exported->few.data();
  if (2 * rank > exported->few.size()) {
    exported->many.resize(2 * rank);
    numbers = exported->many.data();
  }
  std::copy(view.shape.begin(), view.shape.end(), numbers);
  std::copy(view.stride.begin(), view.stride.end(), numbers + rank);
  exported->owner = view.owner;
  exported->managed.owner = exported.get();
  exported->managed.deleter = delete_exported<Managed>;
  exported->managed.tensor = {.data = const_cast<std::byte*>(view.data),
                              .device = {dlpack::cpu, 0},
                              .rank = static_cast<std::int32_t>(rank),
                              .dtype = {static_cast<std::uint8_t>(type->code), dtype_info(view.dtype).bits, 1},
                              .shape = numbers,
                              .strides = numbers + rank,
                              .byte_offset = 0};
  return &exported.release()->managed;
}

// A capsule that nobody took the tensor from.
template <typename Managed>
void drop_capsule(PyObject* capsule, const char* name) {
  if (PyCapsule_IsValid(capsule, name) == 0) return;
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule, name));
  if (managed->deleter != nullptr) managed->deleter(managed);
}

template <typename Managed>
py::object capsule_of(Managed* managed, const char* name, PyCapsule_Destructor destructor) {
  PyObject* capsule = PyCapsule_New(managed, name, destructor);
  if (capsule == nullptr) managed->deleter(managed);
  return own(capsule);
}

template <typename Managed>
ImportedTensor take(const py::object& capsule, const char* name, const char* used_name) {
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), name));
  if (managed == nullptr) throw py::error_already_set();
  const DType dtype = dtype_of(managed->tensor.dtype);
  if (managed->tensor.device.type != dlpack::cpu) refuse("a DLPack tensor that is not in the memory of the CPU");
  if (PyCapsule_SetName(capsule.ptr(), used_name) != 0) throw py::error_already_set();
  std::shared_ptr<const void> owner(managed, [](Managed* taken) {
    if (taken->deleter != nullptr) taken->deleter(taken);
  });
  return {std::move(owner), managed->tensor, dtype};
}

}  // namespace

bool has_dlpack(DType dtype) noexcept { return known_type(dtype) != nullptr; }

py::object make_capsule(const ForeignView& view) {
  return capsule_of(export_view<dlpack::ManagedTensor>(view), plain_name,
                    [](PyObject* capsule) { drop_capsule<dlpack::ManagedTensor>(capsule, plain_name); });
}

py::object make_versioned_capsule(const ForeignView& view, bool is_read_only) {
  auto* managed = export_view<dlpack::ManagedTensorVersioned>(view);
  managed->version = {1, 0};
  managed->flags = is_read_only ? dlpack::flag_read_only : 0;
  return capsule_of(managed, versioned_name,
                    [](PyObject* capsule) { drop_capsule<dlpack::ManagedTensorVersioned>(capsule, versioned_name); });
}

ImportedTensor take_capsule(const py::object& capsule) {
  if (PyCapsule_IsValid(capsule.ptr(), versioned_name) != 0)
    return take<dlpack::ManagedTensorVersioned>(capsule, versioned_name, used_versioned_name);
  return take<dlpack::ManagedTensor>(capsule, plain_name, used_plain_name);
}

}  // namespace tenon::python
