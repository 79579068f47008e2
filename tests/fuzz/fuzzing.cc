#include "fuzzing.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>

namespace tenon::fuzz {

void report(const char* what, const char* detail) {
  std::fprintf(stderr, "FINDING: %s %s\n", what, detail);
  std::abort();
}

void report_kind(const Error& error) {
  std::fprintf(stderr, "FINDING: an error of kind %s: %s\n", error_kind_name(error.kind()), error.what());
  std::abort();
}

const std::filesystem::path& file_with(std::span<const std::byte> bytes) {
  static const int descriptor = ::memfd_create("input", MFD_CLOEXEC);
  static const std::filesystem::path path = "/proc/self/fd/" + std::to_string(descriptor);
  // Emptied first: mappings of the input before must not be what this one is read through.
  const bool is_written = ::ftruncate(descriptor, 0) == 0 &&
                          ::pwrite(descriptor, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size());
  require(descriptor >= 0 && is_written, "no memory for a file");
  return path;
}

const std::filesystem::path& scratch_folder() {
  static const std::filesystem::path path = [] {
    std::string pattern = (std::filesystem::temp_directory_path() / "fuzz-XXXXXX").string();
    require(::mkdtemp(pattern.data()) != nullptr, "no temporary folder");
    return std::filesystem::path(pattern);
  }();
  return path;
}

AlignedCopy::AlignedCopy(std::span<const std::byte> bytes) : size_(bytes.size()) {
  void* memory = nullptr;
  require(::posix_memalign(&memory, 64, bytes.size()) == 0, "no memory for a copy");
  data_.reset(static_cast<std::byte*>(memory));
  if (!bytes.empty()) std::memcpy(memory, bytes.data(), bytes.size());
}

}  // namespace tenon::fuzz
