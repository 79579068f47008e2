// The header of a safetensors file: 8 bytes of length, then JSON that names every tensor's element type, shape and
// range, then the tensors' bytes, side by side in row-major order.
//
// The rules are those of the reference implementation: the ranges begin at 0, have neither gap nor overlap, and end
// with the file; every length follows from shape and type.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tenon/dtype.h"

namespace tenon {

inline constexpr std::uint64_t safetensors_length_bytes = 8;
inline constexpr std::uint64_t safetensors_header_bytes_max = 100'000'000;

// In the order in which the reference implementation has its types, which is also the order (from the last) of tensors
// in the files it writes.
struct SafetensorsType {
  std::string_view name;  // "F32"
  std::uint8_t bits;      // of one element as shapes count them
  DType dtype;            // invalid: known to the format, not to us
};
const SafetensorsType* find_safetensors_type(std::string_view name) noexcept;
// nullopt where the format has no such type. The index orders types as above.
std::optional<std::size_t> safetensors_type_index(DType dtype) noexcept;
const SafetensorsType& safetensors_type(std::size_t index) noexcept;

using SafetensorsMetadata = std::vector<std::pair<std::string, std::string>>;  // in the order of the file

struct SafetensorsEntry {
  std::string name;
  const SafetensorsType* type = nullptr;
  std::vector<std::int64_t> shape{};  // as the file has it: 4-bit elements are counted one by one
  std::uint64_t begin = 0;            // in the data that follows the header
  std::uint64_t end = 0;
};

// Tells of each entry in the order of the header, and returns its metadata; nullopt if there is none. `json` begins at
// byte 8 of `file`; `data_bytes` follow it. Throws corrupt, limit, unsupported.
class SafetensorsVisitor {
 public:
  virtual ~SafetensorsVisitor() = default;
  virtual void entry(SafetensorsEntry entry) = 0;
};
std::optional<SafetensorsMetadata> read_safetensors_header(std::span<const std::byte> json, const std::string& file,
                                                           std::uint64_t data_bytes, SafetensorsVisitor& visitor);

}  // namespace tenon
