#include "formats/numpy_reader.h"

#include <fmt/format.h>

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

bool is_npy(const ForeignFile& file) { return is_npy(file.first()); }

Draft read_npy(const ForeignFile& file) {
  Array array = read_array(make_file_source(file.file(), 0), file.file()->size_bytes(), file.path());
  return make_lone_draft(std::move(array.row), std::move(array.slot));
}

Draft read_npz(const ForeignFile& file) {
  FlatDraft draft(file);
  for (const ZipEntry& entry : file.zip()->entries()) {
    const std::string label = fmt::format("{}({})", file.path(), entry.name);
    if (!entry.name.ends_with(ending)) {
      throw Error(ErrorKind::unsupported,
                  {.what = "numpy archive holds something that is no array", .file = label, .wanted = "names in .npy"});
    }
    Array array = read_array(make_record_source(file.zip(), entry, 1), entry.uncompressed_bytes, label);
    const std::string_view key = std::string_view(entry.name).substr(0, entry.name.size() - ending.size());
    draft.add(key, std::move(array.row), std::move(array.slot));
  }
  return draft.finish();
}

}  // namespace tenon
