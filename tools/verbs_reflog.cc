// reflog, undo: what happened to the store, and taking it back.
#include <fmt/format.h>

#include "tenon/name.h"
#include "tenon/store.h"
#include "tools/failure.h"
#include "tools/table.h"
#include "tools/target.h"
#include "tools/text.h"
#include "tools/verbs.h"

namespace tenon::tools {
namespace {

Json hex_or_null(const std::optional<SnapshotId>& id) { return id ? Json(to_hex(*id)) : Json(); }

Json::Object to_json(const ReflogEntry& entry) {
  Json::Array snapshots;
  for (const SnapshotId& id : entry.snapshots) snapshots.emplace_back(to_hex(id));
  return {{"sequence", entry.sequence},
          {"at", entry.error.empty() ? Json(format_utc_time(entry.at_ns)) : Json()},
          {"action", entry.action},
          {"ref", entry.ref.empty() ? Json() : Json(entry.ref)},
          {"snapshot_id", hex_or_null(entry.id)},
          {"previous_id", hex_or_null(entry.previous)},
          {"undoes", entry.undoes},
          {"snapshots", std::move(snapshots)},
          {"error", entry.error.empty() ? Json() : Json(entry.error)}};
}

std::string what_of(const ReflogEntry& entry) {
  if (!entry.error.empty()) return printable(entry.error);
  if (!entry.snapshots.empty()) return format_plural(entry.snapshots.size(), "snapshot");
  const std::string to = entry.id ? short_id(*entry.id) : "nothing";
  return entry.previous ? fmt::format("{} -> {}", short_id(*entry.previous), to) : to;
}

std::string time_of(const ReflogEntry& entry) {
  return entry.error.empty() ? format_local_time(entry.at_ns) : std::string("?");
}

std::string action_of(const ReflogEntry& entry) {
  return entry.undoes ? fmt::format("{} (undoes {})", entry.action, *entry.undoes) : entry.action;
}

}  // namespace

int run_reflog(const Globals& globals, const ReflogArguments& arguments, Output& output) {
  const Store store = open_store(globals.store);
  Table table({{"SEQUENCE", Align::right}, {"TIME"}, {"REF", Align::left, true}, {"ACTION"}, {"WHAT"}});
  for (const ReflogEntry& entry : store.reflog(arguments.ref, arguments.limit)) {
    if (output.is_json())
      output.record("reflog", to_json(entry));
    else
      table.add(
          {fmt::format("{}", entry.sequence), time_of(entry), printable(entry.ref), action_of(entry), what_of(entry)});
  }
  if (!output.is_json()) table.print(output);
  return exit_code::ok;
}

int run_undo(const Globals& globals, const UndoArguments& arguments, Output& output) {
  const ReflogEntry entry = open_store(globals.store).undo(arguments.dry_run);
  if (output.is_json()) {
    Json::Object object = to_json(entry);
    object.insert(object.begin(), {"is_dry_run", arguments.dry_run});
    output.record("undo", std::move(object));
  } else {
    output.note(fmt::format("{} {}{}{}, {}", arguments.dry_run ? "would undo" : "undone:", entry.action,
                            entry.ref.empty() ? "" : " ", printable(entry.ref), what_of(entry)));
  }
  return exit_code::ok;
}

}  // namespace tenon::tools
