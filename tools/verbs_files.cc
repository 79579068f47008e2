// import and export: foreign files in and out.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <string_view>
#include <vector>

#include "tenon/formats.h"
#include "tenon/name.h"
#include "tenon/rev_path.h"
#include "tenon/store.h"
#include "tools/content.h"
#include "tools/failure.h"
#include "tools/nesting.h"
#include "tools/progress.h"
#include "tools/target.h"
#include "tools/text.h"
#include "tools/verbs.h"

namespace tenon::tools {
namespace {

namespace fs = std::filesystem;

// Only once a first file was understood: a mistyped name leaves no empty store behind.
Store open_or_make_store(const Globals& globals, const std::string& first_file, Output& output) {
  if (const auto path = find_writable_store(globals.store)) return Store::open(*path);
  const fs::path path = fs::path(".") / fs::path(first_file).stem().concat(".tenon");
  Store store = Store::init(path);
  output.note(fmt::format("made a new store: {}", printable(path.string())));
  return store;
}

Draft make_draft(ImportedFile& file, const std::string& path, const ImportArguments& arguments) {
  Draft draft = file.take_draft();
  if (arguments.message) {
    draft.message = *arguments.message;
  } else if (draft.message.empty()) {
    draft.message = fmt::format("import {}", fs::path(path).filename().string());
  }
  if (arguments.step) draft.step = arguments.step;
  if (!arguments.meta.empty()) draft.meta = set_members(draft.meta, arguments.meta);
  if (arguments.compact) compact(draft, true);
  if (!arguments.prefix.empty()) nest_under(draft, arguments.prefix);
  return draft;
}

CommitResult commit(Store& store, const Draft& draft, const std::string& path, bool is_sharded, const std::string& ref,
                    bool quiet) {
  Progress progress(fmt::format("import {}", printable(path)), quiet);
  try {
    return store.commit(draft, {.ref = ref, .progress = progress.callback()});
  } catch (const Error& error) {
    // Records are checked when they are read, so a damaged file can also show here. A folder or an index stands for
    // files beside it.
    const fs::path folder = fs::is_directory(path) ? fs::path(path) : fs::path(path).parent_path();
    const std::string& file = error.facts().file;
    const bool in_file = file.starts_with(path) || (is_sharded && fs::path(file).parent_path() == folder);
    if (error.kind() != ErrorKind::corrupt || !in_file) throw;
    throw Failure{error, exit_code::failed};
  }
}

void report_import(const std::string& path, const ImportedFile& file, const std::string& ref,
                   const CommitResult& result, std::size_t tensors, double seconds, Output& output) {
  if (output.is_json()) {
    output.record("import", {{"file", path},
                             {"format", file_format_name(file.format())},
                             {"ref", ref},
                             {"snapshot_id", to_hex(result.id)},
                             {"sequence", result.sequence},
                             {"tensors", tensors},
                             {"written_bytes", result.written_bytes},
                             {"reused_bytes", result.reused_bytes},
                             {"written_storages", result.written_storages},
                             {"reused_storages", result.reused_storages},
                             {"seconds", seconds}});
    return;
  }
  output.line(to_hex(result.id));
  output.note(fmt::format("{} ({}) -> {}: {}, {} written, {} already there, {:.2f} s", printable(path),
                          file_format_name(file.format()), printable(ref), format_plural(tensors, "tensor"),
                          format_bytes(result.written_bytes), format_bytes(result.reused_bytes), seconds));
}

void import_one(Store& store, const std::string& path, ImportedFile& file, const ImportArguments& arguments,
                Output& output) {
  const auto begin = std::chrono::steady_clock::now();
  const Draft draft = make_draft(file, path, arguments);
  const CommitResult result =
      commit(store, draft, path, file.format() == FileFormat::sharded, arguments.ref, output.is_json());
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  report_import(path, file, arguments.ref, result, draft.tensors.size(), elapsed.count(), output);
}

// Some files are committed and stay so; the one that failed and those after it are not.
int fail_in_part(const Error& error, const std::string& path, Output& output) {
  output.flush();
  print_error(error, exit_code::in_part, output.is_json());
  output.note(fmt::format("hint: what stands before {} was imported; go on from there", printable(path)));
  return exit_code::in_part;
}

struct OutFormat {
  std::string_view name;  // of --format
  std::vector<std::string_view> endings;
  FileFormat format;
  ExportResult (*write)(const Snapshot&, const fs::path&, const ExportOptions&);
};

const std::vector<OutFormat>& out_formats() {
  static const std::vector<OutFormat> formats = {
      {"torch", {".pt", ".pth", ".bin", ".ckpt"}, FileFormat::torch_zip, export_torch},
      {"torchscript", {}, FileFormat::torchscript, export_torchscript},
      {"safetensors", {".safetensors"}, FileFormat::safetensors, export_safetensors},
      {"npz", {".npz"}, FileFormat::npz, export_npz},
      {"npy", {".npy"}, FileFormat::npy, export_npy}};
  return formats;
}

[[noreturn]] void refuse_format(const ExportArguments& arguments, const std::string& ending) {
  std::vector<std::string_view> names;
  std::vector<std::string_view> endings;
  for (const OutFormat& format : out_formats()) {
    names.push_back(format.name);
    endings.insert(endings.end(), format.endings.begin(), format.endings.end());
  }
  const bool by_ending = arguments.format.empty();
  throw Error(ErrorKind::unsupported,
              {.what = by_ending ? "no format goes by this ending" : "no such format",
               .file = arguments.out,
               .got = by_ending ? ending : arguments.format,
               .wanted = fmt::format("one of {}", fmt::join(by_ending ? endings : names, ", ")),
               .hint = fmt::format("name the format with --format {}", fmt::join(names, ", "))});
}

const OutFormat& find_named(std::string_view name) { return *std::ranges::find(out_formats(), name, &OutFormat::name); }

// By --format, else by the ending; what came from TorchScript goes on running.
const OutFormat& find_format(const ExportArguments& arguments, const RevPath& target, const Snapshot& snapshot) {
  const std::string ending = fs::path(arguments.out).extension().string();
  const bool is_named = !arguments.format.empty();
  if (!is_named && ending == ".pt" && target.path.empty() && holds_torchscript(snapshot))
    return find_named("torchscript");
  for (const OutFormat& format : out_formats()) {
    const bool is_meant =
        is_named ? arguments.format == format.name : std::ranges::find(format.endings, ending) != format.endings.end();
    if (is_meant) return format;
  }
  refuse_format(arguments, ending);
}

void report_export(const ExportArguments& arguments, const RevPath& target, const OutFormat& format,
                   const Snapshot& snapshot, const ExportResult& result, Output& output) {
  const std::uint64_t nbytes = fs::file_size(arguments.out);
  if (output.is_json()) {
    output.record("export", {{"snapshot_id", to_hex(snapshot.id())},
                             {"prefix", target.path},
                             {"file", arguments.out},
                             {"format", file_format_name(format.format)},
                             {"tensors", result.tensors},
                             {"unshared_tensors", result.unshared},
                             {"file_bytes", nbytes}});
    return;
  }
  output.note(fmt::format("wrote {}: {}, {}, digests checked", printable(arguments.out),
                          format_plural(result.tensors, "tensor"), format_bytes(nbytes)));
  if (result.unshared == 0) return;
  output.note(fmt::format("hint: {} memory with another; {} cannot say so, and each was written in full",
                          result.unshared == 1 ? "1 tensor shares" : fmt::format("{} tensors share", result.unshared),
                          format.name));
}

// Of what is not there close names are told.
ExportResult export_as(const OutFormat& format, const Snapshot& snapshot, const std::string& out,
                       const ExportOptions& options) {
  try {
    return format.write(snapshot, out, options);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::not_found) Content(snapshot).select(options.prefix);  // throws, if that is it
    throw;
  }
}

}  // namespace

