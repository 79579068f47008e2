// The first two pages of the catalog's file, which LMDB believes. The input is these; the file is longer.
#include "mmap/file.h"
#include "mutation.h"
#include "store/catalog_meta.h"

using namespace tenon;

namespace {

constexpr std::uint64_t file_bytes = 1 << 20;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto& path = fuzz::file_with(fuzz::as_bytes(data, size));
  std::filesystem::resize_file(path, file_bytes);
  fuzz::allow({ErrorKind::corrupt}, [&] {
    const File file = File::open(path);
    const MetaPages pages = check_meta_pages(file, UINT64_MAX);
    fuzz::require(pages.content_bytes <= file_bytes, "LMDB would read beyond the end of its file");
    fuzz::require(has_meta_pages(file, pages), "meta pages are not those just read");
  });
  return 0;
}

TENON_FUZZ_MUTATOR([](fuzz::Bytes& bytes, std::size_t max_bytes, fuzz::Random& random) {
  const std::size_t size = bytes.size();
  fuzz::mutate_bytes(bytes, max_bytes);
  if (!fuzz::once_in(8, random)) bytes.resize(size);
})
