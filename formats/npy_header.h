// The header of a .npy file: magic, version, length, and a Python literal that is read by a parser that knows nothing
// else than this dict. Nothing is evaluated.
//
// Errors: corrupt for what is no header; unsupported, naming it, for an element type that has no bytes of its own
// (objects), is structured, or is none of torch's (text, dates, void, extended precision); limit for a header too long.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/dtype.h"

namespace tenon {

struct NpyHeader {
  DType dtype = DType::invalid;
  std::uint64_t swap_bytes = 1;  // width of the units that are big-endian; 1: none
  bool is_fortran = false;       // the first index runs fastest
  std::vector<std::int64_t> shape{};
  std::vector<std::int64_t> stride{};  // elements
  std::uint64_t nbytes = 0;            // of all elements
  std::uint64_t data_begin = 0;        // bytes from the file's start
};

bool is_npy(std::string_view first_bytes) noexcept;

// `read` fills its argument from an offset of the file; `available` is the file's size, `file` its name for messages.
NpyHeader read_npy_header(const std::function<void(std::uint64_t, std::span<std::byte>)>& read, std::uint64_t available,
                          const std::string& file);

// The type as numpy spells it, without byte order ("f4"); empty where numpy has none.
std::string_view npy_type(DType dtype) noexcept;
// As numpy writes it: version 1, padded so that data begins on a multiple of 64.
// REQUIRES: numpy has the type.
std::vector<std::byte> make_npy_header(DType dtype, bool is_fortran, std::span<const std::int64_t> shape);

}  // namespace tenon
