// Tensors dropped or renamed: in a draft, or in every snapshot of a history.
//
// Threads: safe from any; a Draft and a Store are the caller's. Errors: tenon::Error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tenon/draft.h"
#include "tenon/export.h"
#include "tenon/store.h"

namespace tenon {

// Takes `name`, a tensor or a subtree, out of the rows and the structure, with the slots that nothing else lies in.
// Returns the number of rows; 0 where there is none. Throws unsupported if it stands in no dict (an item of a list
// would move its neighbours), or if something else still refers to it.
TENON_API std::size_t drop_tensors(Draft& draft, std::string_view name);

// Gives a tensor or a subtree another last key; without a structure, any other name. Returns the number of rows. Throws
// unsupported as above, and where the new name has another parent; conflict where that name is taken.
TENON_API std::size_t rename_tensors(Draft& draft, std::string_view name, const std::string& new_name);

struct RewriteOptions {
  std::string ref = "main";
  std::vector<std::string> drop{};
  std::vector<std::pair<std::string, std::string>> rename{};                // old name, new name; after dropping
  std::function<void(std::uint64_t done, std::uint64_t total)> progress{};  // of snapshots
};

struct RewriteReport {
  std::uint64_t snapshots = 0;  // in the first-parent history of the ref
  std::uint64_t changed = 0;    // of them, that had such a tensor
  SnapshotId old_tip;
  SnapshotId new_tip;  // the old one if nothing changed
};

// Commits the history of a ref anew, from its first snapshot on: bytes stay where they are, steps, dates, messages and
// metadata are kept, ids are not. The ref then leads to the new tip, and `undo` leads it back; the old snapshots stay
// until they are forgotten and gc runs. Throws conflict if the ref moved meanwhile.
TENON_API RewriteReport rewrite_history(Store& store, const RewriteOptions& options);

}  // namespace tenon
