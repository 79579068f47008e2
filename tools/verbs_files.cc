// import and export: foreign files in and out.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>

#include "tenon/formats.h"
#include "tenon/name.h"
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
  if (!arguments.prefix.empty()) nest_under(draft, arguments.prefix);
  return draft;
}

CommitResult commit(Store& store, const Draft& draft, const std::string& path, const std::string& ref, bool quiet) {
  Progress progress(fmt::format("import {}", printable(path)), quiet);
  try {
    return store.commit(draft, {.ref = ref, .progress = progress.callback()});
  } catch (const Error& error) {
    // Records are checked when they are read, so a damaged file can also show here.
    const bool in_file = error.facts().file.starts_with(path);
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
  const CommitResult result = commit(store, draft, path, arguments.ref, output.is_json());
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

// What goes by an ending is what was imported: code that runs stays so, all else is torch.save's.
FileFormat choose_format(const ExportArguments& arguments, const Target& target, const Snapshot& snapshot) {
  constexpr std::array<std::string_view, 4> endings = {".pt", ".pth", ".bin", ".ckpt"};
  const std::string ending = fs::path(arguments.out).extension().string();
  if (arguments.format == "torch") return FileFormat::torch_zip;
  if (arguments.format == "torchscript") return FileFormat::torchscript;
  if (arguments.format.empty() && std::find(endings.begin(), endings.end(), ending) != endings.end()) {
    const bool runs = ending == ".pt" && target.path.empty() && holds_torchscript(snapshot);
    return runs ? FileFormat::torchscript : FileFormat::torch_zip;
  }
  throw Error(ErrorKind::unsupported,
              {.what = arguments.format.empty() ? "no format goes by this ending" : "no such format",
               .file = arguments.out,
               .got = arguments.format.empty() ? ending : arguments.format,
               .wanted = arguments.format.empty() ? ".pt, .pth, .bin or .ckpt" : "torch or torchscript",
               .hint = "name the format with --format torch"});
}

// Of what is not there close names are told.
ExportResult export_as(FileFormat format, const Snapshot& snapshot, const std::string& out,
                       const ExportOptions& options) {
  try {
    return format == FileFormat::torchscript ? export_torchscript(snapshot, out, options)
                                             : export_torch(snapshot, out, options);
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
  const Target target = split_target(arguments.target);
  const Snapshot snapshot = open_store(globals.store).snapshot(target.rev);
  const FileFormat format = choose_format(arguments, target, snapshot);
  std::uint64_t tensors = 0;
  {
    Progress progress(fmt::format("export {}", printable(arguments.out)), output.is_json());
    tensors =
        export_as(format, snapshot, arguments.out, {.prefix = target.path, .progress = progress.callback()}).tensors;
  }
  const std::uint64_t nbytes = fs::file_size(arguments.out);
  if (output.is_json()) {
    output.record("export", {{"snapshot_id", to_hex(snapshot.id())},
                             {"prefix", target.path},
                             {"file", arguments.out},
                             {"format", file_format_name(format)},
                             {"tensors", tensors},
                             {"file_bytes", nbytes}});
  } else {
    output.note(fmt::format("wrote {}: {}, {}, digests checked", printable(arguments.out),
                            format_plural(tensors, "tensor"), format_bytes(nbytes)));
  }
  return exit_code::ok;
}

}  // namespace tenon::tools
