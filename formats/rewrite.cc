#include "tenon/rewrite.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <unordered_set>

#include "formats/structure.h"
#include "tenon/name.h"
#include "tenon/snapshot_draft.h"

namespace tenon {

namespace {

bool is_under(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return false;
  return name.size() == prefix.size() || name[prefix.size()] == '/' || name[prefix.size()] == '.';
}

std::vector<std::uint32_t> rows_under(const Draft& draft, std::string_view name) {
  std::vector<std::uint32_t> rows;
  for (std::uint32_t row = 0; row < draft.tensors.size(); ++row) {
    if (is_under(draft.tensors[row].name, name)) rows.push_back(row);
  }
  return rows;
}

[[noreturn]] void refuse(std::string_view name, std::string what) {
  throw Error(ErrorKind::unsupported, {.what = "'" + std::string(name) + "' " + std::move(what)});
}

// A key and its value, in a dict or among the items of an object such as an OrderedDict.
struct Place {
  NodeId holder = no_node;
  std::size_t key = 0;  // index in the alternating keys and values
};

std::vector<NodeId>& pairs_of(PickleGraph& graph, NodeId holder) {
  return graph.is(holder, PickleKind::dict) ? graph.mutable_items(holder) : graph.mutable_object(holder).dict_items;
}

std::optional<PathKey> key_of(const PickleGraph& graph, NodeId key) {
  if (graph.is(key, PickleKind::string)) return PathKey(std::string(graph.text(key)));
  if (graph.is(key, PickleKind::integer)) return PathKey(graph.integer(key));
  return std::nullopt;
}

std::optional<Place> find_place(PickleGraph& graph, std::string_view wanted) {
  std::optional<Place> place;
  walk_structure(graph, [&](NodeId node, const std::string& name) {
    const bool is_object = graph.is(node, PickleKind::object);
    if (place || (!is_object && !graph.is(node, PickleKind::dict))) return node;
    const std::vector<NodeId>& pairs = pairs_of(graph, node);
    for (std::size_t i = 0; i + 1 < pairs.size(); i += 2) {
      const auto key = key_of(graph, pairs[i]);
      if (!key) continue;
      std::string child = name;
      append_component(child, *key);
      if (child == wanted) place = Place{node, i};
    }
    return node;
  });
  return place;
}

PickleGraph open_structure(const Draft& draft) {
  return decode_structure(draft.structure, static_cast<std::uint32_t>(draft.tensors.size()),
                          [&](std::uint32_t row) { return draft.tensors[row].object.value_or(row); });
}

std::unordered_set<NodeId> reachable(const PickleGraph& graph) {
  std::unordered_set<NodeId> seen{graph.root};
  std::vector<NodeId> open{graph.root};
  while (!open.empty()) {
    const NodeId node = open.back();
    open.pop_back();
    graph.for_each_child(node, [&](NodeId child) {
      if (seen.insert(child).second) open.push_back(child);
    });
  }
  return seen;
}

// New row numbers, by old ones: nothing for what goes, unless another row is the same tensor.
using RowMap = std::vector<std::optional<std::uint32_t>>;

RowMap number_rows(const Draft& draft, const std::vector<std::uint32_t>& dropped) {
  RowMap map(draft.tensors.size());
  std::map<std::uint32_t, std::uint32_t> first_of_object;
  std::uint32_t next = 0;
  for (std::uint32_t row = 0; row < draft.tensors.size(); ++row) {
    if (std::binary_search(dropped.begin(), dropped.end(), row)) continue;
    first_of_object.try_emplace(draft.tensors[row].object.value_or(row), next);
    map[row] = next++;
  }
  for (const std::uint32_t row : dropped) {
    const auto twin = first_of_object.find(draft.tensors[row].object.value_or(row));
    if (twin != first_of_object.end()) map[row] = twin->second;
  }
  return map;
}

void renumber_structure(PickleGraph& graph, const RowMap& map, std::string_view name) {
  for (const NodeId node : reachable(graph)) {
    if (!graph.is(node, PickleKind::persistent)) continue;
    const auto row = structure_row(graph, node);
    const auto renumbered = map[row->row];
    if (!renumbered) refuse(name, "is referred to from elsewhere, and cannot be dropped");
    graph.become(node, graph.add_persistent(graph.add_integer(*renumbered)));
  }
}

void drop_from_structure(Draft& draft, const RowMap& map, std::string_view name) {
  PickleGraph graph = open_structure(draft);
  const auto place = find_place(graph, name);
  if (!place) refuse(name, "stands in no dict, and cannot be dropped");
  std::vector<NodeId>& pairs = pairs_of(graph, place->holder);
  const auto at = pairs.begin() + static_cast<std::ptrdiff_t>(place->key);
  pairs.erase(at, at + 2);
  renumber_structure(graph, map, name);
  draft.structure = encode_structure(graph);
}

void drop_rows(Draft& draft, const std::vector<std::uint32_t>& dropped, const RowMap& map) {
  std::vector<TensorDraft> kept;
  std::map<std::uint32_t, std::uint32_t> first_of_object;
  for (std::uint32_t row = 0; row < draft.tensors.size(); ++row) {
    if (std::binary_search(dropped.begin(), dropped.end(), row)) continue;
    TensorDraft& tensor = draft.tensors[row];
    const auto [first, is_first] = first_of_object.try_emplace(tensor.object.value_or(row), *map[row]);
    tensor.object = is_first ? std::nullopt : std::optional(first->second);
    kept.push_back(std::move(tensor));
  }
  draft.tensors = std::move(kept);
}

void drop_unused_slots(Draft& draft) {
  std::set<std::uint32_t> used;
  for (const TensorDraft& tensor : draft.tensors) {
    if (tensor.slot != no_slot) used.insert(tensor.slot);
  }
  std::map<std::uint32_t, std::uint32_t> numbers;
  std::vector<SlotDraft> slots;
  for (const std::uint32_t slot : used) {
    numbers[slot] = static_cast<std::uint32_t>(slots.size());
    slots.push_back(std::move(draft.slots[slot]));
  }
  for (TensorDraft& tensor : draft.tensors) {
    if (tensor.slot != no_slot) tensor.slot = numbers.at(tensor.slot);
  }
  draft.slots = std::move(slots);
}

void rename_in_structure(Draft& draft, std::string_view name, const std::string& new_name) {
  Path path = parse_name(name), new_path = parse_name(new_name);
  if (path.empty() || new_path.empty()) refuse(name, "cannot be renamed: it has no key");
  const PathKey key = new_path.back();
  path.pop_back();
  new_path.pop_back();
  if (path != new_path) refuse(name, "can only be given another last key, for it stands in a structure");
  PickleGraph graph = open_structure(draft);
  const auto place = find_place(graph, name);
  if (!place) refuse(name, "stands in no dict, and cannot be renamed");
  const auto* text = std::get_if<std::string>(&key);
  const auto* number = std::get_if<std::int64_t>(&key);
  if (text == nullptr && number == nullptr) refuse(name, "can only be given a string or an int as key");
  pairs_of(graph, place->holder)[place->key] = text != nullptr ? graph.add_string(*text) : graph.add_integer(*number);
  draft.structure = encode_structure(graph);
}

// The temporary ref that a history grows on; one that a killed run left is begun anew.
class Rewriting {
 public:
  Rewriting(Store& store, const RewriteOptions& options)
      : store_(store), options_(options), temporary_("rewriting-" + options.ref) {}

