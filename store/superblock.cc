#include "store/superblock.h"

#include <chrono>
#include <cstring>

#include "mmap/file.h"

namespace tenon {

namespace {

using format::Superblock;

bool has_magic(std::span<const std::byte> bytes) {
  return bytes.size() >= sizeof format::superblock_magic &&
         std::memcmp(bytes.data(), format::superblock_magic, sizeof format::superblock_magic) == 0;
}

void check_version(const Superblock& s, const std::string& file) {
  const std::uint32_t unknown = s.incompat & ~format::known_incompat;
  if (s.major == format::version_major && unknown == 0) return;
  throw Error(ErrorKind::too_new,
              {.what = "store was written by a later format",
               .file = file,
               .got = "version " + std::to_string(s.major) + ", features " + std::to_string(s.incompat),
               .wanted = "version " + std::to_string(format::version_major),
               .hint = "use a later tenon"});
}

}  // namespace

Superblock make_superblock(const Digest& store_id, Durability durability) {
  Superblock s{};
  std::memcpy(s.magic, format::superblock_magic, sizeof s.magic);
  s.major = format::version_major;
  s.minor = format::version_minor;
  s.store_id = store_id;
  s.digest_id = format::digest_xxh3_128_merkle;
  s.granule = format::granule_bytes;
  s.created_at_ns = now_ns();
  s.durability = static_cast<std::uint8_t>(durability);
  created_by.copy(s.created_by, sizeof s.created_by - 1);
  s.checksum = format::seal_of(s);
  return s;
}

Superblock read_superblock(const std::filesystem::path& store) {
  const auto path = store / superblock_name;
  const auto bytes = try_read_file(path, 1 << 16);
  const auto no_store = [&](const char* what) {
    return Error(ErrorKind::no_store,
                 {.what = what, .file = store.string(), .hint = "make one with `tenon init PATH`"});
  };
  if (!bytes) throw no_store("not a store: it has no superblock");
  if (bytes->empty() || (bytes->size() >= sizeof(Superblock) && !has_magic(*bytes))) {
    throw Error(ErrorKind::corrupt, {.what = "superblock is not one of tenon's", .file = path.string(), .offset = 0});
  }
  if (bytes->size() != sizeof(Superblock)) {
    throw Error(ErrorKind::corrupt, {.what = "superblock has a wrong size",
                                     .file = path.string(),
                                     .got = std::to_string(bytes->size()),
                                     .wanted = std::to_string(sizeof(Superblock))});
  }
  Superblock s;
  std::memcpy(&s, bytes->data(), sizeof s);
  if (s.checksum != format::seal_of(s))
    throw Error(ErrorKind::corrupt, {.what = "superblock is damaged", .file = path.string(), .offset = 0});
  check_version(s, path.string());
  if (s.digest_id != format::digest_xxh3_128_merkle || s.granule != format::granule_bytes) {
    throw Error(ErrorKind::unsupported, {.what = "store uses another digest or granule", .file = path.string()});
  }
  return s;
}

bool is_writable(const Superblock& superblock) noexcept {
  return (superblock.ro_compat & ~format::known_ro_compat) == 0;
}

std::int64_t now_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace tenon
