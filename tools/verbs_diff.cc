// diff: what differs between two snapshots.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "tenon/diff.h"
#include "tenon/name.h"
#include "tenon/rev_path.h"
#include "tools/failure.h"
#include "tools/table.h"
#include "tools/target.h"
#include "tools/text.h"
#include "tools/verbs.h"

namespace tenon::tools {
namespace {

constexpr std::array all_changes = {Change::changed, Change::added,    Change::removed, Change::renamed,
                                    Change::retyped, Change::reshaped, Change::same};

struct Sides {
  Snapshot older;
  Snapshot newer;
  std::string prefix;
};

Sides open_sides(const Globals& globals, const DiffArguments& arguments) {
  const RevPath older = split_rev(arguments.older), newer = split_rev(arguments.newer);
  if (older.has_path && newer.has_path && older.path != newer.path) {
    throw Error(ErrorKind::invalid_argument, {.what = "two different subtrees cannot be compared",
                                              .got = older.path + " and " + newer.path,
                                              .wanted = "one of them, or the same"});
  }
  const Store store = open_store(globals.store);
  return {store.snapshot(older.rev), store.snapshot(newer.rev), older.has_path ? older.path : newer.path};
}

double changed_share(const Difference& d) {
  return d.count == 0 ? 0 : static_cast<double>(d.changed_count) / static_cast<double>(d.count);
}

// One side of a row; null where the tensor is not there.
void add_side(Json::Object& object, const Snapshot& snapshot, const std::optional<std::uint32_t>& row,
              const std::string& before) {
  if (!row) {
    object.emplace_back(before + "dtype", nullptr);
    object.emplace_back(before + "shape", nullptr);
    return;
  }
  const TensorRow tensor = snapshot.row(*row);
  object.emplace_back(before + "dtype", dtype_name(tensor.dtype));
  object.emplace_back(before + "shape", to_json(tensor.shape));
}

Json::Object to_json(const Sides& sides, const DiffRow& row) {
  Json::Object object = {
      {"change", change_name(row.change)}, {"name", row.name}, {"old_name", row.old_row ? Json(row.old_name) : Json()}};
  add_side(object, sides.newer, row.new_row, "");
  add_side(object, sides.older, row.old_row, "old_");
  if (const auto& d = row.difference) {
    object.emplace_back("numel", d->count);
    object.emplace_back("changed_numel", d->changed_count);
    object.emplace_back("changed_share", changed_share(*d));
    object.emplace_back("l2_diff", d->l2);
    object.emplace_back("max_abs_diff", d->max_abs);
    object.emplace_back("rel_change", d->relative_change());
  }
  return object;
}

std::string geometry(const Snapshot& snapshot, std::uint32_t row) {
  const TensorRow tensor = snapshot.row(row);
  return fmt::format("{} {}", dtype_name(tensor.dtype), format_shape(tensor.shape));
}

std::string what_of(const Sides& sides, const DiffRow& row) {
  if (!row.old_row) return geometry(sides.newer, *row.new_row);
  if (!row.new_row) return geometry(sides.older, *row.old_row);
  const std::string now = geometry(sides.newer, *row.new_row), before = geometry(sides.older, *row.old_row);
  return now == before ? now : fmt::format("{} -> {}", before, now);
}

std::string name_of(const DiffRow& row) {
  const std::string name = printable(row.name);
  if (row.old_name.empty() || row.old_name == row.name) return name;
  return fmt::format("{} (was {})", name, printable(row.old_name));
}

void print_rows(const Sides& sides, const std::vector<DiffRow>& rows, Output& output) {
  Table table({{"CHANGE"},
               {"NAME", Align::left, true},
               {"WHAT"},
               {"CHANGED", Align::right},
               {"MAX ABS", Align::right},
               {"L2", Align::right},
               {"REL", Align::right}});
  for (const DiffRow& row : rows) {
    const auto& d = row.difference;
    table.add({change_name(row.change), name_of(row), what_of(sides, row),
               d ? fmt::format("{:.3g} %", 100 * changed_share(*d)) : "", d ? format_number(d->max_abs) : "",
               d ? format_number(d->l2) : "", d ? format_number(d->relative_change()) : ""});
  }
  table.print(output);
}

std::size_t count_of(const std::vector<DiffRow>& rows, Change change) {
  return static_cast<std::size_t>(
      std::count_if(rows.begin(), rows.end(), [&](const DiffRow& row) { return row.change == change; }));
}

void print_summary(const std::vector<DiffRow>& rows, Output& output) {
  if (output.is_json()) {
    Json::Object counts;
    for (const Change change : all_changes) counts.emplace_back(change_name(change), count_of(rows, change));
    output.record("diff_stat", std::move(counts));
    return;
  }
  std::string line;
  for (const Change change : all_changes) {
    const std::size_t count = count_of(rows, change);
    if (count != 0) line += fmt::format("{}{} {}", line.empty() ? "" : ", ", format_count(count), change_name(change));
  }
  output.line(line.empty() ? "no tensors" : line);
}

}  // namespace

int run_diff(const Globals& globals, const DiffArguments& arguments, Output& output) {
  if (arguments.by != "name" && arguments.by != "param") {
    throw Error(ErrorKind::invalid_argument,
                {.what = "--by takes name or param", .got = arguments.by, .wanted = "name or param"});
  }
  const Sides sides = open_sides(globals, arguments);
  std::vector<DiffRow> rows =
      diff(sides.older, sides.newer,
           {.by_param = arguments.by == "param", .numeric = !arguments.stat, .prefix = sides.prefix});
  const bool differ = count_of(rows, Change::same) != rows.size();
  if (arguments.stat) {
    print_summary(rows, output);
  } else {
    if (!arguments.all) std::erase_if(rows, [](const DiffRow& row) { return row.change == Change::same; });
    if (!output.is_json()) print_rows(sides, rows, output);
    for (const DiffRow& row : rows) {
      if (output.is_json()) output.record("diff", to_json(sides, row));
    }
  }
  return arguments.exit_code && differ ? exit_code::failed : exit_code::ok;
}

}  // namespace tenon::tools
