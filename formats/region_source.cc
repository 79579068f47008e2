#include "formats/region_source.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

namespace tenon {

namespace {

void reverse_units(std::span<std::byte> bytes, std::uint64_t unit_bytes) noexcept {
  for (std::size_t at = 0; bytes.size() - at >= unit_bytes; at += unit_bytes) {
    const auto unit = bytes.subspan(at, unit_bytes);
    std::reverse(unit.begin(), unit.end());
  }
}

// Reads the whole units that the range touches.
void read_swapped(const Source& source, std::uint64_t nbytes, std::uint64_t unit_bytes, std::uint64_t offset,
                  std::span<std::byte> out) {
  const std::uint64_t begin = offset - offset % unit_bytes;
  std::uint64_t end = offset + out.size();
  end = std::min(end + (unit_bytes - end % unit_bytes) % unit_bytes, nbytes);
  if (begin == offset && end - begin == out.size()) {
    source.read(offset, out);
    return reverse_units(out, unit_bytes);
  }
  std::vector<std::byte> units(static_cast<std::size_t>(end - begin));
  source.read(begin, units);
  reverse_units(units, unit_bytes);
  std::memcpy(out.data(), units.data() + (offset - begin), out.size());
}

}  // namespace

Source make_file_source(std::shared_ptr<const File> file, std::uint64_t begin) {
  return Source{.read = [file = std::move(file), begin](std::uint64_t offset, std::span<std::byte> out) {
    file->read_at(begin + offset, out);
  }};
}

Source make_part_source(Source whole, std::uint64_t begin) {
  return Source{.read = [whole = std::move(whole), begin](std::uint64_t offset, std::span<std::byte> out) {
    whole.read(begin + offset, out);
  }};
}

Source make_swapped_source(Source source, std::uint64_t nbytes, std::uint64_t unit_bytes) {
  if (unit_bytes == 1) return source;
  return Source{
      .read = [source = std::move(source), nbytes, unit_bytes](std::uint64_t offset, std::span<std::byte> out) {
        if (!out.empty()) read_swapped(source, nbytes, unit_bytes, offset, out);
      }};
}

}  // namespace tenon
