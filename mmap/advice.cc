#include "mmap/advice.h"

#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <string>

#include "mmap/file.h"
#include "mmap/mapping.h"

namespace tenon {
namespace {

constexpr unsigned long nodes_max = 64;

// Whole pages around a range.
struct Pages {
  Pages(const std::byte* data, std::uint64_t size) noexcept {
    const std::uint64_t before = reinterpret_cast<std::uintptr_t>(data) % page_bytes();
    begin = const_cast<std::byte*>(data) - before;
    size_bytes = size + before;
  }
  std::byte* begin;
  std::uint64_t size_bytes;
};

std::uint64_t node_mask() noexcept {
  std::uint64_t mask = 0;
  const long done = ::syscall(SYS_get_mempolicy, nullptr, &mask, nodes_max, nullptr, MPOL_F_MEMS_ALLOWED);
  return done == 0 && mask != 0 ? mask : 1;
}

}  // namespace

void advise_will_need(const std::byte* data, std::uint64_t size_bytes) noexcept {
  const Pages pages(data, size_bytes);
  (void)::madvise(pages.begin, pages.size_bytes, MADV_WILLNEED);
}

void advise_huge_pages(const std::byte* data, std::uint64_t size_bytes) noexcept {
  const Pages pages(data, size_bytes);
  (void)::madvise(pages.begin, pages.size_bytes, MADV_HUGEPAGE);
}

void lock_on_fault(const std::byte* data, std::uint64_t size_bytes) {
  const Pages pages(data, size_bytes);
  if (::mlock2(pages.begin, pages.size_bytes, MLOCK_ONFAULT) == 0) return;
  if (errno != ENOMEM && errno != EPERM && errno != EAGAIN) throw_errno(errno, "cannot lock memory", {});
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  throw Error(ErrorKind::limit, {.what = "cannot lock " + std::to_string(size_bytes) + " bytes of memory",
                                 .got = "RLIMIT_MEMLOCK of " + std::to_string(limit.rlim_cur) + " bytes",
                                 .hint = "raise it (`ulimit -l`), or open without lock_on_fault"});
}

void interleave_over_nodes(const std::byte* data, std::uint64_t size_bytes) noexcept {
  const std::uint64_t mask = node_mask();
  if (std::popcount(mask) < 2) return;
  const Pages pages(data, size_bytes);
  (void)::syscall(SYS_mbind, pages.begin, pages.size_bytes, MPOL_INTERLEAVE, &mask, nodes_max, 0);
}

unsigned numa_nodes() noexcept { return static_cast<unsigned>(std::popcount(node_mask())); }

}  // namespace tenon
