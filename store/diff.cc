#include "tenon/diff.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "store/difference.h"
#include "store/parallel.h"
#include "store/snapshot_state.h"
#include "tenon/name.h"

namespace tenon {

namespace {

constexpr std::uint32_t no_row = 0xFFFFFFFFu;

StridedTensor strided(const View& view) { return {view.dtype(), view.data(), view.shape(), view.stride()}; }

std::string_view last_part(std::string_view name) { return name.substr(name.find_last_of("./") + 1); }

class Differ {
 public:
  Differ(const Snapshot& older, const Snapshot& newer, const DiffOptions& options)
      : older_(older), newer_(newer), options_(options) {}

  std::vector<DiffRow> run() {
    match_names();
    match_content();
    std::vector<DiffRow> rows = list_rows();
    classify(rows);
    return rows;
  }

 private:
  std::string key_of(std::string_view name) const { return options_.by_param ? param_name(name) : std::string(name); }

  std::vector<std::uint32_t> rows_in_order(const Snapshot& snapshot) const {
    auto rows = snapshot.select(options_.prefix);
    std::sort(rows.begin(), rows.end());
    return rows;
  }

  // Of two rows that one parameter has, the first counts; a further one stands for itself by its name.
  std::unordered_map<std::string, std::uint32_t> keys_of(const Snapshot& snapshot,
                                                         const std::vector<std::uint32_t>& rows) const {
    std::unordered_map<std::string, std::uint32_t> keys;
    for (const std::uint32_t row : rows) {
      const std::string_view name = snapshot.row(row).name;
      if (!keys.try_emplace(key_of(name), row).second) keys.try_emplace(std::string(name), row);
    }
    return keys;
  }

  void match_names() {
    older_rows_ = rows_in_order(older_);
    newer_rows_ = rows_in_order(newer_);
    old_of_new_.assign(newer_.size(), no_row);
    is_matched_.assign(older_.size(), false);
    const auto older_keys = keys_of(older_, older_rows_);
    for (const auto& [key, row] : keys_of(newer_, newer_rows_)) {
      const auto found = older_keys.find(key);
      if (found != older_keys.end()) match(found->second, row);
    }
  }

  void match(std::uint32_t old_row, std::uint32_t new_row) {
    old_of_new_[new_row] = old_row;
    is_matched_[old_row] = true;
  }

  // What is left on both sides and has the same type, shape and bytes got another name. Where several tensors have one
  // content, the last part of the name must be the same, too.
  void match_content() {
    using Content = std::tuple<Digest, std::uint64_t, std::uint64_t, DType, std::vector<std::int64_t>>;
    const auto content_of = [](const Snapshot& snapshot, std::uint32_t index) {
      const TensorRow row = snapshot.row(index);
      const SlotRow slot = snapshot.slot(row.slot);
      return Content(slot.key, slot.nbytes, row.storage_offset_bytes, row.dtype, {row.shape.begin(), row.shape.end()});
    };
    std::map<Content, std::pair<std::vector<std::uint32_t>, std::vector<std::uint32_t>>> groups;
    for (const std::uint32_t row : older_rows_) {
      if (!is_matched_[row] && has_bytes(older_, row)) groups[content_of(older_, row)].first.push_back(row);
    }
    for (const std::uint32_t row : newer_rows_) {
      if (old_of_new_[row] == no_row && has_bytes(newer_, row)) groups[content_of(newer_, row)].second.push_back(row);
    }
    for (auto& [content, group] : groups) {
      const bool is_clear = group.first.size() == 1 && group.second.size() == 1;
      for (const std::uint32_t new_row : group.second) {
        const auto old_row = std::find_if(group.first.begin(), group.first.end(), [&](std::uint32_t row) {
          const bool may_be = is_clear || last_part(older_.row(row).name) == last_part(newer_.row(new_row).name);
          return may_be && !is_matched_[row] && is_same(row, new_row);
        });
        if (old_row == group.first.end()) continue;
        match(*old_row, new_row);
        renamed_.insert(new_row);
      }
    }
  }

  static bool has_bytes(const Snapshot& snapshot, std::uint32_t index) {
    const TensorRow row = snapshot.row(index);
    return row.slot != no_slot && snapshot.slot(row.slot).nbytes != 0;
  }

