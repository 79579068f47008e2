// Which rows of a set of tensors a statement asks for by name, worked out once for all sets with one layout.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "query/table.h"
#include "query/tensor_set.h"

namespace tenon {

class RowFilter {
 public:
  // From a condition on the column `name`.
  void add_name(const Bound& bound);
  // One tensor, or a subtree, as in Snapshot::select.
  void set_prefix(std::string prefix) { prefix_ = std::move(prefix); }
  // By its exact name if `set` has it so; else a pattern, if it looks like one.
  void set_path(std::string path) { path_ = std::move(path); }
  const std::string& path() const noexcept { return path_; }

  // In the order of the set, or by name. Valid until the next call.
  std::span<const std::uint32_t> rows_of(const TensorSet& set, RowOrder order);

 private:
  std::vector<std::uint32_t> select(const TensorSet& set, RowOrder order) const;
  bool matches(std::string_view name) const;
  std::optional<std::string> exact_name(const TensorSet& set) const;

  std::optional<std::string> name_;
  bool is_impossible_ = false;  // two different names, or NULL
  std::vector<std::string> globs_;
  std::vector<std::string> likes_;
  std::string prefix_;
  std::string path_;
  std::shared_ptr<const void> layout_;
  std::vector<std::uint32_t> rows_;
};

bool is_glob(std::string_view text) noexcept;
// Whether `name` is `prefix`, or stands below it: as in Snapshot::select.
bool is_under(std::string_view name, std::string_view prefix) noexcept;

}  // namespace tenon
