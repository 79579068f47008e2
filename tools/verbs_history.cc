// log, ref, tag: snapshots by time and by name.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "tenon/name.h"
#include "tenon/store.h"
#include "tools/failure.h"
#include "tools/table.h"
#include "tools/target.h"
#include "tools/text.h"
#include "tools/verbs.h"

namespace tenon::tools {
namespace {

using Decorations = std::map<SnapshotId, std::string>;  // names of refs and tags, comma-separated

// A bundle knows its names, too; they are printed beside the snapshots they point at.
Decorations decorations(const Store& store) {
  Decorations result;
  for (const RefInfo& ref : store.refs()) {
    std::string& names = result[ref.id];
    names += fmt::format("{}{}", names.empty() ? "" : ", ", printable(ref.name));
  }
  return result;
}

Json::Object to_json(const SnapshotInfo& info) {
  Json::Array parents;
  for (const SnapshotId& parent : info.parents) parents.emplace_back(to_hex(parent));
  return {{"snapshot_id", to_hex(info.id)},
          {"parents", std::move(parents)},
          {"created_at", format_utc_time(info.created_at_ns)},
          {"step", info.step},
          {"message", info.message},
          {"meta", RawJson{info.meta}},
          {"created_by", info.created_by},
          {"tensors", info.tensor_count},
          {"slots", info.slot_count},
          {"nbytes", info.nbytes}};
}

void print_log(const std::vector<SnapshotInfo>& snapshots, const Decorations& names, Output& output) {
  Table table({{"SNAPSHOT"},
               {"CREATED"},
               {"STEP", Align::right},
               {"TENSORS", Align::right},
               {"SIZE", Align::right},
               {"REFS", Align::left},
               {"MESSAGE", Align::left, true}});
  for (const SnapshotInfo& info : snapshots) {
    const auto found = names.find(info.id);
    table.add({short_id(info.id), format_local_time(info.created_at_ns), info.step ? fmt::format("{}", *info.step) : "",
               format_count(info.tensor_count), format_bytes(info.nbytes), found == names.end() ? "" : found->second,
               printable(info.message)});
  }
  table.print(output);
}

void report_name(std::string_view verb, std::string_view action, const std::string& name, const SnapshotId& id,
                 Output& output) {
  if (output.is_json()) {
    output.record(verb, {{"action", action}, {"name", name}, {"snapshot_id", to_hex(id)}});
  } else {
    output.note(fmt::format("{} {}: {} ({})", verb, action, printable(name), short_id(id)));
  }
}

RefInfo find_name(const Store& store, const DeleteNameArguments& arguments) {
  std::vector<std::string> names;
  for (RefInfo& ref : store.refs()) {
    if (ref.is_tag != arguments.is_tag) continue;
    if (ref.name == arguments.name) return std::move(ref);
    names.push_back(ref.name);
  }
  throw Error(ErrorKind::not_found, {.what = arguments.is_tag ? "no such tag" : "no such ref",
                                     .got = arguments.name,
                                     .hint = suggestion(close_matches(arguments.name, names))});
}

}  // namespace

int run_log(const Globals& globals, const LogArguments& arguments, Output& output) {
  const Store store = open_store(globals.store);
  const std::vector<SnapshotInfo> snapshots = store.log(arguments.rev, arguments.limit);
  if (!output.is_json()) {
    print_log(snapshots, decorations(store), output);
    return exit_code::ok;
  }
  for (const SnapshotInfo& info : snapshots) output.record("log", to_json(info));
  return exit_code::ok;
}

int run_list_names(const Globals& globals, const NamesArguments& arguments, Output& output) {
  std::vector<RefInfo> refs = open_store(globals.store).refs();
  std::erase_if(refs, [&](const RefInfo& ref) { return ref.is_tag != arguments.tags; });
  std::sort(refs.begin(), refs.end(), [](const RefInfo& a, const RefInfo& b) { return a.name < b.name; });
  Table table({{"NAME", Align::left, true}, {"SNAPSHOT"}, {"SEQUENCE", Align::right}});
  for (const RefInfo& ref : refs) {
    if (output.is_json()) {
      output.record(arguments.tags ? "tag" : "ref",
                    {{"name", ref.name}, {"snapshot_id", to_hex(ref.id)}, {"sequence", ref.sequence}});
    } else if (arguments.names_only) {
      output.line(printable(ref.name));
    } else {
      table.add({printable(ref.name), short_id(ref.id), fmt::format("{}", ref.sequence)});
    }
  }
  if (!output.is_json() && !arguments.names_only) table.print(output);
  return exit_code::ok;
}

int run_set_ref(const Globals& globals, const SetRefArguments& arguments, Output& output) {
  Store store = open_store(globals.store);
  const SnapshotId id = store.resolve(arguments.rev);
  std::optional<std::optional<SnapshotId>> expected;
  if (arguments.expected == "none") {
    expected = std::optional<SnapshotId>{};
  } else if (arguments.expected) {
    expected = store.resolve(*arguments.expected);
  }
  store.set_ref(arguments.name, id, expected);
  report_name("ref", "set", arguments.name, id, output);
  return exit_code::ok;
}

int run_set_tag(const Globals& globals, const SetTagArguments& arguments, Output& output) {
  Store store = open_store(globals.store);
  const SnapshotId id = store.resolve(arguments.rev);
  store.create_tag(arguments.name, id);
  report_name("tag", "set", arguments.name, id, output);
  return exit_code::ok;
}

int run_delete_name(const Globals& globals, const DeleteNameArguments& arguments, Output& output) {
  Store store = open_store(globals.store);
  const RefInfo ref = find_name(store, arguments);
  store.delete_ref(arguments.name);
  report_name(arguments.is_tag ? "tag" : "ref", "deleted", arguments.name, ref.id, output);
  return exit_code::ok;
}

}  // namespace tenon::tools
