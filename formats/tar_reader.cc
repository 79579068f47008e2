#include "formats/tar_reader.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <set>
#include <span>

#include "tenon/error.h"

namespace tenon {

namespace {

constexpr std::uint64_t block_bytes = 512;
constexpr std::uint64_t max_extended_bytes = 64 * 1024;
constexpr std::size_t max_entries = 100'000;

using Block = std::array<std::byte, block_bytes>;

std::string_view field(const Block& block, std::size_t offset, std::size_t size) {
  return {reinterpret_cast<const char*>(block.data()) + offset, size};
}

std::string_view text_field(const Block& block, std::size_t offset, std::size_t size) {
  const std::string_view raw = field(block, offset, size);
  return raw.substr(0, raw.find('\0'));
}

// Octal digits that spaces and zeros may surround, or, with the highest bit set, a big-endian number.
std::optional<std::uint64_t> number_field(const Block& block, std::size_t offset, std::size_t size) {
  std::string_view raw = field(block, offset, size);
  std::uint64_t value = 0;
  if ((static_cast<unsigned char>(raw[0]) & 0x80u) != 0) {
    for (const char c : raw.substr(1)) {
      if (value >> 55 != 0) return std::nullopt;
      value = (value << 8) | static_cast<unsigned char>(c);
    }
    return raw[0] == '\x80' ? std::optional(value) : std::nullopt;
  }
  while (!raw.empty() && raw.front() == ' ') raw.remove_prefix(1);
  while (!raw.empty() && (raw.back() == ' ' || raw.back() == '\0')) raw.remove_suffix(1);
  for (const char c : raw) {
    if (c < '0' || c > '7') return std::nullopt;
    value = (value << 3) | static_cast<std::uint64_t>(c - '0');
  }
  return value;
}

bool is_all_zero(const Block& block) {
  return std::all_of(block.begin(), block.end(), [](std::byte b) { return b == std::byte{0}; });
}

// The sum of the header's bytes, its own field counted as spaces.
bool has_right_checksum(const Block& block) {
  std::uint64_t sum = 8 * ' ';
  for (std::size_t i = 0; i < block.size(); ++i) {
    if (i < 148 || i >= 156) sum += std::to_integer<std::uint64_t>(block[i]);
  }
  return number_field(block, 148, 8) == sum;
}

// What extended headers say about the entry that follows them.
struct Extended {
  std::optional<std::string> name{};
  std::optional<std::uint64_t> nbytes{};
};

class TarReader {
 public:
  explicit TarReader(const File& file) : file_(file), end_(file.size_bytes()) {}

  std::vector<TarEntry> run() {
    // Zeros end an archive; one that was cut between entries ends there, too.
    while (end_ - offset_ >= block_bytes) {
      file_.read_at(offset_, block_);
      if (is_all_zero(block_)) break;
      read_entry();
    }
    return std::move(entries_);
  }

 private:
  [[noreturn]] void fail(ErrorKind kind, std::string what, std::string got = {}) const {
    throw Error(kind,
                {.what = std::move(what), .file = file_.path().string(), .offset = offset_, .got = std::move(got)});
  }

  void read_entry();
  void read_content(char type, const TarEntry& entry);
  void read_extended(char type, const TarEntry& entry);
  void apply_pax(std::string_view records);

