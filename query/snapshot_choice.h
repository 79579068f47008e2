// Which snapshots a statement asks for, by `rev`, by `snapshot_id`, or all of them.
#pragma once

#include <optional>
#include <string>

#include "query/session_state.h"
#include "query/table.h"

namespace tenon {

class SnapshotChoice {
 public:
  // "REV" or "REV:PATH".
  void add_rev(SessionState& session, const Bound& bound);
  // "REV" alone, for tables that know no paths.
  void add_whole_rev(SessionState& session, const Bound& bound);
  void add_id(SessionState& session, const Bound& bound);

  // Of the store in the order of their commits, if nothing was chosen.
  CatalogSnapshots::Ids ids(SessionState& session) const;
  bool is_single() const noexcept { return chosen_.has_value(); }
  const std::string& path() const noexcept { return path_; }  // that came with the rev
  const std::string& rev() const noexcept { return rev_; }    // as it was given

 private:
  void choose(const SnapshotId& id);
  std::optional<SnapshotId> chosen_;
  bool is_impossible_ = false;
  std::string rev_;
  std::string path_;
};

}  // namespace tenon
