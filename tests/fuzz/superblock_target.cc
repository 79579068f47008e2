// The file that says that a folder is a store.
#include "mutation.h"
#include "sealing.h"
#include "store/superblock.h"

using namespace tenon;

namespace {

const std::filesystem::path& store_path() {
  static const std::filesystem::path path = [] {
    std::filesystem::create_symlink(fuzz::file_with({}), fuzz::scratch_folder() / superblock_name);
    return fuzz::scratch_folder();
  }();
  return path;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto& path = store_path();
  fuzz::file_with(fuzz::as_bytes(data, size));
  fuzz::allow({ErrorKind::corrupt, ErrorKind::no_store, ErrorKind::too_new, ErrorKind::unsupported},
              [&] { is_writable(read_superblock(path)); });
  return 0;
}

TENON_FUZZ_MUTATOR([](fuzz::Bytes& bytes, std::size_t max_bytes, fuzz::Random& random) {
  fuzz::mutate_bytes(bytes, max_bytes);
  if (!fuzz::once_in(4, random)) bytes.resize(std::min(max_bytes, sizeof(format::Superblock)));
  if (!fuzz::once_in(16, random)) fuzz::seal(bytes);
})
