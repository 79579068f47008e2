#include "tenon/formats.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "formats/foreign_file.h"
#include "formats/recognition.h"
#include "formats/sharded_reader.h"

namespace tenon {

std::string_view file_format_name(FileFormat format) noexcept {
  switch (format) {
    case FileFormat::torch_zip:
      return "torch.save zip";
    case FileFormat::torch_legacy:
      return "torch.save legacy stream";
    case FileFormat::torch_tar:
      return "torch.save tar";
    case FileFormat::safetensors:
      return "safetensors";
    case FileFormat::npy:
      return "numpy array";
    case FileFormat::npz:
      return "numpy archive";
    case FileFormat::sharded:
      return "sharded checkpoint";
    case FileFormat::torchscript:
      return "TorchScript archive";
  }
  return "unknown";
}

struct ImportedFile::State {
  FileFormat format;
  Draft draft;
};

ImportedFile ImportedFile::open(const std::filesystem::path& path, const ImportOptions& options) {
  std::error_code unknown;  // whatever it is, opening it will tell
  const bool is_folder = std::filesystem::is_directory(path, unknown);
  RecognisedFile read = read_recognised(ForeignFile::open(is_folder ? find_index(path) : path, options));
  return ImportedFile(std::make_unique<State>(State{read.format, std::move(read.draft)}));
}

ImportedFile::ImportedFile(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
ImportedFile::ImportedFile(ImportedFile&&) noexcept = default;
ImportedFile& ImportedFile::operator=(ImportedFile&&) noexcept = default;
ImportedFile::~ImportedFile() = default;

FileFormat ImportedFile::format() const noexcept { return state_->format; }
const Draft& ImportedFile::draft() const noexcept { return state_->draft; }
Draft ImportedFile::take_draft() noexcept { return std::move(state_->draft); }

}  // namespace tenon
