#include "python/arrays.h"

#include <array>
#include <cstring>

#include "tenon/view.h"

namespace tenon::python {

namespace {

struct Format {
  DType dtype;
  const char* buffer;
  const char* numpy;  // with its byte order
};

constexpr std::array formats{
    Format{DType::bool8, "?", "|b1"},      Format{DType::int8, "b", "|i1"},        Format{DType::uint8, "B", "|u1"},
    Format{DType::int16, "h", "<i2"},      Format{DType::uint16, "H", "<u2"},      Format{DType::int32, "i", "<i4"},
    Format{DType::uint32, "I", "<u4"},     Format{DType::int64, "q", "<i8"},       Format{DType::uint64, "Q", "<u8"},
    Format{DType::float16, "e", "<f2"},    Format{DType::float32, "f", "<f4"},     Format{DType::float64, "d", "<f8"},
    Format{DType::complex64, "Zf", "<c8"}, Format{DType::complex128, "Zd", "<c16"}};

const Format* format_of(DType dtype) noexcept {
  for (const Format& format : formats) {
    if (format.dtype == dtype) return &format;
  }
  return nullptr;
}

}  // namespace

const char* buffer_format(DType dtype) noexcept {
  const Format* format = format_of(dtype);
  return format == nullptr ? nullptr : format->buffer;
}

DType dtype_of_format(const char* format, Py_ssize_t item) noexcept {
  if (format == nullptr) return DType::invalid;
  if (*format == '@' || *format == '=' || *format == '<') ++format;
  if (std::strcmp(format, "l") == 0) return item == 8 ? DType::int64 : DType::int32;
  if (std::strcmp(format, "L") == 0) return item == 8 ? DType::uint64 : DType::uint32;
  for (const Format& known : formats) {
    const bool is_same = std::strcmp(known.buffer, format) == 0;
    if (is_same && static_cast<Py_ssize_t>(item_bytes(known.dtype)) == item) return known.dtype;
  }
  return DType::invalid;
}

ForeignView view_of(const Snapshot& snapshot, std::uint32_t index) {
  const TensorRow row = snapshot.row(index);
  auto view = std::make_shared<const View>(snapshot.view(index));
  const std::byte* data = view->data();
  return {.owner = std::move(view), .data = data, .dtype = row.dtype, .shape = row.shape, .stride = row.stride};
}

Arrays::Arrays(const Snapshot& snapshot, const SlotMemory& memory)
    : snapshot_(snapshot),
      memory_(memory),
      ndarray_(py::module_::import("numpy").attr("ndarray")),
      memories_(snapshot.slot_count()) {}

py::object Arrays::memory_of(std::uint32_t slot) {
  if (!memories_[slot]) {
    const auto bytes = memory_.bytes(slot);
    memories_[slot] = py::cast(Memory{.owner = memory_.owner(slot),
                                      .data = bytes.data(),
                                      .nbytes = bytes.size(),
                                      .is_read_only = memory_.is_read_only()});
  }
  return memories_[slot];
}

// ndarray(shape, dtype, buffer, offset, strides)
py::object Arrays::array(std::uint32_t index) {
  const TensorRow row = snapshot_.row(index);
  const Format* format = format_of(row.dtype);
  if (format == nullptr || row.slot == no_slot || row.is_conj || row.is_neg) return {};
  bool is_empty = false;
  std::vector<std::int64_t> strides(row.stride.begin(), row.stride.end());
  for (std::int64_t& stride : strides) stride *= static_cast<std::int64_t>(item_bytes(row.dtype));
  for (const std::int64_t size : row.shape) is_empty |= size == 0;
  if (is_empty) return ndarray_(integers(row.shape), format->numpy);
  return ndarray_(integers(row.shape), format->numpy, memory_of(row.slot), row.storage_offset_bytes, integers(strides));
}

}  // namespace tenon::python
