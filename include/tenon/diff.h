// What differs between two snapshots: tensors by name or by parameter, and by how much.
//
// Tensors over equal slots cost nothing: slots are equal if they lie at one place of one store, or have one key and
// bytes that were compared. Both snapshots may be of different stores. In Mode::private_ and Mode::copy what stands in
// memory counts.
// Threads: safe from any. Errors: tenon::Error, invalid_argument for a view that has no numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tenon/export.h"
#include "tenon/snapshot.h"

namespace tenon {

// Over the logical elements of two tensors of one shape. Pairs of which one is NaN take part in `changed_count` alone.
struct Difference {
  std::uint64_t count = 0;          // elements
  std::uint64_t changed_count = 0;  // whose bits differ (of different types: whose values do)
  double l2 = 0;                    // 2-norm of newer - older
  double max_abs = 0;               // largest |newer - older|
  double older_norm = 0;            // 2-norm of the older one, NaNs left out

  // l2 over older_norm; 0 where both are 0, infinite where only the latter is.
  double relative_change() const noexcept { return l2 == 0 ? 0 : l2 / older_norm; }
};

enum class Change : std::uint8_t {
  same,      // every bit
  changed,   // values
  added,     // only in the newer snapshot
  removed,   // only in the older one
  renamed,   // under another name, with the same type, shape and bytes
  retyped,   // another element type
  reshaped,  // another shape
};
TENON_API const char* change_name(Change change) noexcept;  // "same", "changed", ...

struct DiffRow {
  Change change = Change::same;
  std::string name;      // in the newer snapshot; of a removed tensor, in the older one
  std::string old_name;  // in the older snapshot; empty if it was added
  std::optional<std::uint32_t> old_row;
  std::optional<std::uint32_t> new_row;
  std::optional<Difference> difference;  // of one shape, where both types have numbers, and asked for
};

struct DiffOptions {
  bool by_param = false;  // match by param_name() instead of the name
  bool numeric = true;    // work out `difference` of changed and retyped tensors
  std::string prefix{};   // only these, as in Snapshot::select
};

// Rows of the newer snapshot in its order, then those that were removed in theirs.
TENON_API std::vector<DiffRow> diff(const Snapshot& older, const Snapshot& newer, const DiffOptions& options = {});

// Of two tensors of one shape; nullopt where shapes differ, an element type has no numbers (quantized, bits and
// sub-byte types), or expanded dimensions make the work unreasonable (more than 2^36 elements to visit).
TENON_API std::optional<Difference> difference(const View& older, const View& newer);

}  // namespace tenon
