// Which classes and functions pickles name. The pickles are read as for an import, by the same reader.
#include <algorithm>
#include <functional>
#include <set>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "formats/foreign_file.h"
#include "formats/global_safety.h"
#include "formats/pickle_stream.h"
#include "formats/tar_reader.h"
#include "formats/torch_legacy.h"
#include "formats/torch_object.h"
#include "formats/torch_tar.h"
#include "tenon/formats.h"

namespace tenon {

namespace {

constexpr std::uint64_t max_pickle_bytes = std::uint64_t{2} << 30;
// What the names may take; a name is counted with what it costs beside its letters.
constexpr std::size_t max_names_bytes = std::size_t{16} << 20;
constexpr std::size_t name_bytes = 128;
constexpr int pickles_of_legacy_stream = 5;

class Collector {
 public:
  explicit Collector(std::string file) : file_(std::move(file)) {}

  PickleReadOptions options(std::string file) {
    return {.file = std::move(file),
            .on_global = [this](std::string_view module, std::string_view name) { add(module, name); }};
  }

  void add(std::string_view module, std::string_view name) {
    if (!names_.emplace(module, name).second) return;
    names_bytes_ += name_bytes + module.size() + name.size();
    if (names_bytes_ <= max_names_bytes) return;
    throw Error(ErrorKind::limit, {.what = "file names more classes and functions than can be listed",
                                   .file = file_,
                                   .got = fmt::format("{} so far", names_.size())});
  }

  bool is_empty() const { return names_.empty(); }

  PickleGlobals result(std::optional<Error> flaw = {}) const {
    PickleGlobals out{.flaw = std::move(flaw)};
    for (const auto& [module, name] : names_) out.globals.push_back({module, name, global_safety(module, name)});
    std::stable_sort(out.globals.begin(), out.globals.end(),
                     [](const PickleGlobal& a, const PickleGlobal& b) { return a.safety < b.safety; });
    return out;
  }

 private:
  const std::string file_;
  std::set<std::pair<std::string, std::string>> names_;
  std::size_t names_bytes_ = 0;
};

bool is_pickle_name(std::string_view name) { return name.ends_with(".pkl") || name.ends_with(".debug_pkl"); }

[[noreturn]] void refuse_without_pickles(const ForeignFile& file) {
  const ZipEntry* inner = nullptr;
  for (const std::string_view ending : {".pth", ".pt"}) {
    if (file.zip() && inner == nullptr) inner = file.find_ending(ending);
  }
  throw Error(ErrorKind::unsupported,
              {.what = "file holds no pickle",
               .file = file.path(),
               .hint = inner == nullptr ? std::string() : "unpack it and look at " + inner->name});
}

// A flaw in one pickle does not hide what the others name.
void read_archive(const ForeignFile& file, Collector& collector) {
  bool has_pickles = false;
  std::optional<Error> flaw;
  for (const ZipEntry& entry : file.zip()->entries()) {
    if (!is_pickle_name(entry.name)) continue;
    has_pickles = true;
    try {
      const auto bytes = file.zip()->read(entry, max_pickle_bytes);
      read_pickle(bytes, collector.options(file.path() + "(" + entry.name + ")"));
    } catch (const Error& error) {
      if (!flaw) flaw = error;
    }
  }
  if (flaw) throw Error(*flaw);
  if (!has_pickles) refuse_without_pickles(file);
}

void read_stream(const ForeignFile& file, int pickles, Collector& collector) {
  PickleStream stream(file.file(), 0, file.file()->size_bytes(), file.path());
  for (int i = 0; i < pickles; ++i) stream.next(collector.options({}));
}

// Not a pickle, whatever its first byte.
bool has_no_pickles(std::string_view first) {
  return first.starts_with("\x93NUMPY") || first.starts_with("PYTORCH1") || first.starts_with("\x1f\x8b") ||
         (first.size() >= 9 && first[6] == '\0' && first[7] == '\0' && first[8] == '{') ||
         (first.size() >= 8 && first.substr(4, 4) == "PTMF");
}

void read_file_pickles(const ForeignFile& file, Collector& collector) {
  if (file.zip()) return read_archive(file, collector);
  if (is_torch_legacy(file)) return read_stream(file, pickles_of_legacy_stream, collector);
  if (is_tar(file.first())) {
    return read_torch_tar_pickles(file, [&](auto module, auto name) { collector.add(module, name); });
  }
  if (has_no_pickles(file.first())) refuse_without_pickles(file);
  read_stream(file, 1, collector);
}

}  // namespace

PickleGlobals list_globals(const std::filesystem::path& path, const ImportOptions& options) {
  const ForeignFile file = ForeignFile::open(path, options);
  Collector collector(file.path());
  try {
    read_file_pickles(file, collector);
    return collector.result();
  } catch (const Error& error) {
    // What was found before the flaw is told with it.
    if (collector.is_empty()) throw;
    return collector.result(error);
  }
}

PickleGlobals list_globals(const Snapshot& snapshot, const std::string& prefix) {
  const TensorTable table = make_tensor_table(snapshot);
  const auto bytes = [&] {
    const TorchObject object = make_torch_object(table, prefix);
    return write_pickle(object.graph, object.graph.root);
  }();
  Collector collector("snapshot");
  read_pickle(bytes, collector.options("snapshot"));
  return collector.result();
}

}  // namespace tenon