  RewriteReport run() {
    std::vector<SnapshotInfo> history = store_.log(options_.ref);
    std::reverse(history.begin(), history.end());
    RewriteReport report{.snapshots = history.size(), .old_tip = history.back().id};
    drop_temporary();
    for (std::size_t i = 0; i < history.size(); ++i) {
      report.changed += commit(history[i]);
      if (options_.progress) options_.progress(i + 1, history.size());
    }
    report.new_tip = report.changed == 0 ? report.old_tip : store_.resolve(temporary_);
    if (report.changed != 0) store_.set_ref(options_.ref, report.new_tip, report.old_tip);
    drop_temporary();
    return report;
  }

 private:
  // 1 if the snapshot had something to drop or to rename.
  std::uint64_t commit(const SnapshotInfo& info) {
    const Snapshot snapshot = store_.snapshot(to_hex(info.id));
    Draft draft = make_draft(snapshot);
    draft.message = info.message;
    draft.created_at_ns = info.created_at_ns;
    std::size_t rows = 0;
    for (const std::string& name : options_.drop) rows += drop_tensors(draft, name);
    for (const auto& [name, new_name] : options_.rename) rows += rename_tensors(draft, name, new_name);
    store_.commit(draft, {.ref = temporary_});
    return rows != 0 ? 1 : 0;
  }

  void drop_temporary() {
    const auto refs = store_.refs();
    const bool is_there = std::any_of(refs.begin(), refs.end(), [&](const RefInfo& r) { return r.name == temporary_; });
    if (is_there) store_.delete_ref(temporary_);
  }

  Store& store_;
  const RewriteOptions& options_;
  std::string temporary_;
};

}  // namespace

std::size_t drop_tensors(Draft& draft, std::string_view name) {
  const std::vector<std::uint32_t> dropped = rows_under(draft, name);
  if (dropped.empty()) return 0;
  const RowMap map = number_rows(draft, dropped);
  if (!draft.structure.empty()) drop_from_structure(draft, map, name);
  drop_rows(draft, dropped, map);
  drop_unused_slots(draft);
  return dropped.size();
}

std::size_t rename_tensors(Draft& draft, std::string_view name, const std::string& new_name) {
  const std::vector<std::uint32_t> rows = rows_under(draft, name);
  if (rows.empty() || name == new_name) return 0;
  if (!rows_under(draft, new_name).empty()) {
    throw Error(ErrorKind::conflict, {.what = "'" + new_name + "' is there already"});
  }
  parse_name(new_name);
  if (!draft.structure.empty()) rename_in_structure(draft, name, new_name);
  for (const std::uint32_t row : rows) {
    std::string& old = draft.tensors[row].name;
    old = new_name + old.substr(name.size());
  }
  for (TensorDraft& tensor : draft.tensors) {
    if (!tensor.param.empty() && is_under(tensor.param, name))
      tensor.param = new_name + tensor.param.substr(name.size());
  }
  return rows.size();
}

RewriteReport rewrite_history(Store& store, const RewriteOptions& options) { return Rewriting(store, options).run(); }

}  // namespace tenon
