// Which pages of a private mapping this process has written to: what is there differs from the file at most in those.
//
// The kernel knows, since a written page is a copy: present or swapped, and not the file's. That holds through swap,
// page migration and merging, after MADV_DONTNEED (the copy is gone, the file's bytes are back), and on both sides of a
// fork. Asked are the ioctl PAGEMAP_SCAN (Linux 6.7), else /proc/self/pagemap; both are first tried on a page that was
// written and one that was not. Where neither is to be had, or it lies, nothing is known.
//
// Threads: any; pages that are written meanwhile may or may not be told of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace tenon {

struct AddressRange {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
};

enum class PageStateMeans : std::uint8_t { scan, pagemap, none };

// The best means that this kernel has, from `from` on.
PageStateMeans page_state_means(PageStateMeans from = PageStateMeans::scan);

// Ascending, whole pages, apart: the pages in `ranges` that were written. `ranges` ascend, and lie in private mappings
// of files. nullopt: this cannot be told. Never throws for want of permission.
std::optional<std::vector<AddressRange>> written_pages(std::span<const AddressRange> ranges,
                                                       PageStateMeans means = page_state_means());

// For tests: as if the kernel had no better means than this.
void limit_page_state_means(PageStateMeans best) noexcept;

// A mapping in this process, as the kernel lists it.
struct MappedRegion {
  AddressRange range;
  bool is_private = false;
  std::uint64_t file_offset = 0;
  std::uint64_t inode = 0;  // 0: of no file
};

// All of them, ascending; none where the kernel does not list them.
std::vector<MappedRegion> mapped_regions();

// True if [address, address + size) is a private mapping of that part of a file with that inode: in a forked child,
// what the parent had there may be absent (MADV_DONTFORK), and something else in its place. The device is not compared,
// as file systems of several layers tell it differently here and there.
bool is_private_mapping(std::span<const MappedRegion> regions, std::uintptr_t address, std::uint64_t size_bytes,
                        std::uint64_t file_offset, std::uint64_t inode) noexcept;

}  // namespace tenon
