// What the fuzz targets share. A target hands bytes to one reader; a finding is whatever ends the process: a
// sanitizer's report, an assertion, an exception that is no tenon::Error, an Error of a kind that such bytes must not
// cause, or a property that does not hold.
//
// Not for several threads: libFuzzer calls a target from one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <span>
#include <vector>

#include "tenon/error.h"

namespace tenon::fuzz {

using Bytes = std::vector<std::byte>;

// Ends the process with what was found.
[[noreturn]] void report(const char* what, const char* detail = "");

inline void require(bool holds, const char* what) {
  if (!holds) report(what);
}

[[noreturn]] void report_kind(const Error& error);

// Runs `action`; it may throw an Error of one of these kinds. False if it did.
template <typename Action>
bool allow(std::initializer_list<ErrorKind> kinds, const Action& action) {
  try {
    action();
    return true;
  } catch (const Error& error) {
    for (const ErrorKind kind : kinds) {
      if (error.kind() == kind) return false;
    }
    report_kind(error);
  }
}

// Refusals that a file of a stranger may get.
inline constexpr std::initializer_list<ErrorKind> refusals{ErrorKind::corrupt, ErrorKind::unsupported,
                                                           ErrorKind::limit};

inline std::span<const std::byte> as_bytes(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const std::byte*>(data), size};
}
inline std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Makes one file in memory have these bytes, and returns a path to it. Readers take files, and a disk would be too
// slow.
const std::filesystem::path& file_with(std::span<const std::byte> bytes);

// A folder of this process, for readers that look for names in one.
const std::filesystem::path& scratch_folder();

// A copy at a multiple of 64, where columns must be; nothing that may be read follows it.
class AlignedCopy {
 public:
  explicit AlignedCopy(std::span<const std::byte> bytes);
  std::span<const std::byte> bytes() const noexcept { return {data_.get(), size_}; }

 private:
  struct Free {
    void operator()(std::byte* data) const noexcept { std::free(data); }
  };
  std::unique_ptr<std::byte, Free> data_;
  std::size_t size_;
};

}  // namespace tenon::fuzz
