// What can be asked of the system for a mapped range. Nothing here copies a page of a private mapping. Ranges need not
// begin at a page. Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tenon {

// Begins to read what is not in memory yet.
void advise_will_need(const std::byte* data, std::uint64_t size_bytes) noexcept;
// Asks for huge pages; advice that a kernel, or a file system, may not know.
void advise_huge_pages(const std::byte* data, std::uint64_t size_bytes) noexcept;
// Keeps each page in memory once it was touched, until it is unmapped. Throws limit (naming RLIMIT_MEMLOCK), io.
void lock_on_fault(const std::byte* data, std::uint64_t size_bytes);
// Has pages that this process brings in spread over the NUMA nodes; nothing where there is one.
void interleave_over_nodes(const std::byte* data, std::uint64_t size_bytes) noexcept;
// Nodes that have memory, at least 1; at most 64 are counted.
unsigned numa_nodes() noexcept;

}  // namespace tenon
