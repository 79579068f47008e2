#include "mmap/page_state.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <string>
#include <string_view>

#include "mmap/mapping.h"

namespace tenon {

namespace {

using Written = std::optional<std::vector<AddressRange>>;

// linux/fs.h of Linux 6.7; Debian bookworm's headers are older.
struct PageRegion {
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t categories;
};
struct ScanArguments {
  std::uint64_t size;
  std::uint64_t flags;
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t walk_end;
  std::uint64_t regions;
  std::uint64_t regions_max;
  std::uint64_t pages_max;
  std::uint64_t inverted;
  std::uint64_t all_of;
  std::uint64_t any_of;
  std::uint64_t returned;
};
constexpr unsigned long pagemap_scan = _IOWR('f', 16, ScanArguments);
constexpr std::uint64_t is_file = 1 << 2;
constexpr std::uint64_t is_present = 1 << 3;
constexpr std::uint64_t is_swapped = 1 << 4;

// Documentation/admin-guide/mm/pagemap.rst
constexpr std::uint64_t entry_present = std::uint64_t{1} << 63;
constexpr std::uint64_t entry_swapped = std::uint64_t{1} << 62;
constexpr std::uint64_t entry_file = std::uint64_t{1} << 61;

std::atomic<PageStateMeans> best_means{PageStateMeans::scan};

// Opened anew each time: what a parent opened tells of the parent. Not through File: a process that may not look at
// itself is no error.
class ProcFile {
 public:
  explicit ProcFile(const char* path) : descriptor_(::open(path, O_RDONLY | O_CLOEXEC)) {}
  ProcFile(const ProcFile&) = delete;
  ProcFile& operator=(const ProcFile&) = delete;
  ~ProcFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  bool is_open() const noexcept { return descriptor_ >= 0; }
  int descriptor() const noexcept { return descriptor_; }

 private:
  int descriptor_;
};

void append(std::vector<AddressRange>& ranges, AddressRange range) {
  if (!ranges.empty() && ranges.back().end == range.begin) {
    ranges.back().end = range.end;
  } else {
    ranges.push_back(range);
  }
}

bool scan_range(int pagemap, AddressRange range, std::vector<AddressRange>& written) {
  std::array<PageRegion, 512> regions;
  ScanArguments arguments{};
  arguments.size = sizeof arguments;
  arguments.end = range.end;
  arguments.regions = reinterpret_cast<std::uintptr_t>(regions.data());
  arguments.regions_max = regions.size();
  arguments.inverted = is_file;
  arguments.all_of = is_file;
  arguments.any_of = is_present | is_swapped;
  arguments.returned = is_present | is_swapped;
  for (std::uint64_t at = range.begin; at < range.end;) {
    arguments.start = at;
    const int count = ::ioctl(pagemap, pagemap_scan, &arguments);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 || arguments.walk_end <= at) return false;
    for (const PageRegion& region : std::span(regions).first(static_cast<std::size_t>(count))) {
      append(written, {region.start, region.end});
    }
    at = arguments.walk_end;
  }
  return true;
}

bool read_range(int pagemap, AddressRange range, std::vector<AddressRange>& written) {
  std::array<std::uint64_t, 4096> entries;
  const std::uint64_t page = page_bytes();
  for (std::uintptr_t at = range.begin; at < range.end;) {
    const std::uint64_t wanted = std::min<std::uint64_t>(entries.size(), (range.end - at) / page);
    const ssize_t got =
        ::pread(pagemap, entries.data(), wanted * sizeof(std::uint64_t), static_cast<off_t>(at / page * 8));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0 || got % 8 != 0) return false;
    for (std::size_t i = 0; i < static_cast<std::size_t>(got) / 8; ++i, at += page) {
      const bool is_there = (entries[i] & (entry_present | entry_swapped)) != 0;
      if (is_there && (entries[i] & entry_file) == 0) append(written, {at, at + page});
    }
  }
  return true;
}

AddressRange whole_pages(AddressRange range) {
  const std::uint64_t page = page_bytes();
  return {range.begin / page * page, (range.end + page - 1) / page * page};
}

Written ask(std::span<const AddressRange> ranges, PageStateMeans means) {
  if (means == PageStateMeans::none) return std::nullopt;
  const ProcFile pagemap("/proc/self/pagemap");
  if (!pagemap.is_open()) return std::nullopt;
  const auto ask_one = means == PageStateMeans::scan ? scan_range : read_range;
  std::vector<AddressRange> written;
  std::uintptr_t done = 0;  // two ranges may share a page
  for (const AddressRange& range : ranges) {
    AddressRange pages = whole_pages(range);
    pages.begin = std::max(pages.begin, done);
    if (pages.begin >= pages.end) continue;
    if (!ask_one(pagemap.descriptor(), pages, written)) return std::nullopt;
    done = pages.end;
  }
  return written;
}