  const File& file_;
  const std::uint64_t end_;
  std::uint64_t offset_ = 0;  // of the header at hand
  Block block_{};
  Extended extended_;
  std::vector<TarEntry> entries_;
  std::set<std::string> names_;
};

void TarReader::read_entry() {
  if (!has_right_checksum(block_)) fail(ErrorKind::corrupt, "tar header has a wrong checksum");
  const char type = field(block_, 156, 1)[0];
  const bool is_extension = type == 'x' || type == 'g' || type == 'L' || type == 'K';
  auto nbytes = number_field(block_, 124, 12);
  if (!is_extension && extended_.nbytes) nbytes = extended_.nbytes;
  if (!nbytes) fail(ErrorKind::corrupt, "tar header has a malformed size");
  const std::uint64_t begin = offset_ + block_bytes;
  if (*nbytes > end_ - begin) fail(ErrorKind::corrupt, "tar entry ends early", std::to_string(end_ - begin) + " bytes");
  read_content(type, {.name = std::string(text_field(block_, 0, 100)), .offset = begin, .nbytes = *nbytes});
  const std::uint64_t padded = std::min(end_ - begin, *nbytes + (block_bytes - *nbytes % block_bytes) % block_bytes);
  offset_ = begin + padded;
}

void TarReader::read_content(char type, const TarEntry& entry) {
  if (type == 'x' || type == 'g' || type == 'L' || type == 'K') return read_extended(type, entry);
  TarEntry named = entry;
  if (extended_.name) named.name = *extended_.name;
  const std::string_view prefix = text_field(block_, 345, 155);
  const bool is_posix = field(block_, 257, 6) == std::string_view("ustar\0", 6);
  if (!extended_.name && is_posix && !prefix.empty()) named.name = std::string(prefix) + "/" + named.name;
  extended_ = {};
  if (type == 'S') fail(ErrorKind::unsupported, "tar archive holds a sparse file", named.name);
  if (type != '0' && type != '\0' && type != '7') return;  // folders, links, devices
  if (entries_.size() >= max_entries) fail(ErrorKind::limit, "tar archive holds too many files");
  if (!names_.insert(named.name).second) fail(ErrorKind::corrupt, "tar archive holds a name twice", named.name);
  entries_.push_back(std::move(named));
}

void TarReader::read_extended(char type, const TarEntry& entry) {
  if (entry.nbytes > max_extended_bytes) fail(ErrorKind::limit, "tar archive has an extended header that is too long");
  std::string text(static_cast<std::size_t>(entry.nbytes), '\0');
  file_.read_at(entry.offset, std::as_writable_bytes(std::span(text)));
  if (type == 'L') extended_.name = text.substr(0, text.find('\0'));
  if (type == 'x' || type == 'g') apply_pax(text);
}

// "LENGTH KEY=VALUE\n", LENGTH counting all of it.
void TarReader::apply_pax(std::string_view records) {
  while (!records.empty()) {
    std::size_t length = 0;
    const auto [end, error] = std::from_chars(records.data(), records.data() + records.size(), length);
    const auto digits = static_cast<std::size_t>(end - records.data());
    const std::string_view record = records.substr(0, length);
    const std::size_t equals = record.find('=');
    if (error != std::errc{} || length < digits + 3 || length > records.size() || equals == std::string_view::npos ||
        record.back() != '\n') {
      fail(ErrorKind::corrupt, "tar archive has a malformed extended header");
    }
    const std::string_view key = record.substr(digits + 1, equals - digits - 1);
    const std::string_view value = record.substr(equals + 1, record.size() - equals - 2);
    if (key == "path") extended_.name = std::string(value);
    if (key.starts_with("GNU.sparse")) fail(ErrorKind::unsupported, "tar archive holds a sparse file");
    if (key == "size") {
      std::uint64_t nbytes = 0;
      const auto [tail, flaw] = std::from_chars(value.data(), value.data() + value.size(), nbytes);
      if (flaw != std::errc{} || tail != value.data() + value.size()) {
        fail(ErrorKind::corrupt, "tar archive has a malformed size");
      }
      extended_.nbytes = nbytes;
    }
    records.remove_prefix(length);
  }
}

}  // namespace

bool is_tar(std::string_view first_bytes) noexcept {
  return first_bytes.size() >= 262 && first_bytes.substr(257, 5) == "ustar";
}

std::vector<TarEntry> read_tar(const File& file) { return TarReader(file).run(); }

}  // namespace tenon
