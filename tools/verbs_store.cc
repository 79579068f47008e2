// init, verify, repair, bundle: a store as a whole.
#include <fmt/format.h>

#include <charconv>
#include <filesystem>

#include "tenon/formats.h"
#include "tenon/name.h"
#include "tenon/store.h"
#include "tools/failure.h"
#include "tools/progress.h"
#include "tools/target.h"
#include "tools/text.h"
#include "tools/verbs.h"

namespace tenon::tools {
namespace {

namespace fs = std::filesystem;

// Runs `make`; that its path is taken is no conflict on a ref.
template <typename Make>
void make_new(Make make) {
  try {
    make();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::conflict) throw;
    throw Failure{error, exit_code::failed};
  }
}

// verify and repair take the path as it is: the store there may be too damaged to open.
fs::path store_path(const Globals& globals) {
  if (const auto path = find_store(globals.store)) return *path;
  return open_store(globals.store).path();  // throws no_store, with what to do
}

Json::Object to_json(const Damage& damage) {
  return {{"file", damage.file},
          {"offset", damage.offset},
          {"what", damage.what},
          {"snapshots", tools::to_json(damage.snapshots)}};
}

std::string to_line(const Damage& damage) {
  std::string line = printable(damage.file);
  if (damage.offset) line += fmt::format(" at offset {}", *damage.offset);
  line += fmt::format(": {}", printable(damage.what));
  if (!damage.snapshots.empty()) line += fmt::format(" (hurts {})", format_plural(damage.snapshots.size(), "snapshot"));
  return line;
}

void print_report(const VerifyReport& report, const fs::path& path, Output& output) {
  if (output.is_json()) {
    Json::Array damage;
    for (const Damage& one : report.damage) damage.emplace_back(to_json(one));
    output.record("verify", {{"store", path.string()},
                             {"is_clean", report.damage.empty()},
                             {"segments", report.segments},
                             {"snapshots", report.snapshots},
                             {"storages", report.storages},
                             {"read_bytes", report.read_bytes},
                             {"damage", std::move(damage)}});
    return;
  }
  for (const Damage& one : report.damage) output.line(to_line(one));
  output.line(fmt::format("{}: {}, {}, {}, {} of data read: {}", printable(path.string()),
                          format_plural(report.segments, "segment"), format_plural(report.snapshots, "snapshot"),
                          format_plural(report.storages, "storage"), format_bytes(report.read_bytes),
                          report.damage.empty() ? "no damage" : format_plural(report.damage.size(), "damaged place")));
}

VerifyOptions options_of(const VerifyArguments& arguments) {
  VerifyOptions options{.read_data = arguments.read_data.has_value()};
  if (!arguments.read_data || arguments.read_data->empty()) return options;
  const std::string& text = *arguments.read_data;
  const char* const end = text.data() + text.size();
  const auto part = std::from_chars(text.data(), end, options.part);
  const bool has_slash = part.ec == std::errc{} && part.ptr != end && *part.ptr == '/';
  const auto parts = has_slash ? std::from_chars(part.ptr + 1, end, options.parts) : part;
  if (!has_slash || parts.ec != std::errc{} || parts.ptr != end) {
    throw Error(ErrorKind::invalid_argument,
                {.what = "--read-data takes a part as N/M", .got = text, .wanted = "1/10 to 10/10, say"});
  }
  return options;
}

}  // namespace

int run_init(const Globals&, const InitArguments& arguments, Output& output) {
  const InitOptions options{.durability = arguments.relaxed ? Durability::relaxed : Durability::full};
  make_new([&] { Store::init(arguments.path, options); });
  if (output.is_json()) {
    output.record("init", {{"store", arguments.path}, {"durability", arguments.relaxed ? "relaxed" : "full"}});
  } else {
    output.note(fmt::format("made an empty store: {}", printable(arguments.path)));
  }
  return exit_code::ok;
}

int run_verify(const Globals& globals, const VerifyArguments& arguments, Output& output) {
  const fs::path path = store_path(globals);
  VerifyReport report;
  {
    Progress progress("verify", output.is_json());
    VerifyOptions options = options_of(arguments);
    options.progress = progress.callback();
    report = Store::verify(path, options);
    if (report.damage.empty()) report.damage = check_structures(Store::open(path));
  }
  print_report(report, path, output);
  if (report.damage.empty()) return exit_code::ok;
  output.note("hint: `tenon repair` rebuilds everything but the segments from the segments and the journal");
  return exit_code::damage;
}

int run_repair(const Globals& globals, const RepairArguments& arguments, Output& output) {
  const fs::path path = store_path(globals);
  RepairOptions options;
  if (!arguments.from.empty()) options.from = arguments.from;
  const RepairReport report = Store::repair(path, options);
  if (output.is_json()) {
    output.record("repair", {{"store", path.string()},
                             {"snapshots", report.snapshots},
                             {"refs", report.refs},
                             {"forgotten", report.forgotten},
                             {"mended", to_json(std::span<const std::string>(report.mended))},
                             {"dropped", to_json(std::span<const std::string>(report.dropped))}});
  } else {
    for (const std::string& line : report.mended) output.line(fmt::format("mended: {}", printable(line)));
    for (const std::string& line : report.dropped) output.line(fmt::format("dropped: {}", printable(line)));
    output.line(fmt::format("{}: {} and {} in order", printable(path.string()),
                            format_plural(report.snapshots, "snapshot"), format_plural(report.refs, "ref")));
  }
  return report.dropped.empty() ? exit_code::ok : exit_code::in_part;
}

int run_bundle(const Globals& globals, const BundleArguments& arguments, Output& output) {
  const Store store = open_store(globals.store);
  const SnapshotId id = store.resolve(arguments.rev);
  {
    Progress progress(fmt::format("bundle {}", printable(arguments.out)), output.is_json());
    make_new([&] { store.bundle(arguments.rev, arguments.out, {.progress = progress.callback()}); });
  }
  const std::uint64_t nbytes = fs::file_size(arguments.out);
  if (output.is_json()) {
    output.record("bundle", {{"snapshot_id", to_hex(id)}, {"file", arguments.out}, {"file_bytes", nbytes}});
  } else {
    output.note(fmt::format("wrote {}: snapshot {}, {}", printable(arguments.out), short_id(id), format_bytes(nbytes)));
  }
  return exit_code::ok;
}

}  // namespace tenon::tools