  std::vector<DiffRow> list_rows() const {
    std::vector<DiffRow> rows;
    for (const std::uint32_t row : newer_rows_) {
      DiffRow& one = rows.emplace_back();
      one.name = newer_.row(row).name;
      one.new_row = row;
      one.change = Change::added;
      if (old_of_new_[row] == no_row) continue;
      one.old_row = old_of_new_[row];
      one.old_name = older_.row(*one.old_row).name;
      if (renamed_.contains(row)) one.change = Change::renamed;
    }
    for (const std::uint32_t row : older_rows_) {
      if (is_matched_[row]) continue;
      rows.push_back({.change = Change::removed,
                      .name = std::string(older_.row(row).name),
                      .old_name = {},
                      .old_row = row,
                      .new_row = {},
                      .difference = {}});
      rows.back().old_name = rows.back().name;
    }
    return rows;
  }

  void classify(std::vector<DiffRow>& rows) {
    std::uint64_t bytes = 0;
    for (const DiffRow& row : rows) {
      if (row.old_row && row.new_row && newer_.row(*row.new_row).slot != no_slot)
        bytes += newer_.slot(newer_.row(*row.new_row).slot).nbytes;
    }
    parallel_for(rows.size(), threads_for_bytes(bytes), [&](std::size_t i) {
      DiffRow& row = rows[i];
      if (row.old_row && row.new_row && row.change != Change::renamed) classify(row);
    });
  }

  void classify(DiffRow& row) const {
    const TensorRow a = older_.row(*row.old_row), b = newer_.row(*row.new_row);
    row.change = change_of(*row.old_row, *row.new_row);
    const bool has_values = a.slot != no_slot && b.slot != no_slot;
    const bool is_wanted = row.change == Change::changed || row.change == Change::retyped;
    if (options_.numeric && is_wanted && has_values)
      row.difference = difference(older_.view(*row.old_row), newer_.view(*row.new_row));
  }

  Change change_of(std::uint32_t old_row, std::uint32_t new_row) const {
    const TensorRow a = older_.row(old_row), b = newer_.row(new_row);
    if (a.dtype != b.dtype || a.quantizer != b.quantizer) return Change::retyped;
    if (!std::equal(a.shape.begin(), a.shape.end(), b.shape.begin(), b.shape.end())) return Change::reshaped;
    return is_same(old_row, new_row) ? Change::same : Change::changed;
  }

  // REQUIRES: same type and shape.
  bool is_same(std::uint32_t old_row, std::uint32_t new_row) const {
    const TensorRow a = older_.row(old_row), b = newer_.row(new_row);
    if (a.is_conj != b.is_conj || a.is_neg != b.is_neg) return false;
    if (a.slot == no_slot || b.slot == no_slot) return a.slot == b.slot;
    const bool is_alike = a.storage_offset_bytes == b.storage_offset_bytes &&
                          std::equal(a.stride.begin(), a.stride.end(), b.stride.begin(), b.stride.end());
    if (is_alike && is_one_place(a.slot, b.slot)) return true;
    const auto same = have_same_bits(strided(older_.view(old_row)), strided(newer_.view(new_row)));
    if (same) return *same;
    const auto x = older_.slot_bytes(a.slot), y = newer_.slot_bytes(b.slot);
    return is_alike && x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size()) == 0;
  }

  // The very same stored bytes. What was mapped to be written may have been.
  bool is_one_place(std::uint32_t old_slot, std::uint32_t new_slot) const {
    if (older_.mode() != Mode::shared || newer_.mode() != Mode::shared) return false;
    const SnapshotState &a = SnapshotState::of(older_), &b = SnapshotState::of(newer_);
    if (a.keys()[old_slot] != b.keys()[new_slot]) return false;
    const Placement x = a.placement(old_slot), y = b.placement(new_slot);
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), [&](const format::Extent& e, const format::Extent& f) {
      return e.offset == f.offset && e.size == f.size && a.reference(e.segment).uuid == b.reference(f.segment).uuid;
    });
  }

  const Snapshot& older_;
  const Snapshot& newer_;
  const DiffOptions& options_;
  std::vector<std::uint32_t> older_rows_;
  std::vector<std::uint32_t> newer_rows_;
  std::vector<std::uint32_t> old_of_new_;
  std::vector<bool> is_matched_;  // of the older rows
  std::unordered_set<std::uint32_t> renamed_;
};

}  // namespace

const char* change_name(Change change) noexcept {
  switch (change) {
    case Change::same:
      return "same";
    case Change::changed:
      return "changed";
    case Change::added:
      return "added";
    case Change::removed:
      return "removed";
    case Change::renamed:
      return "renamed";
    case Change::retyped:
      return "retyped";
    case Change::reshaped:
      return "reshaped";
  }
  return "";
}

std::vector<DiffRow> diff(const Snapshot& older, const Snapshot& newer, const DiffOptions& options) {
  return Differ(older, newer, options).run();
}

std::optional<Difference> difference(const View& older, const View& newer) {
  return strided_difference(strided(older), strided(newer));
}

}  // namespace tenon
