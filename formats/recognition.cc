#include "formats/recognition.h"

#include "formats/numpy_reader.h"
#include "formats/refusals.h"
#include "formats/safetensors_reader.h"
#include "formats/sharded_reader.h"
#include "formats/tar_reader.h"
#include "formats/torch_legacy.h"
#include "formats/torch_reader.h"
#include "formats/torch_tar.h"
#include "formats/torchscript_reader.h"
#include "formats/torchscript_v1.h"

namespace tenon {

namespace {

bool is_torch_package(const ForeignFile& file) {
  return file.zip() && (file.find_below_top(".data/extern_modules") || file.find_below_top(".data/python_version"));
}

bool is_torchscript(const ForeignFile& file) {
  return file.zip() && !is_torch_package(file) && file.find_below_top("constants.pkl");
}

// TorchScript as torch before 1.3 wrote it.
bool is_torchscript_v1(const ForeignFile& file) {
  return file.zip() && !is_torch_package(file) && !is_torchscript(file) && file.find_below_top("model.json");
}

// Of zip archives, those of torch.save have data.pkl in their directory and nothing that tells of the others.
bool is_torch_zip(const ForeignFile& file) {
  return file.zip() && file.find_below_top("data.pkl") && !is_torchscript(file) && !is_torchscript_v1(file) &&
         !is_torch_package(file);
}

// A zip archive of arrays, and of nothing that tells of torch.
bool is_npz(const ForeignFile& file) {
  return file.zip() && file.find_ending(".npy") && !file.find_below_top("data.pkl") && !is_torchscript(file) &&
         !is_torchscript_v1(file) && !is_torch_package(file);
}

bool is_torch_tar(const ForeignFile& file) { return is_tar(file.first()); }

struct Reader {
  FileFormat format;
  bool (*matches)(const ForeignFile&);
  Draft (*read)(const ForeignFile&);
};

// No file matches two of them.
constexpr Reader readers[] = {
    {FileFormat::torch_zip, is_torch_zip, read_torch_archive},
    {FileFormat::torch_legacy, is_torch_legacy, read_torch_legacy},
    {FileFormat::torch_tar, is_torch_tar, read_torch_tar},
    {FileFormat::npz, is_npz, read_npz},
    {FileFormat::npy, is_npy, read_npy},
    {FileFormat::safetensors, is_safetensors, read_safetensors},
    {FileFormat::sharded, is_index, read_sharded},
    {FileFormat::torchscript, is_torchscript, read_torchscript},
    {FileFormat::torchscript, is_torchscript_v1, read_torchscript_v1},
};

struct Refusal {
  bool (*matches)(const ForeignFile&);
  void (*refuse)(const ForeignFile&);  // throws
};

// Known, and not read. The first that matches tells.
constexpr Refusal refusals[] = {
    {is_torch_package, refuse_torch_package},
};

}  // namespace

RecognisedFile read_recognised(const ForeignFile& file) {
  for (const Reader& reader : readers) {
    if (reader.matches(file)) return {reader.format, reader.read(file)};
  }
  for (const Refusal& refusal : refusals) {
    if (refusal.matches(file)) refusal.refuse(file);
  }
  refuse_by_name(file);
}

}  // namespace tenon
