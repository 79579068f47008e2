#include "formats/flat_draft.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "formats/structure.h"
#include "tenon/error.h"
#include "tenon/name.h"

namespace tenon {

namespace {

// What a row takes in memory until it is committed, near enough, and how much is free for rows whatever the file's
// size. A header gives a tensor in 50 bytes: files made for that are told by what they take in all.
constexpr std::uint64_t row_memory_bytes = 1600;
constexpr std::uint64_t free_memory_bytes = std::uint64_t{32} << 20;

std::uint64_t memory_max(const ImportOptions& options, std::uint64_t file_bytes) {
  return options.max_memory_bytes != 0 ? options.max_memory_bytes : free_memory_bytes + file_bytes;
}

}  // namespace

FlatDraft::FlatDraft(const ForeignFile& file) : FlatDraft(file, file.file()->size_bytes()) {}

FlatDraft::FlatDraft(const ForeignFile& file, std::uint64_t total_bytes)
    : file_(file.path()), rows_max_(memory_max(file.options(), total_bytes) / row_memory_bytes) {
  graph_.root = graph_.add_container(PickleKind::dict);
}

void FlatDraft::add(std::string_view key, TensorDraft row, SlotDraft slot) {
  row.slot = add_slot(std::move(slot));
  add(key, std::move(row));
}

std::uint32_t FlatDraft::add_slot(SlotDraft slot) {
  draft_.slots.push_back(std::move(slot));
  return static_cast<std::uint32_t>(draft_.slots.size() - 1);
}

void FlatDraft::add(std::string_view key, TensorDraft row) {
  if (draft_.tensors.size() >= rows_max_) {
    throw Error(ErrorKind::limit, {.what = "file holds more tensors than its size accounts for",
                                   .file = file_,
                                   .wanted = fmt::format("at most {}", rows_max_),
                                   .hint = "if the file can be trusted, allow more memory"});
  }
  const auto index = static_cast<std::int64_t>(draft_.tensors.size());
  row.name = render_name({std::string(key)});
  const NodeId key_node = graph_.add_string(key);
  const NodeId value = graph_.add_persistent(graph_.add_integer(row.object ? std::int64_t{*row.object} : index));
  auto& items = graph_.mutable_items(graph_.root);
  items.push_back(key_node);
  items.push_back(value);
  draft_.tensors.push_back(std::move(row));
}

Draft FlatDraft::finish() {
  check_keys_differ();
  draft_.structure = encode_structure(graph_);
  graph_ = {};
  return std::move(draft_);
}

void FlatDraft::check_keys_differ() const {
  const auto& rows = draft_.tensors;
  std::vector<std::uint32_t> order(rows.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return rows[a].name < rows[b].name; });
  const auto twice =
      std::adjacent_find(order.begin(), order.end(), [&](auto a, auto b) { return rows[a].name == rows[b].name; });
  if (twice == order.end()) return;
  throw Error(ErrorKind::corrupt,
              {.what = "file has two tensors of one name", .file = file_, .got = rows[*twice].name});
}

Draft make_lone_draft(TensorDraft row, SlotDraft slot) {
  Draft draft;
  PickleGraph graph;
  graph.root = graph.add_persistent(graph.add_integer(0));
  row.name = ".";
  row.slot = 0;
  draft.tensors.push_back(std::move(row));
  draft.slots.push_back(std::move(slot));
  draft.structure = encode_structure(graph);
  return draft;
}

}  // namespace tenon
