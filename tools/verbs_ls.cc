// ls: the rows of a snapshot.
#include <fmt/format.h>

#include "tenon/name.h"
#include "tools/content.h"
#include "tools/failure.h"
#include "tools/table.h"
#include "tools/text.h"
#include "tools/verbs.h"

namespace tenon::tools {
namespace {

void append_note(std::string& notes, std::string_view note) {
  if (!notes.empty() && !note.empty()) notes += ", ";
  notes += note;
}

// What is to be said of a row beyond its columns: above all, what it shares with rows before it.
class Notes {
 public:
  explicit Notes(const Content& content) : content_(content), first_of_slot_(content.slot_count(), content.size()) {
    for (std::uint32_t i = content.size(); i-- > 0;) {
      if (content.row(i).slot != no_slot) first_of_slot_[content.row(i).slot] = i;
    }
  }

  std::string on(std::uint32_t index) const {
    const TensorRow row = content_.row(index);
    std::string notes;
    append_note(notes, sharing(index, row));
    if (row.requires_grad) append_note(notes, "grad");
    if (row.is_conj) append_note(notes, "conj");
    if (row.is_neg) append_note(notes, "neg");
    if (!row.wrapper.empty()) append_note(notes, printable(row.wrapper));
    if (!row.global_shape.empty()) append_note(notes, fmt::format("shard of {}", format_shape(row.global_shape)));
    return notes;
  }

 private:
  std::string sharing(std::uint32_t index, const TensorRow& row) const {
    if (row.slot == no_slot) return "no data";
    const TensorRow first = content_.row(first_of_slot_[row.slot]);
    if (first_of_slot_[row.slot] != index && has_same_elements(row, first)) {
      return fmt::format("= {}", printable(first.name));
    }
    return is_view(row, content_.slot(row.slot)) ? "view" : "";
  }

  const Content& content_;
  std::vector<std::uint32_t> first_of_slot_;
};

std::vector<std::string> cells_of(const Content& content, std::uint32_t index, bool is_long, const Notes& notes) {
  const TensorRow row = content.row(index);
  const bool has_slot = row.slot != no_slot;
  std::vector<std::string> cells = {printable(row.name),
                                    std::string(dtype_name(row.dtype)),
                                    format_shape(row.shape),
                                    format_bytes(tensor_bytes(row)),
                                    std::string(kind_name(row.kind)),
                                    has_slot ? fmt::format("{}", row.slot) : "-"};
  if (is_long) {
    const SlotRow slot = has_slot ? content.slot(row.slot) : SlotRow{};
    const bool has_key = has_slot && content.snapshot() != nullptr;
    cells.insert(cells.end(), {format_shape(row.stride), fmt::format("{}", row.storage_offset_bytes),
                               has_slot ? printable(slot.location) : "meta", has_key ? short_id(slot.key) : "-"});
  }
  cells.push_back(notes.on(index));
  return cells;
}

Table make_ls_table(bool is_long) {
  std::vector<Column> columns = {{"NAME", Align::left, true}, {"DTYPE"}, {"SHAPE"},
                                 {"SIZE", Align::right},      {"KIND"},  {"SLOT", Align::right}};
  if (is_long) columns.insert(columns.end(), {{"STRIDE"}, {"OFFSET", Align::right}, {"LOCATION"}, {"STORAGE"}});
  columns.push_back({"NOTES", Align::left, true});
  return Table(std::move(columns));
}

}  // namespace

int run_ls(const Globals& globals, const LsArguments& arguments, Output& output) {
  const Opened opened = open_content(globals.store, arguments.target);
  const Content& content = opened.content;
  const Notes notes(content);
  Table table = make_ls_table(arguments.is_long);
  for (std::uint32_t index : content.select(opened.path)) {
    if (output.is_json()) {
      output.record("ls", row_members(content, content.row(index)));
    } else if (arguments.names_only) {
      output.line(printable(content.row(index).name));
    } else {
      table.add(cells_of(content, index, arguments.is_long, notes));
    }
    if (output.is_closed()) break;
  }
  if (!output.is_json() && !arguments.names_only) table.print(output);
  return exit_code::ok;
}

}  // namespace tenon::tools
