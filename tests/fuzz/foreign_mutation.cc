// How foreign files are changed.
#include <algorithm>
#include <cstring>
#include <string_view>

#include "formats/npy_header.h"
#include "formats/safetensors_header.h"
#include "formats/tar_reader.h"
#include "mutation.h"
#include "zip_image.h"

namespace tenon::fuzz {

namespace {

// What an archive keeps beside its pickles and arrays is short, and seldom of interest.
ZipPart& some_part(std::vector<ZipPart>& parts, Random& random) {
  std::vector<ZipPart*> good;
  for (ZipPart& part : parts) {
    if (part.name.ends_with(".pkl") || part.name.ends_with(".npy") || part.name.ends_with("model.json"))
      good.push_back(&part);
  }
  if (!good.empty() && !once_in(4, random)) return *good[random() % good.size()];
  return parts[random() % parts.size()];
}

void change_payload(ZipPart& part, std::size_t spare_bytes, Random& random) {
  // Half of the changed deflated parts are no deflated ones any more: their headers are all that can be wrong with
  // them.
  if (!part.is_stored && once_in(2, random)) part.is_stored = true;
  mutate_bytes(part.payload, part.payload.size() + std::min<std::size_t>(spare_bytes, 256));
}

void change_name(ZipPart& part, Random& random) {
  const auto text = std::as_bytes(std::span(part.name));
  Bytes name(text.begin(), text.end());
  // Below the directory, mostly: another top directory is refused at once.
  const std::size_t slash = once_in(8, random) ? 0 : part.name.find('/') + 1;
  Bytes rest(name.begin() + static_cast<std::ptrdiff_t>(slash), name.end());
  mutate_bytes(rest, rest.size() + 16);
  part.name = part.name.substr(0, slash) + std::string(as_text(rest));
}

void change_parts(std::vector<ZipPart>& parts, std::size_t spare_bytes, Random& random) {
  const std::size_t some = random() % parts.size();
  switch (random() % 16) {
    case 0:
      return std::swap(parts[some].payload, parts[random() % parts.size()].payload);
    case 1:
      return std::swap(parts[some], parts[random() % parts.size()]);
    case 2:
      parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(some));
      return;
    case 3:
      parts.push_back(parts[some]);
      return change_name(parts.back(), random);
    case 4:
      return change_name(parts[some], random);
    default:
      return change_payload(some_part(parts, random), spare_bytes, random);
  }
}

bool change_zip(Bytes& bytes, std::size_t max_bytes, Random& random) {
  auto parts = take_zip_apart(bytes);
  if (!parts || parts->empty()) return false;
  change_parts(*parts, max_bytes - std::min(max_bytes, bytes.size()), random);
  bytes = make_zip(*parts);
  return true;
}

// The header that begins at `begin` and whose length stands before it, in `width` bytes.
bool change_header(Bytes& bytes, std::size_t max_bytes, std::size_t begin, std::size_t width) {
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data() + begin - width, width);
  if (length > bytes.size() - begin) return false;
  const auto at = bytes.begin() + static_cast<std::ptrdiff_t>(begin);
  Bytes header(at, at + static_cast<std::ptrdiff_t>(length));
  const std::size_t spare = max_bytes - std::min(max_bytes, bytes.size());
  mutate_bytes(header, header.size() + std::min<std::size_t>(spare, 256));
  bytes.erase(at, at + static_cast<std::ptrdiff_t>(length));
  bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(begin), header.begin(), header.end());
  length = header.size();
  std::memcpy(bytes.data() + begin - width, &length, width);
  return true;
}

bool change_safetensors(Bytes& bytes, std::size_t max_bytes) {
  const std::size_t begin = safetensors_length_bytes;
  return bytes.size() > begin && bytes[begin] == std::byte{'{'} && change_header(bytes, max_bytes, begin, begin);
}

bool change_npy(Bytes& bytes, std::size_t max_bytes) {
  return bytes.size() > 12 && is_npy(as_text(bytes)) && bytes[6] == std::byte{1} &&
         change_header(bytes, max_bytes, 10, 2);
}

constexpr std::size_t tar_block_bytes = 512;
constexpr std::size_t tar_magic = 257;
constexpr std::size_t tar_checksum = 148;

void mend_tar_checksum(std::span<std::byte> block) {
  constexpr std::size_t digits = 8;
  std::fill_n(block.begin() + tar_checksum, digits, std::byte{' '});
  unsigned sum = 0;
  for (const std::byte byte : block) sum += static_cast<unsigned>(byte);
  char text[digits];
  std::snprintf(text, sizeof text, "%06o", sum);
  std::memcpy(block.data() + tar_checksum, text, digits - 1);
}

bool change_tar(Bytes& bytes, std::size_t max_bytes) {
  if (!is_tar(as_text(bytes))) return false;
  mutate_bytes(bytes, max_bytes);
  for (std::size_t at = 0; at + tar_block_bytes <= bytes.size(); at += tar_block_bytes) {
    const auto block = std::span(bytes).subspan(at, tar_block_bytes);
    if (as_text(block).substr(tar_magic).starts_with("ustar")) mend_tar_checksum(block);
  }
  return true;
}

}  // namespace

void change_foreign_file(Bytes& bytes, std::size_t max_bytes, Random& random) {
  const bool is_changed =
      !once_in(8, random) && (change_zip(bytes, max_bytes, random) || change_safetensors(bytes, max_bytes) ||
                              change_npy(bytes, max_bytes) || change_tar(bytes, max_bytes));
  if (!is_changed) mutate_bytes(bytes, max_bytes);
}

}  // namespace tenon::fuzz
