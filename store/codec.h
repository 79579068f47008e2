// Bounded readers and growing writers of little-endian fields, for the small records that are not columns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "tenon/digest.h"
#include "tenon/error.h"

namespace tenon {

// A length that is stored in 32 bits. Throws limit where it does not fit.
inline std::uint32_t length_32(std::uint64_t length) {
  if (length <= UINT32_MAX) return static_cast<std::uint32_t>(length);
  throw Error(ErrorKind::limit,
              {.what = "text is too long", .got = std::to_string(length) + " bytes", .wanted = "less than 4 GiB"});
}

class ByteWriter {
 public:
  template <typename T>
  requires std::is_trivially_copyable_v<T>
  void put(const T& value) { append(&value, sizeof(T)); }
  void put_bytes(std::span<const std::byte> bytes) { append(bytes.data(), bytes.size()); }
  // Throws limit from 4 GiB on.
  void put_string(std::string_view text) {
    put(length_32(text.size()));
    put_bytes(std::as_bytes(std::span(text)));
  }
  void align(std::size_t alignment) { out_.resize((out_.size() + alignment - 1) / alignment * alignment); }
  std::size_t size() const noexcept { return out_.size(); }
  const std::vector<std::byte>& bytes() const noexcept { return out_; }
  std::vector<std::byte> take() noexcept { return std::move(out_); }

 private:
  // Not inlined: g++ 12 otherwise warns of overruns that the vector's growth cannot make.
  [[gnu::noinline]] void append(const void* bytes, std::size_t size) {
    if (size == 0) return;
    const std::size_t end = out_.size();
    out_.resize(end + size);
    std::memcpy(out_.data() + end, bytes, size);
  }
  std::vector<std::byte> out_;
};

// Throws corrupt naming `file`, the offset and `what` when asked for more than remains.
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, std::string file, std::string what, std::uint64_t base_offset = 0)
      : bytes_(bytes), file_(std::move(file)), what_(std::move(what)), base_(base_offset) {}

  template <typename T>
  requires std::is_trivially_copyable_v<T> T get() {
    T value;
    std::memcpy(&value, get_bytes(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::span<const std::byte> get_bytes(std::uint64_t size) {
    if (size > bytes_.size() - position_) fail("needs " + std::to_string(size) + " bytes", remaining());
    auto part = bytes_.subspan(position_, size);
    position_ += size;
    return part;
  }
  std::string get_string() {
    auto part = get_bytes(get<std::uint32_t>());
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }
  void require_end() const {
    if (position_ != bytes_.size()) fail("ends here", remaining());
  }
  std::uint64_t remaining() const noexcept { return bytes_.size() - position_; }
  std::uint64_t position() const noexcept { return position_; }

 private:
  [[noreturn]] void fail(std::string wanted, std::uint64_t left) const {
    throw Error(ErrorKind::corrupt, {.what = what_ + " is malformed",
                                     .file = file_,
                                     .offset = base_ + position_,
                                     .got = std::to_string(left) + " bytes left",
                                     .wanted = std::move(wanted)});
  }
  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
  std::string file_;
  std::string what_;
  std::uint64_t base_ = 0;
};

}  // namespace tenon
