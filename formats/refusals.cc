#include "formats/refusals.h"

#include <set>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "formats/pickle.h"
#include "tenon/error.h"

namespace tenon {

namespace {

constexpr std::uint64_t max_plain_pickle_bytes = std::uint64_t{64} << 20;
constexpr std::size_t max_globals_shown = 8;

[[noreturn]] void refuse(const ForeignFile& file, std::string what, std::string hint = {}) {
  throw Error(ErrorKind::unsupported, {.what = std::move(what),
                                       .file = file.path(),
                                       .wanted = "a file of torch, safetensors or numpy",
                                       .hint = std::move(hint)});
}

[[noreturn]] void refuse_other_archive(const ForeignFile& file) {
  for (const std::string_view ending : {".pth", ".pt"}) {
    const ZipEntry* inner = file.find_ending(ending);
    if (inner != nullptr) {
      refuse(file, "zip archive holds torch files but is none itself", "unpack it and import " + inner->name);
    }
  }
  refuse(file, "zip archive is not one that torch.save writes");
}

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

[[noreturn]] void refuse_pickle(const ForeignFile& file) {
  const auto bytes = read_file(file.file()->path(), max_plain_pickle_bytes);
  const auto result = read_pickle(bytes, {.file = file.path()});
  refuse(file, "plain pickle holds no tensors", name_globals(result.graph));
}

// Protocols 0 and 1 have no magic number: such a pickle is one that can be read.
bool is_old_pickle(const ForeignFile& file) {
  constexpr std::string_view can_begin = "()]}cNIVSFL";
  const std::string_view first = file.first();
  if (first.empty() || can_begin.find(first[0]) == std::string_view::npos) return false;
  try {
    read_pickle(read_file(file.file()->path(), max_plain_pickle_bytes));
    return true;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::io) throw;
    return false;
  }
}

}  // namespace

void refuse_torch_package(const ForeignFile& file) { refuse(file, "torch.package archive is not supported"); }

void refuse_by_name(const ForeignFile& file) {
  const std::string_view bytes = file.first();
  if (file.zip()) refuse_other_archive(file);
  if (bytes.starts_with("PYTORCH1")) refuse(file, "preview format of torch 1.0 is not supported");
  if (bytes.size() >= 8 && bytes.substr(4, 4) == "PTMF") refuse(file, "mobile flatbuffer (.ptl) is not supported");
  if (bytes.starts_with("\x1f\x8b")) refuse(file, "gzip file is not supported", "unpack it first");
  if (bytes.starts_with('\x80') || is_old_pickle(file)) refuse_pickle(file);
  throw Error(ErrorKind::corrupt, {.what = "file is in no format that is known",
                                   .file = file.path(),
                                   .offset = 0,
                                   .wanted = "a file of torch, safetensors or numpy"});
}

}  // namespace tenon
