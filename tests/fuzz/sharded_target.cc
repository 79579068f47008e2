// The index of a checkpoint in several files, beside two of these.
#include <fstream>

#include "draft_checks.h"
#include "formats/sharded_reader.h"

using namespace tenon;

namespace {

void write(const std::filesystem::path& path, std::string_view header, std::size_t data_bytes) {
  std::ofstream out(path, std::ios::binary);
  const std::uint64_t length = header.size();
  out.write(reinterpret_cast<const char*>(&length), sizeof length);
  out << header << std::string(data_bytes, '\1');
}

// A folder with two shards, and the input as index.
const std::filesystem::path& index_path() {
  static const std::filesystem::path path = [] {
    const auto folder = fuzz::scratch_folder();
    write(folder / "a.safetensors", R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
    write(folder / "b.safetensors", R"({"b":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", 3);
    std::filesystem::create_symlink(fuzz::file_with({}), folder / "model.safetensors.index.json");
    return folder / "model.safetensors.index.json";
  }();
  return path;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto& path = index_path();
  fuzz::file_with(fuzz::as_bytes(data, size));
  fuzz::allow({ErrorKind::corrupt, ErrorKind::unsupported, ErrorKind::limit, ErrorKind::not_found}, [&] {
    const ForeignFile file = ForeignFile::open(path);
    if (is_index(file)) fuzz::check_foreign_draft(read_sharded(file));
  });
  return 0;
}
