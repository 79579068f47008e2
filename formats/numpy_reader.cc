#include "formats/numpy_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "formats/flat_draft.h"
#include "formats/npy_header.h"
#include "formats/record_source.h"
#include "formats/region_source.h"
#include "tenon/error.h"

namespace tenon {

namespace {

constexpr std::string_view ending = ".npy";

struct Array {
  TensorDraft row;
  SlotDraft slot;
};

// `source` is a whole .npy of `nbytes`, called `name` in messages.
Array read_array(const Source& source, std::uint64_t nbytes, const std::string& name) {
  NpyHeader header = read_npy_header(source.read, nbytes, name);
  const bool is_typed = !dtype_info(header.dtype).torch_storage.empty();
  Source data = make_swapped_source(make_part_source(source, header.data_begin), header.nbytes, header.swap_bytes);
  return {.row = {.dtype = header.dtype, .shape = std::move(header.shape), .stride = std::move(header.stride)},
          .slot = {.nbytes = header.nbytes,
                   .source = std::move(data),
                   .storage_dtype = is_typed ? header.dtype : DType::invalid}};
}

}  // namespace

Draft read_npy(std::shared_ptr<const File> file) {
  const std::uint64_t nbytes = file->size_bytes();
  const std::string path = file->path().string();
  Array array = read_array(make_file_source(std::move(file), 0), nbytes, path);
  return make_lone_draft(std::move(array.row), std::move(array.slot));
}

bool is_npz(const ZipReader& reader) {
  const auto& entries = reader.entries();
  return std::any_of(entries.begin(), entries.end(),
                     [](const ZipEntry& entry) { return entry.name.ends_with(ending); });
}

Draft read_npz(std::shared_ptr<const ZipReader> reader) {
  const std::string path = reader->file().path().string();
  FlatDraft draft(path, reader->file().size_bytes());
  for (const ZipEntry& entry : reader->entries()) {
    const std::string label = fmt::format("{}({})", path, entry.name);
    if (!entry.name.ends_with(ending)) {
      throw Error(ErrorKind::unsupported,
                  {.what = "numpy archive holds something that is no array", .file = label, .wanted = "names in .npy"});
    }
    Array array = read_array(make_record_source(reader, entry, 1), entry.uncompressed_bytes, label);
    const std::string_view key = std::string_view(entry.name).substr(0, entry.name.size() - ending.size());
    draft.add(key, std::move(array.row), std::move(array.slot));
  }
  return draft.finish();
}

}  // namespace tenon