// Of four pages of a file the second is read and the third written: that one, and no other, must be told of.
bool tells_the_truth(PageStateMeans means) {
  const std::uint64_t page = page_bytes();
  const int file = ::memfd_create("tenon-page-state", MFD_CLOEXEC);
  if (file < 0) return false;
  void* const memory = ::ftruncate(file, static_cast<off_t>(4 * page)) == 0
                           ? ::mmap(nullptr, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file, 0)
                           : MAP_FAILED;
  ::close(file);
  if (memory == MAP_FAILED) return false;
  auto* const bytes = static_cast<volatile char*>(memory);
  bytes[2 * page] = static_cast<char>(bytes[page] + 1);
  const auto begin = reinterpret_cast<std::uintptr_t>(memory);
  const AddressRange all{begin, begin + 4 * page};
  const Written written = ask({&all, 1}, means);
  ::munmap(memory, 4 * page);
  return written && written->size() == 1 && written->front().begin == begin + 2 * page &&
         written->front().end == begin + 3 * page;
}

template <typename Number>
bool take_number(std::string_view& text, Number& number, int base, char after) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc{} || end == text.data() + text.size() || *end != after) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()) + 1);
  return true;
}

// "7f0c4a000000-7f0c4a021000 rw-p 00000000 fe:00 12345   /path"
std::optional<MappedRegion> parse_region(std::string_view line) {
  MappedRegion region;
  unsigned major = 0, minor = 0;
  if (!take_number(line, region.range.begin, 16, '-') || !take_number(line, region.range.end, 16, ' ') ||
      line.size() < 5)
    return std::nullopt;
  region.is_private = line[3] == 'p';
  line.remove_prefix(5);
  if (!take_number(line, region.file_offset, 16, ' ') || !take_number(line, major, 16, ':') ||
      !take_number(line, minor, 16, ' ') ||
      std::from_chars(line.data(), line.data() + line.size(), region.inode).ec != std::errc{})
    return std::nullopt;
  return region;
}

std::string read_all(int descriptor) {
  std::string text;
  std::array<char, 1 << 16> buffer;
  for (;;) {
    const ssize_t got = ::read(descriptor, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return {};
    if (got == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

}  // namespace

PageStateMeans page_state_means(PageStateMeans from) {
  static const bool can_scan = tells_the_truth(PageStateMeans::scan);
  static const bool can_read = tells_the_truth(PageStateMeans::pagemap);
  from = std::max(from, best_means.load(std::memory_order_relaxed));
  if (from == PageStateMeans::scan && can_scan) return PageStateMeans::scan;
  if (from != PageStateMeans::none && can_read) return PageStateMeans::pagemap;
  return PageStateMeans::none;
}

std::optional<std::vector<AddressRange>> written_pages(std::span<const AddressRange> ranges, PageStateMeans means) {
  return ask(ranges, means);
}

void limit_page_state_means(PageStateMeans best) noexcept { best_means.store(best, std::memory_order_relaxed); }

std::vector<MappedRegion> mapped_regions() {
  const ProcFile maps("/proc/self/maps");
  if (!maps.is_open()) return {};
  const std::string text = read_all(maps.descriptor());
  std::vector<MappedRegion> regions;
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t end = std::min(rest.find('\n'), rest.size() - 1);
    if (const auto region = parse_region(rest.substr(0, end))) regions.push_back(*region);
    rest.remove_prefix(end + 1);
  }
  return regions;
}

bool is_private_mapping(std::span<const MappedRegion> regions, std::uintptr_t address, std::uint64_t size_bytes,
                        std::uint64_t file_offset, std::uint64_t inode) noexcept {
  const std::uintptr_t end = address + size_bytes;
  auto region = std::upper_bound(regions.begin(), regions.end(), address,
                                 [](std::uintptr_t a, const MappedRegion& r) { return a < r.range.end; });
  for (; address < end; ++region) {
    if (region == regions.end() || region->range.begin > address || !region->is_private || region->inode != inode ||
        region->file_offset + (address - region->range.begin) != file_offset)
      return false;
    file_offset += region->range.end - address;
    address = region->range.end;
  }
  return true;
}

}  // namespace tenon
