#include "tenon/formats.h"

#include <algorithm>
#include <array>
#include <functional>
#include <iterator>
#include <set>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "formats/npy_header.h"
#include "formats/numpy_reader.h"
#include "formats/pickle.h"
#include "formats/safetensors_reader.h"
#include "formats/sharded_reader.h"
#include "formats/torch_reader.h"
#include "formats/zip_reader.h"
#include "mmap/file.h"
#include "tenon/error.h"

namespace tenon {

namespace {

constexpr std::size_t first_bytes_wanted = 512;
constexpr std::uint64_t max_plain_pickle_bytes = std::uint64_t{64} << 20;
constexpr std::size_t max_globals_shown = 8;

[[noreturn]] void refuse(const File& file, std::string what, std::string hint = {}) {
  throw Error(ErrorKind::unsupported, {.what = std::move(what),
                                       .file = file.path().string(),
                                       .wanted = "a file of torch since 1.6, safetensors or numpy",
                                       .hint = std::move(hint)});
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The part of an entry's name below the top directory; the whole name if it is not in one.
std::string_view below_top(std::string_view name) {
  const std::size_t slash = name.find('/');
  return slash == std::string_view::npos ? name : name.substr(slash + 1);
}

const ZipEntry* find_below_top(const ZipReader& zip, const std::function<bool(std::string_view)>& matches) {
  const auto& entries = zip.entries();
  const auto found = std::find_if(entries.begin(), entries.end(),
                                  [&](const ZipEntry& entry) { return matches(below_top(entry.name)); });
  return found == entries.end() ? nullptr : &*found;
}

bool has_below_top(const ZipReader& zip, std::string_view name) {
  return find_below_top(zip, [&](std::string_view here) { return here == name; }) != nullptr;
}

[[noreturn]] void refuse_other_archive(const ZipReader& zip) {
  const auto ends_with = [&](std::string_view ending) {
    return find_below_top(zip, [&](std::string_view name) { return name.ends_with(ending); });
  };
  for (const std::string_view ending : {".pth", ".pt"}) {
    const ZipEntry* inner = ends_with(ending);
    if (inner != nullptr) {
      refuse(zip.file(), "zip archive holds torch files but is none itself", "unpack it and import " + inner->name);
    }
  }
  refuse(zip.file(), "zip archive is not one that torch.save writes");
}

// Of zip archives, those of torch.save have exactly data.pkl in their directory.
std::string torch_top_directory(const ZipReader& zip) {
  const bool is_package = has_below_top(zip, ".data/extern_modules") || has_below_top(zip, ".data/python_version");
  if (is_package) refuse(zip.file(), "torch.package archive is not supported");
  if (has_below_top(zip, "constants.pkl") || has_below_top(zip, "model.json")) {
    refuse(zip.file(), "TorchScript archive is not supported", "save its state_dict() with torch.save");
  }
  if (!has_below_top(zip, "data.pkl")) refuse_other_archive(zip);
  const std::string& first = zip.entries().front().name;
  const std::size_t slash = first.find('/');
  if (slash == 0 || slash == std::string::npos) {
    throw Error(ErrorKind::corrupt,
                {.what = "archive's files are not in one directory", .file = zip.file().path().string(), .got = first});
  }
  return first.substr(0, slash);
}

bool is_legacy_torch(std::string_view bytes) {
  constexpr std::string_view magic("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 12);
  return bytes.size() > 14 && bytes[0] == '\x80' && bytes.substr(2, magic.size()) == magic;
}

bool is_tar(std::string_view bytes) { return bytes.size() >= 262 && bytes.substr(257, 5) == "ustar"; }

// Of a pickle that is no tensor file, the classes and functions it names: what a person wants to know first.
std::string name_globals(const PickleGraph& graph) {
  std::set<std::string> names;
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (graph.is(id, PickleKind::global))
      names.insert(fmt::format("{}.{}", graph.global_module(id), graph.global_name(id)));
  }
  if (names.empty()) return "it names no classes or functions";
  std::vector<std::string> shown(names.begin(), names.end());
  if (shown.size() > max_globals_shown) {
    shown.resize(max_globals_shown);
    shown.push_back("...");
  }
  return fmt::format("it names {}", fmt::join(shown, ", "));
}

[[noreturn]] void refuse_pickle(const File& file) {
  const auto bytes = read_file(file.path(), max_plain_pickle_bytes);
  const auto result = read_pickle(bytes, {.file = file.path().string()});
  refuse(file, "plain pickle holds no tensors", name_globals(result.graph));
}

// Protocols 0 and 1 have no magic number: such a pickle is one that can be read.
bool is_old_pickle(const File& file, std::string_view first_bytes) {
  constexpr std::string_view can_begin = "()]}cNIVSFL";
  if (first_bytes.empty() || can_begin.find(first_bytes[0]) == std::string_view::npos) return false;
  try {
    read_pickle(read_file(file.path(), max_plain_pickle_bytes));
    return true;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::io) throw;
    return false;
  }
}

[[noreturn]] void refuse_by_name(const File& file, std::string_view bytes) {
  if (is_legacy_torch(bytes)) {
    refuse(file, "torch file in the format before 1.6 is not supported", "load it with torch.load and save it again");
  }
  if (is_tar(bytes)) refuse(file, "tar archive (torch before 0.1.10, or another) is not supported");
  if (bytes.starts_with("PYTORCH1")) refuse(file, "preview format of torch 1.0 is not supported");
  if (bytes.size() >= 8 && bytes.substr(4, 4) == "PTMF") refuse(file, "mobile flatbuffer (.ptl) is not supported");
  if (bytes.starts_with("\x1f\x8b")) refuse(file, "gzip file is not supported", "unpack it first");
  if (bytes.starts_with('\x80') || is_old_pickle(file, bytes)) refuse_pickle(file);
  throw Error(ErrorKind::corrupt, {.what = "file is in no format that is known",
                                   .file = file.path().string(),
                                   .offset = 0,
                                   .wanted = "a file of torch, safetensors or numpy"});
}

struct Understood {
  FileFormat format;
  Draft draft;
};

bool is_torch_zip(const ZipReader& zip) {
  constexpr std::string_view marks[] = {"data.pkl", "model.json", ".data/extern_modules", ".data/python_version"};
  return std::any_of(std::begin(marks), std::end(marks),
                     [&](std::string_view mark) { return has_below_top(zip, mark); });
}

Understood read_zip(std::shared_ptr<const File> file) {
  auto zip = std::make_shared<const ZipReader>(ZipReader::open(std::move(file)));
  if (!is_torch_zip(*zip) && is_npz(*zip)) return {FileFormat::npz, read_npz(zip)};
  const std::string top = torch_top_directory(*zip);
  return {FileFormat::torch_zip, read_torch_archive(zip, top)};
}

// By its first bytes. A shard is never an index in turn.
Understood read_first_of(std::shared_ptr<const File> file, bool may_have_shards) {
  std::vector<std::byte> first(std::min<std::uint64_t>(first_bytes_wanted, file->size_bytes()));
  file->read_at(0, first);
  const std::string_view bytes = as_text(first);
  if (ZipReader::recognises(first)) return read_zip(std::move(file));
  if (is_npy(bytes)) return {FileFormat::npy, read_npy(std::move(file))};
  if (is_safetensors(bytes) && !is_legacy_torch(bytes))
    return {FileFormat::safetensors, read_safetensors(std::move(file))};
  if (may_have_shards && may_be_index(bytes)) {
    const auto open_shard = [](const std::filesystem::path& path) {
      return read_first_of(std::make_shared<const File>(File::open(path)), false).draft;
    };
    return {FileFormat::sharded, read_sharded(*file, open_shard)};
  }
  refuse_by_name(*file, bytes);
}

}  // namespace

std::string_view file_format_name(FileFormat format) noexcept {
  switch (format) {
    case FileFormat::torch_zip:
      return "torch.save zip";
    case FileFormat::safetensors:
      return "safetensors";
    case FileFormat::npy:
      return "numpy array";
    case FileFormat::npz:
      return "numpy archive";
    case FileFormat::sharded:
      return "sharded checkpoint";
  }
  return "unknown";
}

struct ImportedFile::State {
  FileFormat format;
  Draft draft;
};

ImportedFile ImportedFile::open(const std::filesystem::path& path) {
  std::error_code unknown;  // whatever it is, opening it will tell
  const bool is_folder = std::filesystem::is_directory(path, unknown);
  auto file = std::make_shared<const File>(File::open(is_folder ? find_index(path) : path));
  auto [format, draft] = read_first_of(file, true);
  return ImportedFile(std::make_unique<State>(State{format, std::move(draft)}));
}

ImportedFile::ImportedFile(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
ImportedFile::ImportedFile(ImportedFile&&) noexcept = default;
ImportedFile& ImportedFile::operator=(ImportedFile&&) noexcept = default;
ImportedFile::~ImportedFile() = default;

FileFormat ImportedFile::format() const noexcept { return state_->format; }
const Draft& ImportedFile::draft() const noexcept { return state_->draft; }

}  // namespace tenon
