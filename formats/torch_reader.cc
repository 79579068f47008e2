#include "formats/torch_reader.h"

#include <memory>
#include <vector>

#include "formats/torch_archive.h"
#include "formats/torch_import.h"
#include "tenon/error.h"

namespace tenon {

namespace {

constexpr std::uint64_t max_pickle_bytes = std::uint64_t{2} << 30;
constexpr const char* text_id_hint = "torch.load cannot read it either; save with pickle_protocol=2 or later";

// The pickle itself is gone when the object is imported, unless long texts are in it: both at once would be too much.
PickleGraph read_object(const TorchArchive& archive, const ArchiveStorages& storages, const ImportOptions& options) {
  const ZipEntry* entry = archive.find("data.pkl");
  if (entry == nullptr) throw Error(ErrorKind::corrupt, {.what = "archive has no data.pkl", .file = archive.path()});
  PickleReadOptions reading = object_read_options(options);
  reading.file = storages.pickle_label();
  reading.text_id_hint = text_id_hint;
  const auto bytes = std::make_shared<const std::vector<std::byte>>(archive.read(*entry, max_pickle_bytes));
  reading.owner = bytes;
  return read_whole_pickle(*bytes, reading);
}

}  // namespace

Draft read_torch_archive(const ForeignFile& file) {
  const TorchArchive archive(file);
  const ArchiveStorages storages(archive, "data/", "data.pkl");
  return import_torch_object(read_object(archive, storages, file.options()), storages, file.options());
}

}  // namespace tenon
