#include "formats/deflate.h"

#include <libdeflate.h>

#include <memory>
#include <new>

namespace tenon {

bool inflate(std::span<const std::byte> deflated, std::span<std::byte> out) {
  const std::unique_ptr<libdeflate_decompressor, decltype(&libdeflate_free_decompressor)> decompressor(
      libdeflate_alloc_decompressor(), libdeflate_free_decompressor);
  if (!decompressor) throw std::bad_alloc();
  std::size_t consumed = 0;
  // Without a place for the number of bytes produced, producing fewer than asked for is an error too.
  const auto result = libdeflate_deflate_decompress_ex(decompressor.get(), deflated.data(), deflated.size(), out.data(),
                                                       out.size(), &consumed, nullptr);
  return result == LIBDEFLATE_SUCCESS && consumed == deflated.size();
}

std::uint32_t zip_crc32(std::uint32_t crc, std::span<const std::byte> bytes) noexcept {
  // libdeflate takes a null buffer for "begin anew", and an empty span may hold one.
  return bytes.empty() ? crc : libdeflate_crc32(crc, bytes.data(), bytes.size());
}

}  // namespace tenon
