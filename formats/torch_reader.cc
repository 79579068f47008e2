#include "formats/torch_reader.h"

#include "formats/torch_archive.h"
#include "formats/torch_import.h"
#include "tenon/error.h"

namespace tenon {

namespace {

constexpr std::uint64_t max_pickle_bytes = std::uint64_t{2} << 30;

}  // namespace

Draft read_torch_archive(const ForeignFile& file) {
  const TorchArchive archive(file);
  const ZipEntry* entry = archive.find("data.pkl");
  if (entry == nullptr) throw Error(ErrorKind::corrupt, {.what = "archive has no data.pkl", .file = archive.path()});
  const ArchiveStorages storages(archive, "data/", "data.pkl");
  return import_torch_object(read_whole_pickle(archive.read(*entry, max_pickle_bytes), storages.pickle_label()),
                             storages);
}

}  // namespace tenon