int run_import(const Globals& globals, const ImportArguments& arguments, Output& output) {
  std::optional<Store> store;
  std::size_t done = 0;
  for (const std::string& path : arguments.files) {
    try {
      ImportedFile file = open_file(path, {.offset = arguments.offset, .max_memory_bytes = arguments.max_memory_bytes});
      if (!store) store = open_or_make_store(globals, path, output);
      import_one(*store, path, file, arguments, output);
      ++done;
      check_interrupt();
    } catch (const Failure& failure) {
      if (done == 0) throw;
      return fail_in_part(failure.error, path, output);
    } catch (const Error& error) {
      if (done == 0) throw;
      return fail_in_part(error, path, output);
    }
  }
  return exit_code::ok;
}

int run_export(const Globals& globals, const ExportArguments& arguments, Output& output) {
  const RevPath target = split_rev(arguments.target);
  const Snapshot snapshot = open_store(globals.store).snapshot(target.rev);
  const OutFormat& format = find_format(arguments, target, snapshot);
  ExportResult result;
  {
    Progress progress(fmt::format("export {}", printable(arguments.out)), output.is_json());
    result = export_as(format, snapshot, arguments.out, {.prefix = target.path, .progress = progress.callback()});
  }
  report_export(arguments, target, format, snapshot, result, output);
  return exit_code::ok;
}

}  // namespace tenon::tools
