// The file TENON: says that a directory is a store, and which. Written once by init.
#pragma once

#include <filesystem>

#include "store/format.h"
#include "tenon/store.h"

namespace tenon {

inline constexpr const char* superblock_name = "TENON";

format::Superblock make_superblock(const Digest& store_id, Durability durability);
// Throws no_store (missing or foreign), corrupt (damaged), too_new (unknown major version or incompat feature).
format::Superblock read_superblock(const std::filesystem::path& store);
// True if this code may write to such a store.
bool is_writable(const format::Superblock& superblock) noexcept;

std::int64_t now_ns() noexcept;  // since 1970, UTC
inline constexpr std::string_view created_by = "tenon " TENON_VERSION;

}  // namespace tenon
