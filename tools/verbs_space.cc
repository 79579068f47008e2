// forget, gc, compact, rewrite, du, clone: what of the history stays, what it costs, and a copy of it.
#include <fmt/format.h>

#include <algorithm>

#include "tenon/name.h"
#include "tenon/retention.h"
#include "tenon/rewrite.h"
#include "tenon/snapshot_draft.h"
#include "tools/failure.h"
#include "tools/table.h"
#include "tools/target.h"
#include "tools/text.h"
#include "tools/verbs.h"

namespace tenon::tools {
namespace {

std::string step_of(const SnapshotInfo& info) { return info.step ? fmt::format("{}", *info.step) : ""; }

ForgetOptions options_of(const Store& store, const ForgetArguments& arguments) {
  ForgetOptions options{.keep = {.last = arguments.keep_last,
                                 .hourly = arguments.keep_hourly,
                                 .daily = arguments.keep_daily,
                                 .weekly = arguments.keep_weekly,
                                 .monthly = arguments.keep_monthly,
                                 .every = arguments.keep_every,
                                 .tagged = arguments.keep_tag},
                        .refs = arguments.refs,
                        .unreachable = arguments.unreachable,
                        .dry_run = arguments.dry_run};
  for (const std::string& best : arguments.keep_best) options.keep.best.push_back(parse_keep_best(best));
  for (const std::string& rev : arguments.revs) options.snapshots.push_back(store.resolve(rev));
  return options;
}

void print_rows(const ForgetReport& report, Output& output) {
  Table table(
      {{"", Align::left}, {"SNAPSHOT"}, {"CREATED"}, {"STEP", Align::right}, {"REF"}, {"BECAUSE", Align::left, true}});
  for (const RetentionRow& row : report.rows) {
    table.add({row.is_kept ? "keep" : "forget", short_id(row.info.id), format_local_time(row.info.created_at_ns),
               step_of(row.info), printable(row.ref), printable(fmt::format("{}", fmt::join(row.reasons, ", ")))});
  }
  table.print(output);
}

void print_report(const ForgetReport& report, bool dry_run, Output& output) {
  if (!output.is_json()) {
    print_rows(report, output);
    output.note(fmt::format("{} {}{}", dry_run ? "would forget" : "forgot", format_plural(report.forgotten, "snapshot"),
                            dry_run || report.forgotten == 0 ? "" : "; `tenon gc` gives their space back"));
    return;
  }
  for (const RetentionRow& row : report.rows) {
    output.record("forget", {{"snapshot_id", to_hex(row.info.id)},
                             {"created_at", format_utc_time(row.info.created_at_ns)},
                             {"step", row.info.step},
                             {"ref", row.ref},
                             {"is_kept", row.is_kept},
                             {"reasons", to_json(std::span<const std::string>(row.reasons))}});
  }
}

}  // namespace

int run_forget(const Globals& globals, const ForgetArguments& arguments, Output& output) {
  Store store = open_store(globals.store);
  print_report(store.forget(options_of(store, arguments)), arguments.dry_run, output);
  return exit_code::ok;
}

int run_gc(const Globals& globals, const GcArguments& arguments, Output& output) {
  const GcReport report = open_store(globals.store).gc({.dry_run = arguments.dry_run});
  if (output.is_json()) {
    output.record("gc", {{"is_dry_run", arguments.dry_run},
                         {"snapshots", report.snapshots},
                         {"segments_removed", report.segments_removed},
                         {"segments_thinned", report.segments_thinned},
                         {"strays_removed", report.strays_removed},
                         {"freed_bytes", report.freed_bytes},
                         {"skipped", to_json(std::span<const std::string>(report.skipped))}});
  } else {
    for (const std::string& line : report.skipped) output.note(printable(line));
    output.line(fmt::format("{}{} freed: {} taken, {} removed, {} thinned", arguments.dry_run ? "would be " : "",
                            format_bytes(report.freed_bytes), format_plural(report.snapshots, "snapshot"),
                            format_plural(report.segments_removed + report.strays_removed, "segment"),
                            format_plural(report.segments_thinned, "segment")));
  }
  return report.skipped.empty() ? exit_code::ok : exit_code::in_part;
}

int run_compact(const Globals& globals, const CompactArguments& arguments, Output& output) {
  Store store = open_store(globals.store);
  const Snapshot snapshot = store.snapshot(arguments.rev);
  const std::string ref = arguments.ref.empty() ? arguments.rev : arguments.ref;
  CommitOptions options{.ref = ref};
  if (arguments.ref.empty()) options.expected_tip = snapshot.id();  // it must not have moved meanwhile
  Draft draft = make_draft(snapshot);
  compact(draft);
  draft.message = arguments.message.empty() ? "compacted " + short_id(snapshot.id()) : arguments.message;
  std::uint64_t nbytes = 0;
  for (const SlotDraft& slot : draft.slots) nbytes += slot.nbytes;
  if (nbytes == snapshot.info().nbytes && draft.slots.size() == snapshot.slot_count() && arguments.ref.empty()) {
    output.note(fmt::format("{} is compact already", printable(arguments.rev)));
    return exit_code::ok;
  }
  const CommitResult result = store.commit(draft, options);
  if (output.is_json()) {
    output.record("compact", {{"snapshot_id", to_hex(result.id)},
                              {"ref", ref},
                              {"old_nbytes", snapshot.info().nbytes},
                              {"nbytes", nbytes},
                              {"written_bytes", result.written_bytes}});
  } else {
    output.line(fmt::format("{} {}: {} instead of {}", short_id(result.id), printable(ref), format_bytes(nbytes),
                            format_bytes(snapshot.info().nbytes)));
  }
  return exit_code::ok;
}

int run_rewrite(const Globals& globals, const RewriteArguments& arguments, Output& output) {
  if (arguments.drop.empty() && arguments.rename.empty()) {
    throw Error(ErrorKind::invalid_argument,
                {.what = "nothing says what to change", .hint = "give --drop NAME or --rename OLD NEW"});
  }
  Store store = open_store(globals.store);
  const RewriteReport report =
      rewrite_history(store, {.ref = arguments.ref, .drop = arguments.drop, .rename = arguments.rename});
  if (output.is_json()) {
    output.record("rewrite", {{"ref", arguments.ref},
                              {"snapshots", report.snapshots},
                              {"changed", report.changed},
                              {"previous_id", to_hex(report.old_tip)},
                              {"snapshot_id", to_hex(report.new_tip)}});
  } else if (report.changed == 0) {
    output.note("no snapshot has such a tensor; nothing was changed");
  } else {
    output.line(fmt::format("{} {}: {} of {} changed", short_id(report.new_tip), printable(arguments.ref),
                            report.changed, format_plural(report.snapshots, "snapshot")));
    output.note("the old history stays until `tenon forget --unreachable` and `tenon gc`");
  }
  return report.changed == 0 ? exit_code::failed : exit_code::ok;
}

int run_du(const Globals& globals, const DuArguments& arguments, Output& output) {
  const DiskUsage usage = open_store(globals.store).du();
  if (output.is_json()) {
    output.record("du_total", {{"total_bytes", usage.total_bytes},
                               {"segment_bytes", usage.segment_bytes},
                               {"reclaimable_bytes", usage.reclaimable_bytes},
                               {"snapshots", usage.snapshots.size()},
                               {"forgotten", usage.forgotten}});
    for (const SnapshotUsage& row : usage.snapshots) {
      if (arguments.summary) break;
      output.record("du", {{"snapshot_id", to_hex(row.info.id)},
                           {"step", row.info.step},
                           {"nbytes", row.info.nbytes},
                           {"freed_bytes", row.freed_bytes}});
    }
    return exit_code::ok;
  }
  if (!arguments.summary) {
    Table table({{"SNAPSHOT"},
                 {"CREATED"},
                 {"STEP", Align::right},
                 {"SIZE", Align::right},
                 {"FORGETTING FREES", Align::right},
                 {"MESSAGE", Align::left, true}});
    for (const SnapshotUsage& row : usage.snapshots) {
      table.add({short_id(row.info.id), format_local_time(row.info.created_at_ns), step_of(row.info),
                 format_bytes(row.info.nbytes), format_bytes(row.freed_bytes), printable(row.info.message)});
    }
    table.print(output);
  }
  output.line(fmt::format("{} on disk, {} of it segments; {} for {}; {} waits for gc", format_bytes(usage.total_bytes),
                          format_bytes(usage.segment_bytes),
                          format_bytes(usage.segment_bytes - usage.reclaimable_bytes),
                          format_plural(usage.snapshots.size(), "snapshot"), format_bytes(usage.reclaimable_bytes)));
  return exit_code::ok;
}

int run_clone(const Globals&, const CloneArguments& arguments, Output& output) {
  const Store store = Store::open(arguments.store);
  CloneReport report;
  try {
    report = store.clone(arguments.out);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::conflict) throw;
    throw Failure{error, exit_code::failed};  // a path that is taken is no conflict on a ref
  }
  if (output.is_json()) {
    output.record("clone", {{"store", arguments.out},
                            {"snapshots", report.snapshots},
                            {"segments", report.segments},
                            {"copied_bytes", report.copied_bytes}});
  } else {
    output.note(fmt::format("cloned {} to {}: {}, {}, digests checked", printable(arguments.store),
                            printable(arguments.out), format_plural(report.snapshots, "snapshot"),
                            format_bytes(report.copied_bytes)));
  }
  return exit_code::ok;
}

}  // namespace tenon::tools
